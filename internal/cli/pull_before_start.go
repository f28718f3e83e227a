package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/remote"
	"github.com/cocker/cocker/internal/journal"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
	"github.com/cocker/cocker/scope"
	"github.com/cocker/cocker/units"
)

// pullBeforeStartCommand is ExecStart= of cocker-pull@.service.
func pullBeforeStartCommand(s *streams) *cobra.Command {
	return asRoot(&cobra.Command{
		Use:     "pull-before-start NAME",
		Short:   "Get the images of a container that starts; for cocker-pull@.service",
		Example: "  systemctl start cocker-pull@web",
		Args:    cobra.ExactArgs(1),
		Hidden:  true,
		RunE: func(c *cobra.Command, args []string) error {
			return s.pullBeforeStart(c.Context(), args[0])
		},
	})
}

// exitTerminated is what a shell says of a program that SIGTERM ended; the unit takes it
// for no failure: it was stopped, or its timeout says so itself.
const exitTerminated = exitError(128 + 15)

// pullBeforeStart gets the images of a container and tells systemd how far it is. What
// failed goes to the journal as the container's business too. In the journal there is
// one line when an image begins, one when it is here, and the notes in between.
func (s *streams) pullBeforeStart(ctx context.Context, name string) error {
	err := s.pullImagesOf(ctx, name)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		s.log("<4>", "given up, as the unit was stopped or its time was over (pull_timeout); nothing is left of what came in")
		return exitTerminated
	}
	if journal.About(journal.Error, "cocker-pull@"+name, err.Error(), units.Service(name), units.Pull(name)) != nil {
		s.log("<3>", err.Error())
	}
	return errors.Join(launch.Notify("STATUS="+oneLine(err.Error())), exitError(exitFailure))
}

// log writes a line that the journal gives a level, see sd-daemon(3).
func (s *streams) log(level, text string) { fmt.Fprintln(s.err, level+oneLine(text)) }

func (s *streams) pullImagesOf(ctx context.Context, name string) error {
	c, err := config.Load(paths.ConfigDirs(), name)
	if err != nil {
		return err
	}
	if err := forbidStart(c); err != nil {
		return err
	}
	if err := s.pullWanted(ctx, c); err != nil {
		return err
	}
	return permitStart(name)
}

// forbidStart keeps a container with pull = "always" from starting; what killed the
// pull before permitStart does not matter then.
func forbidStart(c *config.Container) error {
	if c.Pull != config.PullAlways {
		return nil
	}
	if err := os.MkdirAll(paths.Runtime, 0o755); err != nil {
		return err
	}
	return os.WriteFile(paths.Unpulled(c.Name), nil, 0o600)
}

func permitStart(name string) error {
	if err := os.Remove(paths.Unpulled(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *streams) pullWanted(ctx context.Context, c *config.Container) error {
	store := image.Open(paths.State)
	references := wanted(c, store)
	if len(references) == 0 {
		// Or the unit would not have been started. The container can start without.
		if err := store.Mark(); err != nil {
			s.log("<4>", "all images are here, but the next start will look again: "+err.Error())
		}
		return nil
	}
	settings, err := config.LoadRegistries(paths.Registries)
	if err != nil {
		return err
	}
	s.waitOnline(ctx)
	progress := newPullProgress(func(text string) { s.log("<5>", text) })
	end := progress.report()
	defer func() { end(); _ = launch.Notify("STATUS=") }() // how it ended is said elsewhere
	p := &puller{store: store, always: c.Pull == config.PullAlways, waiting: func(reference string) {
		progress.say("waiting for another pull of " + reference)
	}}
	p.client = remote.New(remote.Config{Registries: settings, Version: s.version, Progress: progress.tell})
	var errs []error
	for _, reference := range references {
		if errs = append(errs, s.pullOne(ctx, p, progress, reference)); ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// pullOne gets one image, with its two lines in the journal.
func (s *streams) pullOne(ctx context.Context, p *puller, progress *pullProgress, reference string) error {
	s.log("<6>", "pulling "+reference)
	progress.begin(reference)
	began := time.Now()
	img, err := p.pull(ctx, reference)
	switch {
	case err != nil:
		return err
	case img == nil:
		s.log("<6>", reference+" is here: another process has pulled it")
	case !progress.moved():
		s.log("<6>", reference+" is up to date: "+img.Digest)
	default:
		s.log("<6>", fmt.Sprintf("pulled %s in %s: %s, %s", reference, time.Since(began).Round(10*time.Millisecond), progress.summary(), img.Digest))
	}
	return nil
}

// onlineTimeout bounds the wait for network-online.target: what provides that waits
// two minutes at most (systemd-networkd-wait-online(8)), and a registry may be nearer than the
// internet.
const onlineTimeout = 2 * time.Minute

// waitOnline starts network-online.target, which nothing else may have wanted, and waits
// for it. Where that fails the pull is tried nevertheless, and has its own reason.
func (s *streams) waitOnline(ctx context.Context) {
	_ = launch.Notify("STATUS=waiting for network-online.target") // for people only
	ctx, cancel := context.WithTimeoutCause(ctx, onlineTimeout, fmt.Errorf("not reached within %v", onlineTimeout))
	defer cancel()
	m, err := scope.Open(ctx)
	if err == nil {
		defer m.Close()
		err = m.Start(ctx, "network-online.target")
	}
	if err != nil && ctx.Err() != context.Canceled {
		s.log("<4>", "trying without network-online.target: "+err.Error())
	}
}
