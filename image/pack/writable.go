package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/inode"
)

// Writable is a container's writable layer, an upper directory of overlayfs, and
// what it stands on.
type Writable struct {
	Upper  string   // a directory that does not exist is an empty layer
	Below  []string // the unpacked layers, lowest first
	Filled Filled
}

// Filled is what is in a writable layer although nobody in the container has put
// it there: an image of the container is not to have it. Paths are absolute, and
// links on them are followed as in the container.
type Filled struct {
	Files  []string                       // written whole at every start
	Links  map[string]string              // symbolic links made where nothing was, and where they lead
	Points []string                       // where something is mounted
	Edited map[string]func([]byte) []byte // what is left of a file without that
}

// kind says what an element of a writable layer is, compared with the layers below.
type kind byte

const (
	added   kind = 'A'
	changed kind = 'C'
	deleted kind = 'D'
)

// sink takes what a writable layer changes. A directory comes before what is in it,
// and only if it differs itself or something in it does.
type sink interface {
	directory(fd int, name string, st unix.Stat_t, k kind) error
	element(parent int, base, name string, st unix.Stat_t, k kind) error
	edited(parent int, base, name string, content []byte, k kind) error
	// removed is something of the layers below that is gone. hidden: it is below an
	// opaque directory, and nothing in the layer says so for it alone.
	removed(name string, st unix.Stat_t, hidden bool) error
	// ignores says that something is of no interest.
	ignores(name string, st unix.Stat_t) bool
}

// walker compares a writable layer with what is below it.
type walker struct {
	ctx     context.Context
	sink    sink
	filled  filled
	pending []*pendingDir // from the root to where the walk is
}

type pendingDir struct {
	fd   int
	name string
	st   unix.Stat_t
	kind kind
	told bool
}

// walk tells a sink what the layer changes, sorted by directory. What vanishes
// while it is read was never there.
func (l Writable) walk(ctx context.Context, s sink) error {
	fd, err := unix.Open(l.Upper, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil // it was never started
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: l.Upper, Err: err}
	}
	upper := os.NewFile(uintptr(fd), l.Upper)
	defer upper.Close()
	below, err := openLayers(l.Below)
	if err != nil {
		return err
	}
	defer below.close()
	known, err := l.Filled.resolve(append(level{upper}, below...))
	if err != nil {
		return err
	}
	w := &walker{ctx: ctx, sink: s, filled: known}
	if err := w.directory(place{fd: fd, name: "."}, below, found{}, true, false); err != nil {
		return fmt.Errorf("read writable layer %s: %w", l.Upper, err)
	}
	return nil
}

// place is an open directory of the upper layer.
type place struct {
	fd   int
	name string
}

// directory goes through a directory of the layer. below is what is merged into it,
// of which there is a first one, or something else, in the layers below if exists.
// whole: a directory above is opaque, so nothing in it is the same as below.
func (w *walker) directory(dir place, below level, there found, exists, whole bool) error {
	d := &pendingDir{fd: dir.fd, name: dir.name, kind: added}
	if exists {
		d.kind = changed
	}
	if err := unix.Fstat(dir.fd, &d.st); err != nil {
		return entryError("stat", dir.name, err)
	}
	if err := refuseRedirect(dir); err != nil {
		return err
	}
	whole = whole || isOpaque(dir.fd)
	w.pending = append(w.pending, d)
	defer func() { w.pending = w.pending[:len(w.pending)-1] }()
	differs, err := w.differs(d, below, exists, whole)
	if err == nil && differs {
		err = w.tell()
	}
	if err != nil {
		return err
	}
	names, err := readNames(dir.fd)
	if err != nil && !errors.Is(err, unix.ENOENT) { // it was removed
		return entryError("read", dir.name, err)
	}
	for _, base := range names {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if err := w.element(dir, base, below, whole); err != nil {
			return err
		}
	}
	if !whole {
		return nil
	}
	return w.hidden(dir, names, below)
}

// refuseRedirect refuses a directory whose content overlayfs takes from another
// name: cocker mounts with redirect_dir=off, so somebody else has made it.
func refuseRedirect(dir place) error {
	if !hasAttr(dir.fd, redirectAttr) {
		return nil
	}
	return fmt.Errorf("directory %q was renamed by an overlayfs with redirect_dir=on, and what is in it is elsewhere; in the container copy it (cp -a), remove the old one, and try again", dir.name)
}

// differs says whether the directory itself is no longer what it was below.
func (w *walker) differs(d *pendingDir, below level, exists, whole bool) (bool, error) {
	switch {
	case d.name == ".":
		return w.rootDiffers(d, below)
	case !exists && w.filled.points[clean(d.name)]:
		return d.st.Uid != 0 || d.st.Gid != 0 || d.st.Mode&0o7777&^0o755 != 0, nil
	case whole || len(below) == 0:
		return true, nil
	}
	var st unix.Stat_t
	fd := int(below[0].Fd())
	if err := unix.Fstat(fd, &st); err != nil {
		return false, entryError("stat", d.name, err)
	}
	if d.st.Mtim != st.Mtim && !w.filled.touched[clean(d.name)] {
		return true, nil
	}
	same, err := sameMeta(d.fd, d.st, fd, st)
	return !same, err
}

// rootDiffers leaves the time out: the root of a writable layer is made, not copied.
func (w *walker) rootDiffers(d *pendingDir, below level) (bool, error) {
	if len(below) == 0 {
		return true, nil
	}
	var st unix.Stat_t
	fd := int(below[0].Fd())
	if err := unix.Fstat(fd, &st); err != nil {
		return false, entryError("stat", d.name, err)
	}
	same, err := sameMeta(d.fd, d.st, fd, st)
	return !same, err
}

// tell tells the sink of the directories on the way that it has not heard of.
func (w *walker) tell() error {
	for _, d := range w.pending {
		if d.told {
			continue
		}
		d.told = true
		if err := w.sink.directory(d.fd, d.name, d.st, d.kind); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) element(dir place, base string, below level, whole bool) error {
	name := dir.name + "/" + base
	var st unix.Stat_t
	err := unix.Fstatat(dir.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return entryError("stat", name, err)
	}
	there, exists, err := below.find(base)
	if err != nil {
		return err
	}
	gone, err := isWhiteout(dir.fd, base, st)
	switch {
	case err != nil:
		return err
	case gone && !exists:
		return nil // it hides nothing
	case gone:
		if err := w.tell(); err != nil {
			return err
		}
		return w.sink.removed(name, st, false)
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return w.subdirectory(dir, base, below, there, exists, whole)
	}
	return w.leaf(dir, base, st, there, exists, whole)
}

func (w *walker) subdirectory(dir place, base string, below level, there found, exists, whole bool) error {
	fd, err := openElement(dir.fd, base, unix.O_DIRECTORY)
	if vanished(err) {
		return nil
	}
	name := dir.name + "/" + base
	if err != nil {
		return entryError("open", name, err)
	}
	defer unix.Close(fd)
	child, err := below.open(base)
	if err != nil {
		return err
	}
	defer child.close()
	return w.directory(place{fd, name}, child, there, exists, whole)
}

// leaf is everything but directories and whiteouts.
func (w *walker) leaf(dir place, base string, st unix.Stat_t, there found, exists, whole bool) error {
	name, k := dir.name+"/"+base, added
	if exists {
		k = changed
	}
	if w.sink.ignores(name, st) {
		return nil
	}
	if target, ok := w.filled.links[clean(name)]; ok && !exists && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		if link, err := inode.ReadLink(dir.fd, base); err != nil || link == target {
			return err
		}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		key := clean(name)
		empty := st.Size == 0 && st.Uid == 0 && st.Gid == 0
		if w.filled.files[key] || !exists && empty && w.filled.points[key] {
			return nil
		}
		if edit := w.filled.edited[key]; edit != nil {
			return w.edited(dir, base, edit, there, exists, k)
		}
		if err := refuseMetacopy(dir.fd, base, name); err != nil {
			return err
		}
	}
	if exists && !whole {
		same, err := sameElement(dir.fd, base, st, there)
		if vanished(err) {
			return nil
		}
		if err != nil || same {
			return err
		}
	}
	if err := w.tell(); err != nil {
		return err
	}
	return w.sink.element(dir.fd, base, name, st, k)
}

// vanished says that something is no longer what it was a moment ago: it was removed,
// or something of another kind is in its place.
func vanished(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// refuseMetacopy refuses a file whose content is in a lower layer only.
func refuseMetacopy(parent int, base, name string) error {
	fd, err := openElement(parent, base, 0)
	if err != nil {
		return nil // it has vanished, or cannot be read: that is said when it is
	}
	defer unix.Close(fd)
	if !hasAttr(fd, metacopyAttr) {
		return nil
	}
	return fmt.Errorf("file %q was changed by an overlayfs with metacopy=on, and its content is elsewhere; in the container make a copy of it in its place (cp -a), and try again", name)
}

// edited is a file of which only a part is the user's. It is worth a word if that
// part differs from what is below.
func (w *walker) edited(dir place, base string, edit func([]byte) []byte, there found, exists bool, k kind) error {
	name := dir.name + "/" + base
	content, err := readSmall(dir.fd, base)
	if vanished(err) {
		return nil
	}
	if err != nil {
		return entryError("read", name, err)
	}
	var before []byte
	if exists && there.st.Mode&unix.S_IFMT == unix.S_IFREG {
		if before, err = readSmall(there.parent, base); err != nil {
			return entryError("read", name, err)
		}
	}
	content = edit(content)
	if string(content) == string(edit(before)) {
		return nil
	}
	if err := w.tell(); err != nil {
		return err
	}
	return w.sink.edited(dir.fd, base, name, content, k)
}

// maxEdited bounds what is read of a file into memory.
const maxEdited = 1 << 20

func readSmall(parent int, base string) ([]byte, error) {
	fd, err := openElement(parent, base, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), base)
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxEdited+1))
	if err == nil && len(data) > maxEdited {
		err = fmt.Errorf("it is longer than %d bytes", maxEdited)
	}
	return data, err
}

// hidden tells what a directory does not show of what is below, as it or one above
// is opaque.
func (w *walker) hidden(dir place, names []string, below level) error {
	old, err := below.names()
	if err != nil {
		return err
	}
	for _, base := range old {
		if _, still := slices.BinarySearch(names, base); still {
			continue
		}
		if err := w.sink.removed(dir.name+"/"+base, unix.Stat_t{}, true); err != nil {
			return err
		}
	}
	return nil
}

// filled is Filled with the names that the walk uses, without "./" in front.
type filled struct {
	files, points map[string]bool
	edited        map[string]func([]byte) []byte
	links         map[string]string
	touched       map[string]bool // directories in which something was made
}

func (f Filled) resolve(root level) (filled, error) {
	r := filled{map[string]bool{}, map[string]bool{}, map[string]func([]byte) []byte{}, map[string]string{}, map[string]bool{}}
	add := func(name string, to func(clean string)) error {
		clean, err := root.resolve(name)
		if err != nil || clean == "" {
			return err
		}
		to(clean)
		r.addPoint(parent(clean))
		r.touched[parent(clean)] = true
		return nil
	}
	for _, name := range f.Files {
		if err := add(name, func(c string) { r.files[c] = true }); err != nil {
			return r, err
		}
	}
	for name, target := range f.Links { // the link itself is not followed
		dir, err := root.resolve(path.Dir(name))
		if err != nil {
			return r, err
		}
		if dir != "" {
			r.links[path.Join(dir, path.Base(name))] = target
			r.addPoint(dir)
			r.touched[dir] = true
		}
	}
	for name, edit := range f.Edited {
		if err := add(name, func(c string) { r.edited[c] = edit }); err != nil {
			return r, err
		}
	}
	for _, name := range f.Points {
		if err := add(name, r.addPoint); err != nil {
			return r, err
		}
	}
	return r, nil
}

// addPoint takes the directories on the way with it: they are made where missing.
func (f filled) addPoint(name string) {
	for ; name != "."; name = parent(name) {
		f.points[name] = true
		f.touched[parent(name)] = true
	}
}

func parent(name string) string { return path.Dir(name) }

// clean turns a name of the walk, "./etc/hosts", into "etc/hosts".
func clean(name string) string { return path.Clean(name) }
