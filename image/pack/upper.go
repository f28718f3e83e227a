package pack

import (
	"archive/tar"
	"cmp"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Layer writes what a writable layer changes as the tar of an OCI layer, and returns
// the number of its entries, 0 if it changes nothing. A directory is in it if
// something in it is.
//
// What is in an upper directory and not in the tar:
//   - what [Writable.Filled] says;
//   - files that were copied up and are still what they were below;
//   - sockets, of which note is told, and attributes that are overlayfs's own.
func (l Writable) Layer(ctx context.Context, w io.Writer, note func(string)) (entries int, err error) {
	p := newPacker(ctx, w, note)
	p.writable = true
	s := &tarSink{packer: p}
	if err := l.walk(ctx, s); err != nil {
		return s.entries, err
	}
	return s.entries, p.tar.Close()
}

type tarSink struct {
	*packer

	entries int
}

func (s *tarSink) directory(fd int, name string, st unix.Stat_t, _ kind) error {
	s.entries++
	return s.dirEntry(fd, name, st)
}

func (s *tarSink) element(parent int, base, name string, _ unix.Stat_t, _ kind) error {
	s.entries++
	if err := s.packer.element(parent, base, name); !vanished(err) {
		return err
	}
	return nil // and its entry was not begun
}

func (s *tarSink) ignores(name string, st unix.Stat_t) bool {
	socket := st.Mode&unix.S_IFMT == unix.S_IFSOCK
	if socket {
		s.note(fmt.Sprintf("%s: sockets are left out", name))
	}
	return socket
}

func (s *tarSink) edited(parent int, base, name string, content []byte, _ kind) error {
	s.entries++
	fd, err := openElement(parent, base, 0)
	if err != nil {
		return entryError("open", name, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return entryError("stat", name, err)
	}
	hdr := s.header(name, tar.TypeReg, st)
	hdr.Size = int64(len(content))
	if err := s.attributes(fd, hdr); err != nil {
		return entryError("attributes of", name, err)
	}
	if err := s.tar.WriteHeader(hdr); err != nil {
		return fmt.Errorf("entry %q: %w", name, err)
	}
	_, err = s.tar.Write(content)
	return err
}

func (s *tarSink) removed(name string, st unix.Stat_t, hidden bool) error {
	if hidden {
		return nil // the directory's .wh..wh..opq says it
	}
	s.entries++
	dir, base := path.Split(name)
	return s.whiteout(dir+whiteoutPrefix+base, st)
}

// hostRoot is what the ids of the host's root are on a writable layer's disk: the
// one behind the container's range (internal/linux, NewUserNamespace).
const hostRoot = 65536

// owner gives to the container's root what the host's root has made in a container,
// through /proc/PID/root for example: nobody inside has that id.
func (p *packer) owner(id uint32, name string) uint32 {
	if id != hostRoot {
		return id
	}
	const what = "the host's root"
	if !p.noted[what] {
		p.noted[what] = true
		p.note(fmt.Sprintf("%s: it belongs to the host's root, and in the image to the container's, here and elsewhere", name))
	}
	return 0
}

// Change is one line of what a writable layer changes: path_resolution(7) as in the
// container, and A (added), C (changed) or D (deleted).
type Change struct {
	Kind string
	Path string
}

// Changes lists what a writable layer changes, by path. A directory is changed if
// something in it is; what is in a deleted one is not listed.
func (l Writable) Changes(ctx context.Context) ([]Change, error) {
	s := &listSink{}
	if err := l.walk(ctx, s); err != nil {
		return nil, err
	}
	slices.SortFunc(s.changes, func(a, b Change) int { return cmp.Compare(a.Path, b.Path) })
	return s.changes, nil
}

type listSink struct{ changes []Change }

func (s *listSink) add(name string, k kind) error {
	if name != "." {
		s.changes = append(s.changes, Change{string(k), strings.TrimPrefix(name, ".")})
	}
	return nil
}

func (s *listSink) directory(_ int, name string, _ unix.Stat_t, k kind) error { return s.add(name, k) }

func (s *listSink) element(_ int, _, name string, _ unix.Stat_t, k kind) error {
	return s.add(name, k)
}

func (s *listSink) ignores(string, unix.Stat_t) bool { return false }

func (s *listSink) edited(_ int, _, name string, _ []byte, k kind) error { return s.add(name, k) }

func (s *listSink) removed(name string, _ unix.Stat_t, _ bool) error { return s.add(name, deleted) }

// Merged writes the tree that overlayfs shows of layers, the lowest first, as the
// tar of one layer without whiteouts. Of no layers it is an empty directory, as old as
// those that a layer does not mention.
func Merged(ctx context.Context, w io.Writer, layers []string, note func(string)) error {
	root, err := openLayers(layers)
	if err != nil {
		return err
	}
	defer root.close()
	p := newPacker(ctx, w, note)
	if len(layers) == 0 {
		err = p.tar.WriteHeader(p.header("./", tar.TypeDir, unix.Stat_t{Mode: 0o755}))
	} else {
		err = p.merged(root, ".")
	}
	if err != nil {
		return err
	}
	return p.tar.Close()
}

func (p *packer) merged(l level, name string) error {
	var st unix.Stat_t
	fd := int(l[0].Fd())
	if err := unix.Fstat(fd, &st); err != nil {
		return entryError("stat", name, err)
	}
	if err := p.dirHeader(fd, name, st); err != nil {
		return err
	}
	names, err := l.names()
	if err != nil {
		return err
	}
	for _, base := range names {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if err := p.mergedElement(l, base, name+"/"+base); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) mergedElement(l level, base, name string) error {
	f, _, err := l.find(base)
	if err != nil {
		return err
	}
	if f.st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return p.element(f.parent, base, name)
	}
	child, err := l.open(base)
	if err != nil {
		return err
	}
	defer child.close()
	return p.merged(child, name)
}
