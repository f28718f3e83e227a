package treecopy

import (
	"archive/tar"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image/unpack"
	"github.com/cocker/cocker/internal/inode"
	"github.com/cocker/cocker/internal/linux"
)

// place is a name in an open directory.
type place struct {
	parent int
	base   string
	name   string // below the target's directory
}

// create makes the node of an entry at name, "" being the target's directory itself.
func (r *receiver) create(name string, hdr *tar.Header, content io.Reader) error {
	if name == "" {
		return r.intoTarget(hdr)
	}
	dir, base := splitName(name)
	parent, err := r.parent(dir)
	if err != nil {
		return err
	}
	p := place{parent, base, name}
	switch hdr.Typeflag {
	case tar.TypeDir:
		return r.directory(p, hdr)
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return r.regular(p, hdr, content)
	case tar.TypeSymlink:
		return r.special(p, hdr, func(temporary string) error { return unix.Symlinkat(hdr.Linkname, parent, temporary) })
	case tar.TypeFifo:
		return r.special(p, hdr, func(temporary string) error { return unix.Mknodat(parent, temporary, unix.S_IFIFO|0o600, 0) })
	case tar.TypeLink:
		return r.hardLink(p, hdr)
	case tar.TypeChar, tar.TypeBlock:
		return r.leaveOut(name, hdr)
	}
	return fmt.Errorf("entries of type %q are unknown", hdr.Typeflag)
}

func (r *receiver) note(format string, arguments ...any) {
	if r.options.Note != nil {
		r.options.Note(fmt.Sprintf(format, arguments...))
	}
}

// leaveOut makes nothing of a device, nor of its other names.
func (r *receiver) leaveOut(name string, hdr *tar.Header) error {
	r.devices[name] = true
	r.note("%s would be a device; devices are not copied", r.shown(name, hdr.Name))
	return nil
}

// intoTarget is the entry of the target's directory, which was there before.
func (r *receiver) intoTarget(hdr *tar.Header) error {
	if hdr.Typeflag != tar.TypeDir {
		return errors.New("the root of the tar is no directory")
	}
	if !r.options.Archive {
		return nil
	}
	return r.finishDirectory(r.target.anchor, ".", hdr, "")
}

// directory makes a directory, or leaves the one that is there as it is.
func (r *receiver) directory(p place, hdr *tar.Header) error {
	err := unix.Mkdirat(p.parent, p.base, 0o700)
	made := err == nil
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("mkdir: %w", err)
	}
	if !made {
		st, err := statAt(p.parent, p.base)
		if err != nil {
			return err
		}
		if r.side.container && kind(&st) == unix.S_IFLNK {
			return r.linkedDirectory(p)
		}
		if kind(&st) != unix.S_IFDIR {
			return errors.New("something that is no directory is there, and is not replaced by one")
		}
	}
	if !made && !r.options.Archive {
		return nil
	}
	return r.finishDirectory(p.parent, p.base, hdr, p.name)
}

// linkedDirectory keeps a link of the container that leads to a directory: where /bin
// is a link, a tar with a directory bin adds to what it leads to.
func (r *receiver) linkedDirectory(p place) error {
	fd, err := r.lookUp(p.name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("a symbolic link that leads to no directory is there: %w", err)
	}
	return unix.Close(fd)
}

// finishDirectory gives a directory the metadata of its entry, the time at the end.
func (r *receiver) finishDirectory(parent int, base string, hdr *tar.Header, name string) error {
	fd, err := linux.OpenAt(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if ts, err := unix.TimeToTimespec(hdr.ModTime); err == nil {
		r.times = append(r.times, dirTime{name, ts})
	}
	return r.setMeta(fd, hdr)
}

// temporary is a name that what is being made has until it is whole. A killed copy can
// leave one behind; without a name (O_TMPFILE) nothing could take the place of a file that
// is there, as linkat(2) cannot replace.
func temporary() string { return ".cocker-cp-" + rand.Text()[:16] }

// regular makes a file under another name and puts it in its place when it is whole.
func (r *receiver) regular(p place, hdr *tar.Header, content io.Reader) error {
	err := r.replaceable(p)
	mounted := errors.Is(err, errMounted)
	if err != nil && !mounted {
		return err
	}
	name := temporary()
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(p.parent, name, flags, 0o600)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer unix.Close(fd)
	if err = r.fill(fd, hdr, content); err == nil && !mounted {
		if err = unix.Renameat(p.parent, name, p.parent, p.base); err == nil {
			return nil
		}
	}
	if err == nil {
		err = r.overwrite(p, fd)
	}
	_ = unix.Unlinkat(p.parent, name, 0)
	return err
}

func (r *receiver) fill(fd int, hdr *tar.Header, content io.Reader) error {
	if err := r.sparse.Copy(fd, hdr.Size, content); err != nil {
		return err
	}
	if err := r.setMeta(fd, hdr); err != nil {
		return err
	}
	return setTime(fd, hdr)
}

// errMounted says that something is mounted on a name.
var errMounted = errors.New("something is mounted there, and is not replaced")

// replaceable refuses what is there and would be lost: only a file or a link makes way. A
// file that is mounted must not: rename(2) would take the mount away in all mount
// namespaces but the caller's, where it fails (is_local_mountpoint, detach_mounts).
func (r *receiver) replaceable(p place) error {
	fd, err := linux.OpenSameMount(p.parent, p.base, unix.O_PATH|unix.O_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EXDEV):
		return errMounted
	case err != nil:
		return err
	}
	defer unix.Close(fd)
	st, err := stat(fd)
	if err != nil {
		return err
	}
	switch kind(&st) {
	case unix.S_IFREG, unix.S_IFLNK:
		return nil
	case unix.S_IFDIR:
		return errors.New("a directory is there, and is not replaced")
	}
	return errors.New("a device, socket or fifo is there, and is not replaced")
}

// overwrite gives the file that something is mounted on the content of the file fd.
func (r *receiver) overwrite(p place, fd int) error {
	there, err := linux.OpenAt(p.parent, p.base, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(there)
	st, err := stat(there)
	if err != nil {
		return err
	}
	if kind(&st) != unix.S_IFREG {
		return errors.New("something is mounted there that is no regular file")
	}
	writable, err := r.side.reopen(there, unix.O_WRONLY|unix.O_TRUNC)
	if err != nil {
		return err
	}
	to := os.NewFile(uintptr(writable), p.base)
	defer to.Close()
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return err
	}
	_, err = io.Copy(to, descriptor(fd))
	return err
}

// descriptor reads from a file that somebody else closes.
type descriptor int

func (d descriptor) Read(p []byte) (int, error) {
	n, err := unix.Read(int(d), p)
	if n == 0 && err == nil && len(p) > 0 {
		return 0, io.EOF
	}
	return max(n, 0), err
}

// special makes a node without content: under another name first, so that it can take the
// place of what is there, and gets its metadata through a descriptor.
func (r *receiver) special(p place, hdr *tar.Header, mk func(name string) error) error {
	if err := r.replaceable(p); err != nil {
		return err
	}
	name := temporary()
	if err := mk(name); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	err := r.finishSpecial(p.parent, name, hdr)
	if err == nil {
		err = unix.Renameat(p.parent, name, p.parent, p.base)
	}
	if err != nil {
		_ = unix.Unlinkat(p.parent, name, 0)
	}
	return err
}

func (r *receiver) finishSpecial(parent int, name string, hdr *tar.Header) error {
	fd, err := linux.OpenAt(parent, name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	st, err := stat(fd)
	if err != nil {
		return err
	}
	if want := map[byte]uint32{tar.TypeSymlink: unix.S_IFLNK, tar.TypeFifo: unix.S_IFIFO}[hdr.Typeflag]; kind(&st) != want {
		return errors.New("something has taken the place of what was made")
	}
	uid, gid := r.owner(hdr)
	if err := unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	if hdr.Typeflag != tar.TypeSymlink {
		if err := r.side.chmod(fd, r.mode(hdr)); err != nil {
			return fmt.Errorf("chmod: %w", err)
		}
	}
	return setTime(fd, hdr)
}

// hardLink makes another name of a file that the tar had before.
func (r *receiver) hardLink(p place, hdr *tar.Header) error {
	name, err := r.rename(hdr.Linkname)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", hdr.Linkname, err)
	}
	if r.devices[name] {
		return r.leaveOut(p.name, hdr)
	}
	there, err := r.lookUp(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("hard link to %q of the same tar: %w", hdr.Linkname, err)
	}
	defer unix.Close(there)
	st, err := stat(there)
	if err != nil {
		return err
	}
	if kind(&st) == unix.S_IFDIR {
		return fmt.Errorf("hard link to %q, which is a directory", hdr.Linkname)
	}
	if err := r.replaceable(p); err != nil {
		return err
	}
	temporary := temporary()
	if err := r.side.link(there, p.parent, temporary); err != nil {
		return fmt.Errorf("hard link to %q: %w", hdr.Linkname, err)
	}
	err = unix.Renameat(p.parent, temporary, p.parent, p.base)
	_ = unix.Unlinkat(p.parent, temporary, 0) // rename(2) does nothing if both names are one file's
	return err
}

// nobody is the owner of what belongs to nobody in a container (user_namespaces(7)).
const (
	nobody = 65534
	maxID  = 65535
)

// owner is who gets what is made: whoever runs this, which in a container is its root.
func (r *receiver) owner(hdr *tar.Header) (uid, gid int) {
	if !r.options.Archive {
		return unix.Geteuid(), unix.Getegid()
	}
	uid, gid = hdr.Uid, hdr.Gid
	if uid < 0 || uid > maxID && r.side.container {
		uid = nobody
	}
	if gid < 0 || gid > maxID && r.side.container {
		gid = nobody
	}
	return uid, gid
}

// privileged says whether set-user-ID bits and file capabilities are kept. On the host
// the file would be root's, and its content is the container's.
func (r *receiver) privileged() bool { return r.side.container || r.options.Archive }

func (r *receiver) mode(hdr *tar.Header) uint32 {
	mode := uint32(hdr.Mode & 0o7777)
	if !r.privileged() {
		mode &^= unix.S_ISUID | unix.S_ISGID
	}
	return mode
}

// setMeta gives an open file or directory owner, attributes and mode. The order
// matters: chown clears set-user-ID bits and file capabilities.
func (r *receiver) setMeta(fd int, hdr *tar.Header) error {
	uid, gid := r.owner(hdr)
	if err := unix.Fchown(fd, uid, gid); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	if err := r.setAttributes(fd, hdr); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, r.mode(hdr)); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	return nil
}

const capabilityAttr = "security.capability"

// setAttributes sets what the destination takes; a tmpfs before Linux 6.6 has no
// attributes of users.
func (r *receiver) setAttributes(fd int, hdr *tar.Header) error {
	for _, record := range slices.Sorted(maps.Keys(hdr.PAXRecords)) {
		name, ok := strings.CutPrefix(record, inode.AttributeRecord)
		if !ok || !unpack.KeepAttr(name) || name == capabilityAttr && !r.privileged() {
			continue
		}
		err := unix.Fsetxattr(fd, name, []byte(hdr.PAXRecords[record]), 0)
		if errors.Is(err, unix.ENOTSUP) {
			r.note("the destination has no place for the extended attribute %s of %s", name, hdr.Name)
			continue
		}
		if err != nil {
			return fmt.Errorf("set extended attribute %s: %w", name, err)
		}
	}
	return nil
}

func setTime(fd int, hdr *tar.Header) error {
	ts, err := unix.TimeToTimespec(hdr.ModTime)
	if err != nil {
		return nil // a time that the kernel has no form for
	}
	return setTimes(fd, ts)
}

func setTimes(fd int, ts unix.Timespec) error {
	return unix.UtimesNanoAt(fd, "", []unix.Timespec{ts, ts}, unix.AT_EMPTY_PATH)
}
