package pid1

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/session"
)

// maxAttribute bounds what a session tells of itself; kernfs takes 64 KiB.
const maxAttribute = 2048

// enterSessionCgroup takes this process, and whatever it starts or becomes, to a cgroup of
// its own below the container's, as a client on the host does for cocker exec, and returns
// its name. A session that gets none runs where init does.
func enterSessionCgroup(about session.About) (name string) {
	sweepSessionCgroups()
	about.Since = time.Now().UTC().Truncate(time.Second)
	for number := 1; ; number++ {
		name = session.CgroupPrefix + strconv.Itoa(number)
		err := unix.Mkdirat(sessionCgroupFD, name, 0o755)
		if err == unix.EEXIST {
			continue
		}
		if err == nil {
			err = fillSessionCgroup(name, about)
		}
		if err == unix.ENOENT { // swept by another
			continue
		}
		if err != nil {
			return fmt.Sprintf("session without a cgroup (%v)", err)
		}
		return name
	}
}

// fillSessionCgroup holds a cgroup by a shared flock(2), as all do who use one, until it is
// not empty.
func fillSessionCgroup(name string, about session.About) error {
	dir, err := unix.Openat(sessionCgroupFD, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Flock(dir, unix.LOCK_SH); err != nil {
		return err
	}
	text, err := json.Marshal(about)
	if err != nil {
		return err
	}
	if len(text) > maxAttribute {
		about.Command = []string{about.Command[0][:min(len(about.Command[0]), maxAttribute/8)], "..."}
		if text, err = json.Marshal(about); err != nil {
			return err
		}
	}
	if err := unix.Fsetxattr(dir, session.ContainerAttribute, text, 0); err != nil {
		return err
	}
	members, err := unix.Openat(dir, "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(members)
	_, err = unix.Write(members, []byte("0")) // this process (cgroups(7))
	return err
}

// sweepSessionCgroups removes those in which nothing runs any more: what has become a shell
// cannot do it for itself.
func sweepSessionCgroups() {
	fd, err := unix.Openat(sessionCgroupFD, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	parent := os.NewFile(uintptr(fd), "cgroup")
	defer parent.Close()
	names, _ := parent.Readdirnames(-1)
	for _, name := range names {
		if !strings.HasPrefix(name, session.CgroupPrefix) {
			continue
		}
		dir, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if unix.Flock(dir, unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR) // EBUSY: processes are left
		}
		_ = unix.Close(dir)
	}
}
