package treecopy

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/inode"
)

// target is where a copy goes: a name below an open directory.
type target struct {
	anchor int    // the directory
	path   string // its path, on the side it is on
	name   string // what is made there; "": the directory itself
}

// maxLinks is the kernel's own limit (path_resolution(7)).
const maxLinks = 40

// choose decides where the tree of a source called name goes when the user says path:
// what `docker cp` documents, and cp(1) does. directory says what the source is; an
// empty name, that only its content is meant.
func (s *Side) choose(path, name string, directory bool) (target, error) {
	fd, err := s.open(path, unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		return target{fd, path, name}, nil
	}
	if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
		return target{}, err
	}
	trimmed := strings.TrimRight(path, "/")
	if trimmed != path && !directory {
		return target{}, fmt.Errorf("there is no directory %q; make it first, or leave out the slash", path)
	}
	t, st, err := s.follow(trimmed)
	switch {
	case err != nil:
		return target{}, err
	case st == nil:
		return t, nil
	case directory:
		err = fmt.Errorf("%q is no directory, and no directory can be copied over it", path)
	case kind(st) != unix.S_IFREG:
		err = fmt.Errorf("%q is no regular file and is not replaced", path)
	default:
		return t, nil
	}
	unix.Close(t.anchor)
	return target{}, err
}

// follow finds the directory and the name that path stands for when the links that it
// ends in are followed, as open(2) with O_CREAT would. st is nil if there is nothing.
func (s *Side) follow(path string) (t target, st *unix.Stat_t, err error) {
	for range maxLinks {
		dir, base := split(path)
		if base == "" || base == "." || base == ".." {
			return target{}, nil, fmt.Errorf("%q is not there", path)
		}
		parent, err := s.open(dir, unix.O_PATH|unix.O_DIRECTORY)
		if errors.Is(err, unix.ENOENT) {
			return target{}, nil, fmt.Errorf("the directory %q is not there; make it first", dir)
		}
		if err != nil {
			return target{}, nil, err
		}
		found, err := statAt(parent, base)
		switch {
		case errors.Is(err, unix.ENOENT):
			return target{parent, dir, base}, nil, nil
		case err != nil:
		case kind(&found) != unix.S_IFLNK:
			return target{parent, dir, base}, &found, nil
		default:
			path, err = s.linkTarget(parent, dir, base)
		}
		unix.Close(parent)
		if err != nil {
			return target{}, nil, fmt.Errorf("look up %q: %w", path, err)
		}
	}
	return target{}, nil, fmt.Errorf("%q: %w", path, unix.ELOOP)
}

func (s *Side) linkTarget(parent int, dir, base string) (string, error) {
	to, err := inode.ReadLink(parent, base)
	if err != nil {
		return base, err
	}
	if !strings.HasPrefix(to, "/") {
		to = dir + "/" + to
	}
	return strings.TrimRight(to, "/"), nil
}
