package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/remote"
	"github.com/cocker/cocker/internal/paths"
)

// puller gets what a container needs before it starts.
type puller struct {
	store   *image.Store
	client  *remote.Client
	always  bool
	waiting func(reference string) // another process pulls the same
}

// wanted are the images of a container that are to be pulled, as far as that is known
// without asking anybody else.
func wanted(c *config.Container, store *image.Store) []string {
	var references []string
	for _, reference := range c.Pulled() {
		if c.Pull == config.PullAlways || !isHere(store, reference) {
			references = append(references, reference)
		}
	}
	return references
}

// isHere reports whether a container could start from an image. One that is damaged
// is pulled again.
func isHere(store *image.Store, reference string) bool {
	_, err := store.Resolve(reference)
	return err == nil
}

// pull gets one image. Of several processes that want the same one, the others wait
// and then find it here. img is nil if nothing had to be done.
func (p *puller) pull(ctx context.Context, reference string) (img *image.Image, err error) {
	release, err := holdPull(ctx, reference, p.waiting)
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", reference, err)
	}
	defer release()
	if !p.always && isHere(p.store, reference) {
		return nil, nil
	}
	return p.client.Pull(ctx, p.store, reference, remote.HostPlatform())
}

// holdPull waits until nobody else pulls a reference, and keeps others from it until
// release. The kernel frees the lock of a process that dies.
func holdPull(ctx context.Context, reference string, waiting func(string)) (release func(), err error) {
	if err := os.MkdirAll(paths.Runtime, 0o755); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(reference))
	path := filepath.Join(paths.Runtime, "pull-"+hex.EncodeToString(sum[:8])+".lock")
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lockFile(ctx, f, func() { waiting(reference) }); err != nil {
			return nil, err
		}
		if sameFile(path, f) {
			return func() { _ = errors.Join(os.Remove(path), f.Close()) }, nil
		}
		_ = f.Close() // whoever had the lock has removed the file
	}
}

// lockFile locks a file; waiting is called when that takes time. When ctx ends before
// that, the file is left to the end of the process.
func lockFile(ctx context.Context, f *os.File, waiting func()) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return err
	}
	waiting()
	locked := make(chan error, 1)
	go func() {
		for {
			if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
				locked <- err
				return
			}
		}
	}()
	select {
	case err := <-locked:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func sameFile(path string, f *os.File) bool {
	there, err := os.Stat(path)
	if err != nil {
		return false
	}
	held, err := f.Stat()
	return err == nil && os.SameFile(there, held)
}

// errPullTimeout is the cause of a context whose time for a pull is over.
var errPullTimeout = errors.New("it took longer than pull_timeout; give it more, or pull the image before")

// withPullTimeout bounds a pull by the client itself.
func withPullTimeout(ctx context.Context, c *config.Container) (context.Context, context.CancelFunc) {
	limit, ok := config.TimeSpan(c.PullTimeout)
	if !ok {
		limit = time.Hour // as cocker-pull@.service
	}
	return context.WithTimeoutCause(ctx, limit, errPullTimeout)
}

// pullForRun gets the images of a container of "cocker run", before anything of it
// exists.
func (s *streams) pullForRun(ctx context.Context, c *config.Container) error {
	if len(c.Pulled()) == 0 {
		return nil
	}
	if err := checkEarly(c); err != nil {
		return err
	}
	store := image.Open(paths.State)
	references := wanted(c, store)
	if len(references) == 0 {
		return nil
	}
	ctx, cancel := withPullTimeout(ctx, c)
	defer cancel()
	return s.transfer(func(client *remote.Client) error {
		p := &puller{store: store, client: client, always: c.Pull == config.PullAlways, waiting: func(reference string) {
			fmt.Fprintf(s.err, "waiting for another pull of %s\n", reference)
		}}
		for _, reference := range references {
			if _, err := p.pull(ctx, reference); err != nil {
				return err
			}
		}
		return nil
	})
}

// checkEarly finds what is wrong with a container before its images are fetched.
func checkEarly(c *config.Container) error {
	named := *c
	if named.Name == "" {
		named.Name = "x"
	} else if err := refuseTaken(named.Name); err != nil {
		return err
	}
	_, _, err := checked(&named, containerFile(runtimeDir, named.Name))
	return err
}
