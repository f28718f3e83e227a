package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/session"
	"github.com/cocker/cocker/launch"
)

// sessionCgroup is the cgroup of one session, session-N below that of the container's
// unit. What is known of the session is an attribute of it, so that it is gone with the
// cgroup whoever dies. A process that uses a session's cgroup holds a shared flock(2)
// on it; one that nobody holds and that is empty is removed by who comes next. That is not
// rare: the last of a session's processes may end a moment after the command.
type sessionCgroup struct {
	path      string
	dir, kill *os.File
	about     sessionInfo
}

// sessionInfo is what "cocker sessions" shows of a session.
type sessionInfo struct {
	Container string    `json:"container"`
	Session   int       `json:"session"`
	Caller    string    `json:"caller"`         // who asked for it, a user of the host
	User      string    `json:"user,omitempty"` // as whom; "": as the container's command
	Since     time.Time `json:"since"`
	Terminal  bool      `json:"terminal"`
	Login     bool      `json:"login,omitempty"`   // somebody was asked who it is, or is being asked
	Command   []string  `json:"command,omitempty"` // none: a login shell, or a login
	Processes int       `json:"processes"`
}

// maxDescribed bounds the words that are shown of a command, in bytes.
const maxDescribed = 1024

// aboutSession says what a request is about.
func aboutSession(r *session.Request) sessionInfo {
	about := sessionInfo{Caller: caller(), User: r.User, Login: r.Login, Since: time.Now().UTC().Truncate(time.Second), Terminal: r.Terminal}
	left := maxDescribed
	for _, word := range r.Command {
		if left -= len(word); left < 0 {
			about.Command = append(about.Command, "...")
			break
		}
		about.Command = append(about.Command, word)
	}
	return about
}

// caller is the user who has logged in, whoever su(1) or sudo(8) has made of him
// (/proc/PID/loginuid, proc(5)), or else the user of this process.
func caller() string {
	id := strconv.Itoa(os.Getuid())
	text, err := os.ReadFile("/proc/self/loginuid")
	if login := strings.TrimSpace(string(text)); err == nil && login != "" && login != "4294967295" {
		id = login
	}
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// newSessionCgroup makes the cgroup of a new session below that of the container.
func newSessionCgroup(state *launch.State, parent string, about sessionInfo) (*sessionCgroup, error) {
	sweepSessions(parent)
	about.Container = state.Name
	for about.Session = 1; ; about.Session++ {
		g := &sessionCgroup{path: sessionPath(parent, about.Session), about: about}
		err := g.create(int(state.IDBase))
		if err == nil {
			return g, nil
		}
		if !errors.Is(err, fs.ErrExist) && !errors.Is(err, errSwept) {
			return nil, fmt.Errorf("make a cgroup for the session: %w", err)
		}
	}
}

func sessionPath(parent string, number int) string {
	return filepath.Join(parent, session.CgroupPrefix+strconv.Itoa(number))
}

// errSwept says that somebody has removed the cgroup before it was held.
var errSwept = errors.New("removed meanwhile")

func (g *sessionCgroup) create(owner int) (err error) {
	if err := os.Mkdir(g.path, 0o755); err != nil {
		return err
	}
	if g.dir, err = os.Open(g.path); errors.Is(err, fs.ErrNotExist) {
		return errSwept
	} else if err != nil {
		return err
	}
	if err := unix.Flock(int(g.dir.Fd()), unix.LOCK_SH); err != nil {
		return errors.Join(os.NewSyscallError("flock", err), g.close())
	}
	if _, err := os.Lstat(g.path); err != nil {
		return errors.Join(errSwept, g.dir.Close())
	}
	if err := g.fill(owner); err != nil {
		return errors.Join(err, g.close())
	}
	return nil
}

func (g *sessionCgroup) fill(owner int) (err error) {
	if g.kill, err = os.OpenFile(filepath.Join(g.path, "cgroup.kill"), os.O_WRONLY, 0); err != nil {
		return err
	}
	if err := linux.DelegateCgroup(g.path, owner); err != nil {
		return err
	}
	text, err := json.Marshal(g.about)
	if err != nil {
		return err
	}
	if err := unix.Setxattr(g.path, session.HostAttribute, text, 0); err != nil {
		return &fs.PathError{Op: "setxattr", Path: g.path, Err: err}
	}
	return nil
}

// confined opens the cgroup for the container, which is not to be trusted with it: the root
// of an image with init = "image" may trace what serves sessions, and take its descriptors
// (pidfd_getfd(2)). The cgroup is the root of a mount of its own, so no ".." leads to the
// host's files (CVE-2024-21626).
func (g *sessionCgroup) confined() (fd int, err error) {
	return linux.CloneMountAt(int(g.dir.Fd()), "", false)
}

// close removes the cgroup, unless processes of the session are left.
func (g *sessionCgroup) close() error {
	defer g.dir.Close()
	if g.kill != nil {
		_ = g.kill.Close()
	}
	if err := unix.Rmdir(g.path); err != nil && err != unix.EBUSY && err != unix.ENOENT {
		return &fs.PathError{Op: "remove", Path: g.path, Err: err}
	}
	return nil
}

// sweepSessions removes the cgroups of sessions whose client was killed and whose
// processes have ended.
func sweepSessions(parent string) {
	for _, path := range sessionDirectories(parent) {
		dir, err := os.Open(path)
		if err != nil {
			continue
		}
		if unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = unix.Rmdir(path) // EBUSY: processes are left
		}
		_ = dir.Close()
	}
}

func sessionDirectories(parent string) []string {
	paths, _ := filepath.Glob(filepath.Join(parent, session.CgroupPrefix+"*")) // the only error is a bad pattern
	return paths
}

// readSession reads what is known of a session; false: it is over.
func readSession(container, path string) (about sessionInfo, ok bool) {
	if !readAttribute(path, session.HostAttribute, &about) {
		var told session.About
		if !readAttribute(path, session.ContainerAttribute, &told) {
			return about, false
		}
		about = sessionInfo{Container: container, Caller: "machinectl", User: oneLine(told.User), Since: told.Since, Login: told.Login, Terminal: told.Terminal}
		about.Session, _ = strconv.Atoi(strings.TrimPrefix(filepath.Base(path), session.CgroupPrefix))
		for _, word := range told.Command {
			about.Command = append(about.Command, oneLine(word))
		}
	}
	processes, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
	about.Processes = strings.Count(string(processes), "\n")
	return about, err == nil && about.Processes > 0
}

func readAttribute(path, name string, value any) bool {
	buffer := make([]byte, 64<<10) // XATTR_SIZE_MAX
	n, err := unix.Getxattr(path, name, buffer)
	return err == nil && json.Unmarshal(buffer[:n], value) == nil
}

// log writes a line to the journal of the container's unit: journald finds the unit
// by OBJECT_PID=, which it takes from root only (systemd.journal-fields(7)).
func (g *sessionCgroup) log(leader int) {
	what := "a login shell"
	switch {
	case g.about.Login:
		what = "a login"
	case len(g.about.Command) > 0:
		what = oneLine(strings.Join(g.about.Command, " "))
	}
	as := ""
	if g.about.User != "" {
		as = " as " + oneLine(g.about.User)
	}
	message := fmt.Sprintf("Session %d: %s runs%s: %s", g.about.Session, oneLine(g.about.Caller), as, what)
	fields := fmt.Sprintf("MESSAGE=%s\nPRIORITY=6\nSYSLOG_IDENTIFIER=cocker\nSYSLOG_FACILITY=3\nOBJECT_PID=%d\nCOCKER_CONTAINER=%s\nCOCKER_SESSION=%d\n",
		message, leader, g.about.Container, g.about.Session)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// A journal that is full or gone must not keep anybody out of a container.
	_ = unix.Sendto(fd, []byte(fields), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, &unix.SockaddrUnix{Name: "/run/systemd/journal/socket"})
}
