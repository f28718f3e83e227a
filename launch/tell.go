package launch

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/journal"
	"github.com/cocker/cocker/internal/oom"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/units"
)

// openKills opens the pipe by which init says that the kernel has killed a process of its
// container: cocker-oom.socket has the other end. -1: nobody listens (ENXIO in fifo(7)), or
// that unit is masked. Nothing but a write is possible with it, and nobody reads what.
func openKills() int {
	fd, err := unix.Open(paths.Kills, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1
	}
	return fd
}

// tellPause is the least time between two runs of cocker-oom.service, however often it is
// asked for: systemd listens to the pipe again when the service has ended.
const tellPause = time.Second

// tell is ExecStart= of cocker-oom.service: it logs of each container that runs which of its
// processes the kernel has killed since the last time. Who asked does not matter.
func tell(what string) error {
	if what != "kills" {
		return errors.New("usage: cocker-launch tell kills")
	}
	drain()
	states, err := States()
	if err != nil {
		warn(err.Error())
	}
	for _, state := range states {
		if err := tellNews(state); err != nil {
			warn(err.Error())
		}
	}
	time.Sleep(tellPause)
	return nil
}

// tellNews logs in the name of the container's unit, of which this process is none.
func tellNews(state *State) error {
	unit := path.Base(state.Cgroup)
	if name, ok := units.ContainerOf(unit); !ok || name != state.Name {
		return nil // it was started by hand
	}
	report := oom.News(state.Cgroup, state.IDBase)
	if report == nil {
		return nil
	}
	if err := journal.About(journal.Warning, state.Name, killedText(state.Name, report), unit); err != nil {
		return fmt.Errorf("container %s: %w", state.Name, err)
	}
	return nil
}

// killedText is of a container that goes on.
func killedText(container string, report *oom.Report) string {
	return fmt.Sprintf("The kernel killed a process of container %s: %s", container, report)
}

// drainLimit bounds what is read of the pipe, which is not larger (PipeSize=) unless
// somebody who has it makes it so.
const drainLimit = 1 << 20

// drain empties the pipe that systemd has passed, if it has (sd_listen_fds(3)): what comes
// from now on starts the service once more.
func drain() {
	const fd = 3
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return
	}
	if err := unix.SetNonblock(fd, true); err != nil { // systemd makes it blocking (systemd.exec(5), NonBlocking=)
		return
	}
	buffer := make([]byte, 64<<10)
	for total := 0; total < drainLimit; {
		n, err := unix.Read(fd, buffer)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 || err != nil {
			return
		}
		total += n
	}
}
