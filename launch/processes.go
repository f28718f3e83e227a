package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/linux"
)

// ProcessCgroup is the directory of the cgroup of one of a container's processes, below
// that of the container.
func ProcessCgroup(container, process string) string {
	return filepath.Join(container, "process-"+process)
}

// forProcesses opens what init needs for several processes: a socket on which it is asked
// about them, and for each a cgroup and a stream to the journal, which the container could
// not make itself.
func (l *launcher) forProcesses() (files []int, err error) {
	defer func() {
		if err != nil {
			forSessions{-1, -1, -1, -1, files}.close()
			files = nil
		}
	}()
	listener, err := listenControl(ProcessSocket(l.container.Name))
	if err != nil {
		return files, err
	}
	files = append(files, listener)
	journal := logsToJournal()
	for i := range l.plan.Processes {
		p := &l.plan.Processes[i]
		cgroup, err := l.openCgroup(p.Name)
		if files = append(files, cgroup); err != nil {
			return files, fmt.Errorf("cgroup of process %s: %w", p.Name, err)
		}
		stream := -1
		if journal {
			if stream, err = journalStream(l.container.Name + "/" + p.Name); err != nil {
				return files, err
			}
		}
		p.Journal = journal
		files = append(files, stream)
	}
	return files, nil
}

// openCgroup makes the cgroup of a process and opens it, as the root of a mount of its own
// (see the other openCgroup). It may be there from before a restart of the unit.
func (l *launcher) openCgroup(process string) (fd int, err error) {
	path := ProcessCgroup(linux.CgroupPath(ownCgroup()), process)
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return -1, err
	}
	if err := linux.DelegateCgroup(path, int(l.idBase)); err != nil {
		return -1, err
	}
	return linux.CloneMount(path, false)
}

// logsToJournal tells whether the standard output goes to the journal: JOURNAL_STREAM=
// names the socket (systemd.exec(5), "Environment Variables Set on Spawned Processes").
// Elsewhere, as with StandardOutput=, the processes share what there is.
func logsToJournal() bool {
	var stat unix.Stat_t
	return unix.Fstat(1, &stat) == nil && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

// journalStream connects to the journal as sd_journal_stream_fd(3) does. Each line gets the
// identifier; and the unit's name, where journald cannot find that out because init has
// just ended.
func journalStream(identifier string) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("journal: %w", err)
	}
	const (
		info   = 6 // the priority of a line that does not begin with "<N>"
		prefix = 1 // lines may
	)
	header := fmt.Sprintf("%s\n%s\n%d\n%d\n0\n0\n0\n", identifier, filepath.Base(ownCgroup()), info, prefix)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: "/run/systemd/journal/stdout"})
	if err == nil {
		err = unix.Shutdown(fd, unix.SHUT_RD)
	}
	if err == nil {
		_, err = unix.Write(fd, []byte(header))
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("journal: %w", err), unix.Close(fd))
	}
	return fd, nil
}
