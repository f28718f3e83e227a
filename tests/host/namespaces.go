package host

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

//go:embed boot.sh
var bootScript []byte

// harnessCgroup is the cgroup, below a host's own, of the commands that tests run.
const harnessCgroup = "harness"

// namespaceBoot is a boot in namespaces of this machine's kernel.
type namespaceBoot struct {
	process
	console *console
	kmsg    *kmsg
	notify  *net.UnixConn // where systemd says that the boot is complete
	harness *os.File      // the directory of harnessCgroup
	outside *reaper       // whose network namespace is the outside world
	ready   chan struct{} // closed when systemd has finished the boot
	isReady func()        // closes ready, however often systemd says so
}

// bootNamespaces starts systemd on the scratch directory's disk state. Its effects:
//   - a fresh cgroup, in which process 1 is from its first moment;
//   - new namespaces; the cgroup namespace is made by the new process itself, because
//     its root is the cgroup that its maker is in;
//   - boot.sh, which mounts the host's file systems and becomes systemd.
func bootNamespaces(s *scratch, tree *cgroupTree, root string, outside *reaper, hostname string) (b *namespaceBoot, err error) {
	b = &namespaceBoot{ready: make(chan struct{}), outside: outside}
	b.isReady = sync.OnceFunc(func() { close(b.ready) })
	defer func() {
		if err != nil {
			b.release()
		}
	}()
	cgroup, err := tree.create(s.name)
	if err != nil {
		return b, err
	}
	defer cgroup.Close()
	if err := b.open(s, filepath.Join(tree.dir, s.name)); err != nil {
		return b, err
	}
	script := s.path("boot.sh")
	if err := os.WriteFile(script, bootScript, 0o755); err != nil {
		return b, err
	}
	cmd := exec.Command("/bin/sh", script, s.dir, root, b.console.slave.Name(), hostname)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = b.console.slave, b.console.slave, b.console.slave
	cmd.ExtraFiles = []*os.File{outside.outside}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:      true,
		Cloneflags:  unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		UseCgroupFD: true, CgroupFD: int(cgroup.Fd()),
		Unshareflags: unix.CLONE_NEWCGROUP,
		Pdeathsig:    unix.SIGKILL,
	}
	return b, b.process.start(cmd)
}

// open makes the ends of everything that a boot is connected to the test by.
func (b *namespaceBoot) open(s *scratch, cgroup string) (err error) {
	if b.console, err = openConsole(); err != nil {
		return fmt.Errorf("open a console: %w", err)
	}
	if b.kmsg, err = openKmsg(s.path("kmsg")); err != nil {
		return err
	}
	if b.notify, err = listenNotify(s.dir); err != nil {
		return err
	}
	go b.readNotify()
	dir := filepath.Join(cgroup, harnessCgroup)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	b.harness, err = os.Open(dir)
	return err
}

// listenNotify binds the notification socket. Its path goes through a descriptor:
// the path of a socket is limited to 107 bytes, that of a checkout is not.
func listenNotify(dir string) (*net.UnixConn, error) {
	if err := os.RemoveAll(filepath.Join(dir, "notify")); err != nil {
		return nil, err
	}
	directory, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer directory.Close()
	path := fmt.Sprintf("/proc/self/fd/%d/notify", directory.Fd())
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	runtime.KeepAlive(directory)
	return conn, err
}

func (b *namespaceBoot) pid() int { return b.cmd.Process.Pid }

// waitReady waits until systemd has finished the jobs of the boot.
func (b *namespaceBoot) waitReady(ctx context.Context) error {
	select {
	case <-b.ready:
		return b.kmsg.connect(b.pid())
	case <-b.done:
		return fmt.Errorf("process 1 ended during the boot (%v); its console:\n%s", b.cmd.ProcessState, &b.console.tail)
	case <-ctx.Done():
		return fmt.Errorf("boot: %w; console:\n%s", ctx.Err(), &b.console.tail)
	}
}

// readNotify reads what systemd says about itself, as long as the boot lasts: process
// 1 blocks, and with it the whole host, when nobody takes its messages.
func (b *namespaceBoot) readNotify() {
	buffer := make([]byte, 4096)
	for {
		n, err := b.notify.Read(buffer)
		if err != nil {
			return
		}
		if slices.Contains(strings.Split(string(buffer[:n]), "\n"), "READY=1") {
			b.isReady()
		}
	}
}

func (b *namespaceBoot) consoleTail() string { return b.console.tail.String() }

// release closes the test's ends. systemd must not be left with a console or a
// kernel log that nobody reads, so it comes last.
func (b *namespaceBoot) release() {
	if b.console != nil {
		b.console.Close()
	}
	if b.kmsg != nil {
		b.kmsg.Close()
	}
	if b.notify != nil {
		b.notify.Close()
	}
	if b.harness != nil {
		b.harness.Close()
	}
}
