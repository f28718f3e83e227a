package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/paths"
)

// ControlSocket is the path on the host of the socket on which a container's init
// takes requests for sessions. The directory is root's alone, and the container, which
// sees neither, only has the descriptor that listens.
func ControlSocket(container string) string { return filepath.Join(paths.Control, container) }

// controlBacklog is how many sessions may be asked for at once (listen(2)).
const controlBacklog = 128

// ProcessSocket is the path on the host of the socket on which a container's init is asked
// about its processes. No container has such a name.
func ProcessSocket(container string) string { return ControlSocket(container) + "+processes" }

// listenControl makes a socket.
func listenControl(path string) (fd int, err error) {
	if err := os.MkdirAll(paths.Control, 0o700); err != nil {
		return -1, fmt.Errorf("control socket: %w", err)
	}
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("control socket: %w", err)
	}
	err = errors.Join(
		ignoreMissing(os.Remove(path)), // of a container whose cleanup was killed
		unix.Bind(fd, &unix.SockaddrUnix{Name: path}),
		os.Chmod(path, 0o600),
		unix.Listen(fd, controlBacklog),
	)
	if err != nil {
		return -1, errors.Join(fmt.Errorf("control socket %q: %w", path, err), unix.Close(fd))
	}
	return fd, nil
}

// delegate lets the container's root move its processes between the cgroups below that
// of its unit, in which this process is: clone(2) with CLONE_INTO_CGROUP asks for write
// permission on cgroup.procs of both and of the ancestor they share (cgroups(7),
// "Delegation containment"). The container itself only sees a cgroup file system that
// is read-only.
//
// An init of the image sees one that it can write: what is below its unit's is its own to
// divide. The limits of the unit's itself stay out of its reach (cgroups(7), "Cgroup
// delegation: delegating a hierarchy to a less privileged user").
func delegate(c *config.Container, idBase uint32) error {
	dir := linux.CgroupPath(ownCgroup())
	if c.Init == config.InitImage {
		if err := keepControl(dir); err != nil {
			return err
		}
		return linux.DelegateSubtree(dir, int(idBase))
	}
	return linux.DelegateCgroup(dir, int(idBase))
}

// keepControl makes the cgroup in which systemd starts ExecStopPost= of a unit that delegates
// its own. A container that made it could freeze it, and systemd waits with vfork(2) for
// what it starts there: the host's PID 1 would stand still (seen with systemd 257). A cgroup
// that has one below it cannot be removed, and that below is root's (cgroups(7)).
// Not where processes run in the unit's cgroup itself: Linux tells that one is frozen as soon
// as those below it are, which freezing of a unit then takes for its end or its failure.
func keepControl(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, ".control", "keep"), 0o755); err != nil {
		return fmt.Errorf("make a cgroup for systemd: %w", err)
	}
	return nil
}

// openCgroup opens the cgroup of the unit, for init to make cgroups below it. It is the
// root of a mount of its own, so no ".." leads to others.
func openCgroup(idBase uint32) (fd int, err error) {
	path := linux.CgroupPath(ownCgroup())
	if err := os.Chown(path, int(idBase), int(idBase)); err != nil {
		return -1, fmt.Errorf("delegate cgroup: %w", err)
	}
	return linux.CloneMount(path, false)
}
