package pack

import (
	"errors"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/inode"
)

// level is one directory of a stack of layers: the directories of its name that
// overlayfs merges, topmost first. None: there is no such directory.
type level []*os.File

// openLayers opens layers, the lowest first, as the root of their stack.
func openLayers(dirs []string) (level, error) {
	var l level
	for _, dir := range slices.Backward(dirs) {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			l.close()
			return nil, &os.PathError{Op: "open", Path: dir, Err: err}
		}
		l = append(l, os.NewFile(uintptr(fd), dir))
	}
	return l, nil
}

func (l level) close() {
	for _, d := range l {
		_ = d.Close() // only read
	}
}

// found is an element of a level: whose directory has it, and what it is.
type found struct {
	parent int // a descriptor of the level's
	layer  int // its place in the level
	st     unix.Stat_t
}

// find looks an element up as overlayfs does: the topmost layer that has the name
// counts, and a whiteout there says that it is gone. A name too long is in none.
func (l level) find(base string) (f found, ok bool, err error) {
	for i, d := range l {
		fd := int(d.Fd())
		err := unix.Fstatat(fd, base, &f.st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return f, false, entryError("stat", base, err)
		}
		f.parent, f.layer = fd, i
		return f, !isWhiteoutNode(f.st), nil
	}
	return f, false, nil
}

// open goes one directory down. Below the first that is opaque, and below what is
// no directory, nothing is merged.
func (l level) open(base string) (child level, err error) {
	for _, d := range l {
		fd, err := openElement(int(d.Fd()), base, unix.O_DIRECTORY)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) { // ELOOP: a symbolic link
			break
		}
		if err != nil {
			child.close()
			return nil, entryError("open", base, err)
		}
		child = append(child, os.NewFile(uintptr(fd), base))
		if isOpaque(fd) {
			break
		}
	}
	return child, nil
}

// names lists the elements that are there, sorted.
func (l level) names() ([]string, error) {
	all := map[string]bool{}
	for _, d := range l {
		names, err := readNames(int(d.Fd()))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			all[name] = true
		}
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		_, ok, err := l.find(name)
		if err != nil {
			return nil, err
		}
		if ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// readNames reads a directory from its beginning, whoever has read it before.
func readNames(fd int) ([]string, error) {
	again, err := openElement(fd, ".", unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(again), ".")
	defer d.Close()
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// lookup is find for a clean path below the root, without following links.
func (l level) lookup(name string) (f found, link string, ok bool, err error) {
	here, opened := l, level(nil)
	defer func() { opened.close() }()
	elements := strings.Split(name, "/")
	for _, dir := range elements[:len(elements)-1] {
		next, err := here.open(dir)
		opened.close()
		here, opened = next, next
		if err != nil || len(here) == 0 {
			return f, "", false, err
		}
	}
	base := elements[len(elements)-1]
	if f, ok, err = here.find(base); err != nil || !ok || f.st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return f, "", ok, err
	}
	link, err = inode.ReadLink(f.parent, base)
	return f, link, ok, err
}

// maxLinks is the kernel's own limit (path_resolution(7)).
const maxLinks = 40

// resolve returns the clean name that a path of the container stands for, as the
// container itself sees it; "" if there is none. What is missing on the way is
// taken for what will be made there.
func (l level) resolve(name string) (string, error) {
	rest, clean, links := split(name), []string{}, 0
	for len(rest) > 0 {
		element := rest[0]
		rest = rest[1:]
		if element == ".." {
			clean = clean[:max(len(clean)-1, 0)]
			continue
		}
		whole := append(slices.Clone(clean), element)
		_, link, _, err := l.lookup(strings.Join(whole, "/"))
		switch {
		case err != nil:
			return "", err
		case link == "":
			clean = whole
			continue
		case links == maxLinks:
			return "", nil
		}
		links++
		if path.IsAbs(link) {
			clean = nil
		}
		rest = append(split(link), rest...)
	}
	return strings.Join(clean, "/"), nil
}

// split cuts a path into its elements without "." and empty ones.
func split(name string) []string {
	return slices.DeleteFunc(strings.Split(name, "/"), func(e string) bool { return e == "" || e == "." })
}
