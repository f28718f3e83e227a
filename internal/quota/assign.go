package quota

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/linux"
)

// The ids that are given to trees: far above those that people count up from 1 in
// /etc/projects.
const (
	first = 0x70000000
	end   = 0x7FFE0000
)

// scratch is where files of a tree are made anew. It is no part of the tree's content,
// and not there when the work is done.
const scratch = ".project"

// assign returns the project of a tree, and gives it one first if it has none. An id
// without the flag inherit says that it is chosen and that not everything in the tree
// has it yet.
func assign(lock string, root *os.File) (uint32, error) {
	a, err := getAttributes(root)
	if err != nil {
		return 0, &os.PathError{Op: "read the project of", Path: root.Name(), Err: err}
	}
	if a.whole() {
		return a.project, nil
	}
	id := a.project
	if !a.ours() {
		if id, err = choose(lock, root); err != nil {
			return 0, err
		}
	}
	if err := spread(root, id); err != nil {
		return 0, err
	}
	return id, setProject(root, id, inherit)
}

// choose finds an id and gives it to the tree's root, which makes it count as taken.
func choose(lock string, root *os.File) (uint32, error) {
	held, err := os.Open(lock)
	if err != nil {
		return 0, err
	}
	defer held.Close()
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX); err != nil {
		return 0, fmt.Errorf("lock %q: %w", lock, err)
	}
	reserved := reservedIDs("/etc/projid", "/etc/projects")
	hash := fnv.New32a()
	hash.Write([]byte(root.Name()))
	start := hash.Sum32() % (end - first)
	for i := range uint32(end - first) {
		id := first + (start+i)%(end-first)
		if reserved[id] {
			continue
		}
		c, err := get(root, id)
		if err != nil {
			return 0, err
		}
		if c.free() {
			return id, setProject(root, id, 0)
		}
	}
	return 0, errors.New("all project ids are taken")
}

// reservedIDs are those that an administrator has named: lines NAME:ID of projid(5),
// ID:DIRECTORY of projects(5).
func reservedIDs(projid, projects string) map[uint32]bool {
	reserved := map[uint32]bool{}
	for file, field := range map[string]int{projid: 1, projects: 0} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Split(strings.TrimSpace(line), ":")
			if len(fields) <= field {
				continue
			}
			if id, err := strconv.ParseUint(strings.TrimSpace(fields[field]), 10, 32); err == nil {
				reserved[uint32(id)] = true
			}
		}
	}
	return reserved
}

// spread gives everything below root its project.
func spread(root *os.File, id uint32) error {
	fresh := filepath.Join(root.Name(), scratch)
	if err := linux.RemoveTree(fresh); err != nil { // of a call that was killed
		return err
	}
	names, err := root.Readdirnames(-1)
	if err != nil || len(names) == 0 {
		return err
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return err
	}
	s := &spreader{id: id}
	if s.fresh, err = os.Open(fresh); err != nil {
		return err
	}
	defer s.fresh.Close()
	if err := setProject(s.fresh, id, inherit); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &st); err != nil {
		return err
	}
	s.device = st.Dev
	for _, name := range names {
		if err := s.entry(root, name); err != nil {
			return err
		}
	}
	return os.Remove(fresh)
}

// spreader goes through a tree by descriptors: it is a container's, which may be hostile.
type spreader struct {
	id     uint32
	device uint64
	fresh  *os.File // a directory whose files have the project from the start
}

func (s *spreader) entry(parent *os.File, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(parent.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: filepath.Join(parent.Name(), name), Err: err}
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case st.Dev != s.device: // something is mounted there
		return nil
	case kind == unix.S_IFDIR:
		return s.directory(parent, name)
	case kind == unix.S_IFREG:
		file, err := openBelow(parent, name, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		return setProject(file, s.id, 0)
	}
	return s.renew(parent, name, &st)
}

// directory comes before what is in it: what is made there meanwhile has the project.
func (s *spreader) directory(parent *os.File, name string) error {
	dir, err := openBelow(parent, name, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := setProject(dir, s.id, inherit); err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.entry(dir, name); err != nil {
			return err
		}
	}
	return nil
}

func openBelow(parent *os.File, name string, flags int) (*os.File, error) {
	path := filepath.Join(parent.Name(), name)
	flags |= unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Openat(int(parent.Fd()), name, flags, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// renew makes a symbolic link, fifo, socket or device anew. The ioctl cannot be called
// on those (before Linux 6.17), and with another project than its directory's none of
// them could be renamed (EXDEV), whiteouts of overlayfs least of all.
func (s *spreader) renew(parent *os.File, name string, st *unix.Stat_t) error {
	fresh, from := int(s.fresh.Fd()), int(parent.Fd())
	if err := s.makeLike(parent, name, st); err != nil {
		return &os.PathError{Op: "make anew", Path: filepath.Join(parent.Name(), name), Err: err}
	}
	err := unix.Fchownat(fresh, "node", int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFLNK {
		err = unix.Fchmodat(fresh, "node", st.Mode&0o7777, 0)
	}
	if err == nil {
		err = unix.UtimesNanoAt(fresh, "node", []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil {
		err = unix.Renameat(fresh, "node", from, name)
	}
	if err != nil {
		return &os.PathError{Op: "make anew", Path: filepath.Join(parent.Name(), name), Err: err}
	}
	return nil
}

func (s *spreader) makeLike(parent *os.File, name string, st *unix.Stat_t) error {
	fresh := int(s.fresh.Fd())
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return unix.Mknodat(fresh, "node", st.Mode, int(st.Rdev))
	}
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(parent.Fd()), name, target)
	if err != nil {
		return err
	}
	return unix.Symlinkat(string(target[:n]), fresh, "node")
}
