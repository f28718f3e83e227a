package launch

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/netsetup"
	"github.com/cocker/cocker/rootfs"
)

// checkUnit refuses an init of the image where no unit waits for it: nobody would send
// what stops it.
func (l *launcher) checkUnit() error {
	if l.container.Init != config.InitImage {
		return nil
	}
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return errors.New(`a container with init = "image" is started by its unit, which is to be Type=notify: systemctl start`)
	}
	return nil
}

// killSignal is KillSignal= of a container's unit, which package units sets, where PID 1
// is not cocker's. What an init does not handle yet is lost (kill(2)), and the stop would
// take all of TimeoutStopSec=. So it is blocked from before the clone: it survives each
// execve(2), and systemd, which blocks it itself, finds it when it begins to listen.
func killSignal(c *config.Container) syscall.Signal {
	_, number, _ := config.Signal(firstOf(c.StopSignal, "SIGRTMIN+3"))
	return number
}

// dieOnRequest makes the stop signal of the unit what SIGTERM is elsewhere: the end of the
// launcher, while that is the main process. The Go runtime ignores most of them, and has
// done so until here: systemd knows whether it has sent one.
func (l *launcher) dieOnRequest() error {
	if l.container.Init != config.InitImage {
		return nil
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, killSignal(l.container))
	go func() {
		<-stop
		_ = unix.Kill(os.Getpid(), unix.SIGTERM)
	}()
	unit := filepath.Base(ownCgroup())
	state, err := exec.Command("systemctl", "show", "-P", "ActiveState", unit).Output()
	if err == nil && strings.TrimSpace(string(state)) == "deactivating" {
		return fmt.Errorf("%s is being stopped", unit)
	}
	return nil
}

// interfaceFiles are what the container interface of systemd (systemd.io/CONTAINER_INTERFACE)
// has in /run/host, beside the socket for notifications.
func interfaceFiles(id id128) []rootfs.File {
	files := []rootfs.File{
		whole("/run/host/container-manager", 0o444, "cocker\n"),
		whole("/run/host/container-uuid", 0o444, id.uuid()+"\n"),
	}
	for _, source := range []string{"/etc/os-release", "/usr/lib/os-release"} { // os-release(5)
		if text, err := os.ReadFile(source); err == nil {
			return append(files, whole("/run/host/os-release", 0o444, string(text)))
		}
	}
	return files
}

// networkFiles tell systemd-networkd and systemd-resolved of the image what the network is
// that the container has already. Otherwise the one waits in vain for a link that it
// manages, or asks for an address by DHCP, and the other knows no name server. The files
// are in /run, as these hold until the container ends (systemd.network(5),
// resolved.conf(5)).
func networkFiles(c *connector, resolvConf []byte) (files []rootfs.File) {
	const made = "# Made by cocker at every start.\n"
	if c != nil {
		for i, join := range c.state.Joins {
			files = append(files, whole(networkFile(i), 0o644, made+networkUnit(join, c.leases[i], i == 0)))
		}
	}
	if servers := nameServers(resolvConf); len(servers) > 0 {
		files = append(files, whole("/run/systemd/resolved.conf.d/00-cocker.conf", 0o644,
			made+"[Resolve]\nDNS="+strings.Join(servers, " ")+"\n"))
	}
	return files
}

func networkFile(index int) string {
	if index == 0 {
		return "/run/systemd/network/00-cocker.network"
	}
	return fmt.Sprintf("/run/systemd/network/00-cocker-%d.network", index)
}

// networkUnit describes one link; only one has the way out.
func networkUnit(join JoinState, lease netsetup.Lease, primary bool) string {
	text := "[Match]\nName=" + join.Interface + "\n\n[Network]\n"
	for _, address := range []string{join.Address, join.Address6} {
		if address != "" {
			text += "Address=" + address + "\n"
		}
	}
	for _, gateway := range []netip.Addr{lease.Gateway4, lease.Gateway6} {
		if primary && gateway.IsValid() {
			text += "Gateway=" + gateway.String() + "\n"
		}
	}
	return text + "LinkLocalAddressing=no\nIPv6AcceptRA=no\nKeepConfiguration=yes\n"
}

// nameServers are those of a resolv.conf(5).
func nameServers(resolvConf []byte) (servers []string) {
	for line := range bytes.Lines(resolvConf) {
		if fields := strings.Fields(string(line)); len(fields) >= 2 && fields[0] == "nameserver" {
			servers = append(servers, fields[1])
		}
	}
	return servers
}
