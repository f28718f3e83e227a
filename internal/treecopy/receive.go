package treecopy

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image/unpack"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/sparse"
)

// Top is the name that a tree has in the tar between two sides.
const Top = "source"

// ReceiveOptions say what becomes of a tar.
type ReceiveOptions struct {
	Extract bool         // unpack the tar of a user into a directory; otherwise it is one tree, called Top
	Name    string       // what that is called in a directory; "": only its content goes there
	Archive bool         // keep owners, and on the host set-user-ID bits and file capabilities
	Note    func(string) `json:"-"` // told what is left out
}

// Receive unpacks a tar at path. What it makes has its final name when it is whole; what
// was there of another kind is never replaced, and a directory that was there keeps its
// owner, mode and time, unless Archive is set. After an error the files that are whole stay.
func (s *Side) Receive(ctx context.Context, source io.Reader, path string, o ReceiveOptions) error {
	r := &receiver{ctx: ctx, side: s, options: o, devices: map[string]bool{}, last: -1}
	r.sparse.Begin = ctx.Err
	counted := &counter{source: source}
	err := r.all(counted, path)
	r.close()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, source) // the rest of the last record, or the sender gets a SIGPIPE
	return err
}

// receiver is a tar on its way.
type receiver struct {
	ctx     context.Context
	side    *Side
	options ReceiveOptions
	target  *target         // nil until the first entry is known
	devices map[string]bool // names that were left out
	times   []dirTime
	sparse  sparse.Writer

	// The last parent, as most entries share it with the one before.
	last     int
	lastName string
}

type dirTime struct {
	name string
	time unix.Timespec
}

func (r *receiver) close() {
	if r.last >= 0 {
		unix.Close(r.last)
	}
	if r.target != nil {
		unix.Close(r.target.anchor)
	}
}

// endMark is what a tar ends with: two blocks of zeros.
const endMark = 2 * 512

func (r *receiver) all(source *counter, path string) error {
	if r.options.Extract {
		fd, err := r.side.open(path, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return fmt.Errorf("a tar is unpacked into a directory that is there: %w", err)
		}
		r.target = &target{anchor: fd, path: path}
	}
	archive := tar.NewReader(source)
	for {
		begin := source.n
		hdr, err := archive.Next()
		if err == io.EOF && min(source.n-begin, source.zeros) < endMark {
			err = io.ErrUnexpectedEOF
		}
		if err == io.EOF {
			return r.setTimes()
		}
		if err != nil {
			return readError(err, source.n)
		}
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if err := r.entry(hdr, archive, path); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = readError(err, source.n)
			}
			return err
		}
		if _, err := io.Copy(io.Discard, archive); err != nil {
			return readError(err, source.n)
		}
	}
}

// counter counts what is read, and the zeros that it ends with.
type counter struct {
	source   io.Reader
	n, zeros int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.source.Read(p)
	c.n += int64(n)
	if end := len(bytes.TrimRight(p[:n], "\x00")); end > 0 {
		c.zeros = int64(n - end)
	} else {
		c.zeros += int64(n)
	}
	return n, err
}

// ErrCutShort says that a tar ends before its end mark.
var ErrCutShort = errors.New("the tar is cut short")

func readError(err error, offset int64) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && offset == 0:
		return fmt.Errorf("%w: there is nothing, not even its end mark", ErrCutShort)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w, or is none: it ends after %d bytes", ErrCutShort, offset)
	case errors.Is(err, tar.ErrHeader):
		return fmt.Errorf("this is no tar, or a damaged or compressed one (near byte %d): %w", offset, err)
	}
	return fmt.Errorf("read tar: %w", err)
}

// entry makes what one entry of the tar says.
func (r *receiver) entry(hdr *tar.Header, content io.Reader, path string) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil // a comment, as git archive writes it
	}
	if r.target == nil {
		t, err := r.side.choose(path, r.options.Name, hdr.Typeflag == tar.TypeDir)
		if err != nil {
			return err
		}
		r.target = &t
	}
	name, err := r.rename(hdr.Name)
	if err == nil {
		err = r.create(name, hdr, content)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", r.shown(name, hdr.Name), r.side.explain(err))
	}
	return nil
}

// shown is the name of an entry that is told to people.
func (r *receiver) shown(name, original string) string {
	if name == "" && r.options.Extract {
		return fmt.Sprintf("entry %q", original)
	}
	return strconv.Quote(below(r.target.path, name))
}

func below(path, name string) string {
	if name == "" {
		return path
	}
	return strings.TrimSuffix(path, "/") + "/" + name
}

// rename turns an entry's name into one below the target's directory.
func (r *receiver) rename(name string) (string, error) {
	clean, err := unpack.CleanName(name)
	if err != nil || r.options.Extract {
		return clean, err
	}
	rest, found := strings.CutPrefix(clean, Top)
	if !found || rest != "" && rest[0] != '/' {
		return "", fmt.Errorf("the entry %q is not of the tree that was asked for", name)
	}
	if r.target.name == "" {
		return strings.TrimPrefix(rest, "/"), nil
	}
	return r.target.name + rest, nil
}

// lookUp opens a name below the target's directory. In a container links are followed
// within it, as merged directories (/bin -> usr/bin) want; on the host no link is.
func (r *receiver) lookUp(name string, flags int) (int, error) {
	if r.side.container {
		return linux.OpenInRoot(r.side.root, r.target.path+"/"+name, flags, 0)
	}
	if name == "" {
		name = "."
	}
	return linux.OpenPlain(r.target.anchor, name, flags, 0)
}

// parent returns a descriptor of a directory below the target's; it is valid until the
// next call.
func (r *receiver) parent(name string) (int, error) {
	if name == "" {
		return r.target.anchor, nil
	}
	if r.last >= 0 && r.lastName == name {
		return r.last, nil
	}
	fd, err := r.openMaking(name)
	if err != nil {
		return -1, err
	}
	if r.last >= 0 {
		unix.Close(r.last)
	}
	r.last, r.lastName = fd, name
	return fd, nil
}

// openMaking opens a directory and makes it if the tar has no entry for it.
func (r *receiver) openMaking(name string) (int, error) {
	fd, err := r.lookUp(name, unix.O_PATH|unix.O_DIRECTORY)
	if !errors.Is(err, unix.ENOENT) || name == "" {
		return fd, err
	}
	up, base := splitName(name)
	parent, err := r.openMaking(up)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if err := unix.Mkdirat(parent, base, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, fmt.Errorf("mkdir %q: %w", name, err)
	}
	return r.lookUp(name, unix.O_PATH|unix.O_DIRECTORY)
}

// splitName cuts a clean name into its directory ("" is the target's) and its last
// element.
func splitName(name string) (dir, base string) {
	slash := strings.LastIndexByte(name, '/')
	if slash < 0 {
		return "", name
	}
	return name[:slash], name[slash+1:]
}

// setTimes comes last, because each entry made in a directory changes its time.
func (r *receiver) setTimes() error {
	for i := len(r.times) - 1; i >= 0; i-- {
		fd, err := r.lookUp(r.times[i].name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if err != nil {
			continue // the container has removed it
		}
		err = setTimes(fd, r.times[i].time)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("set the time of %q: %w", r.times[i].name, err)
		}
	}
	return nil
}
