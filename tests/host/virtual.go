package host

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/yamux"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/tests/host/agent"
)

//go:embed virtual.sh
var virtualScript []byte

// virtualBoot is a boot in a virtual machine: one process, qemu.
type virtualBoot struct {
	process
	agent   string         // the program cocker-testagent
	root    string         // where the commands of the outside world are
	outside *reaper        // whose network namespace it is
	cgroup  *os.File       // of qemu and the commands
	log     string         // the file of the console, of all boots
	begin   int64          // where in it this boot begins
	session *yamux.Session // a stream for each command
}

// bootVirtual starts qemu on the scratch directory's disks, in a fresh cgroup and in
// the network namespace of the outside world, where the other end of eth0 is a tap device.
func bootVirtual(m *virtualMachine, s *scratch, tree *cgroupTree, root string, outside *reaper) (b *virtualBoot, err error) {
	b = &virtualBoot{agent: m.agent, root: root, outside: outside, log: s.path("console")}
	defer func() {
		if err != nil {
			b.release()
		}
	}()
	if info, err := os.Stat(b.log); err == nil {
		b.begin = info.Size()
	}
	if b.cgroup, err = tree.create(s.name); err != nil {
		return b, err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return b, err
	}
	defer theirs.Close()
	if b.session, err = yamux.Client(ours, agent.Config(io.Discard)); err != nil {
		return b, errors.Join(err, ours.Close())
	}
	script := s.path("virtual.sh")
	if err := os.WriteFile(script, virtualScript, 0o755); err != nil {
		return b, err
	}
	cmd := exec.Command("/bin/sh", append([]string{script}, m.arguments(s)...)...)
	cmd.ExtraFiles = []*os.File{outside.outside, theirs}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:      true,
		UseCgroupFD: true, CgroupFD: int(b.cgroup.Fd()),
		Pdeathsig: unix.SIGKILL,
	}
	return b, b.start(cmd)
}

// socketPair returns a connection to a descriptor that a child inherits.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	connection, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return connection, theirs, nil
}

// errFailedBoot is a boot that ended in a kernel panic, or in which nobody answers.
// Emulated processors are not perfect: one boot of some dozens is like that, in the
// kernel's own start.
var errFailedBoot = errors.New("failed boot")

// answerDeadline is when the agent, which starts early, must have answered.
const answerDeadline = 4 * time.Minute

// waitReady waits for the agent, and then asks the host's systemd.
func (b *virtualBoot) waitReady(ctx context.Context) error {
	answer, cancel := context.WithTimeout(ctx, answerDeadline)
	defer cancel()
	if err := b.untilSays(answer, "", "true"); err != nil {
		return errors.Join(errFailedBoot, err)
	}
	return b.untilSays(ctx, "running degraded maintenance", "systemctl", "is-system-running", "--wait")
}

// untilSays runs a command until it prints one of the words, or nothing where that is
// wanted.
func (b *virtualBoot) untilSays(ctx context.Context, words, name string, args ...string) error {
	err := poll(ctx, func() error {
		select {
		case <-b.done:
			return nil
		default:
		}
		result, err := b.command(ctx, name, args).Exec(nil)
		said := strings.TrimSpace(result.Stdout)
		if err == nil && result.ExitCode != connectionFailed && strings.Contains(words, said) && (said != "" || words == "") {
			return nil
		}
		return errors.Join(fmt.Errorf("%s says %q %s", name, said, result.Stderr), err)
	})
	select {
	case <-b.done:
		return fmt.Errorf("the virtual machine ended during the boot (%v); its console:\n%s", b.cmd.ProcessState, b.consoleTail())
	default:
	}
	if err != nil {
		return fmt.Errorf("boot: %w; console:\n%s", err, b.consoleTail())
	}
	return nil
}

// connectionFailed is the exit status of the agent where there is no command's.
const connectionFailed = 255

// command returns a process of this machine that stands for the one in the host.
func (b *virtualBoot) command(ctx context.Context, name string, args []string) *Cmd {
	cmd := localCommand(ctx, b.agent, append([]string{"exec", "/root", name}, args...)...)
	b.confine(cmd)
	return &Cmd{Cmd: cmd, enter: b.connect}
}

// connect starts such a process, whose descriptor 3 is a stream to the agent.
func (b *virtualBoot) connect(cmd *exec.Cmd) error {
	stream, err := b.session.OpenStream()
	if err != nil {
		return fmt.Errorf("the host is not running: %w", err)
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return errors.Join(err, stream.Close())
	}
	defer theirs.Close()
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, stream.Close(), ours.Close())
	}
	go relay(ours, stream)
	go relay(stream, ours)
	return nil
}

// relay copies one direction. The end of either is the end of both: the process has
// ended, or the command has and all that it wrote has been passed on.
func relay(to, from io.ReadWriteCloser) {
	io.Copy(to, from)
	to.Close()
}

// outsideCommand runs in the Debian root of the namespace hosts, with the devices of
// this machine: it is the network that is the outside world.
func (b *virtualBoot) outsideCommand(ctx context.Context, name string, args []string) *Cmd {
	const script = `set -e; root=$1; shift
		mount --rbind /dev "$root/dev"; mount -t proc proc "$root/proc"
		exec chroot "$root" "$@"`
	enter := []string{"--net=" + b.outside.network(), "--", "unshare", "--mount", "/bin/sh", "-c", script, "sh", b.root, name}
	cmd := localCommand(ctx, "/usr/bin/nsenter", append(enter, args...)...)
	b.confine(cmd)
	return &Cmd{Cmd: cmd, enter: func(cmd *exec.Cmd) error { return cmd.Start() }}
}

// confine puts a command where the reaper finds it.
func (b *virtualBoot) confine(cmd *exec.Cmd) {
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(b.cgroup.Fd())
}

func (b *virtualBoot) consoleTail() string {
	text, err := os.ReadFile(b.log)
	if err != nil {
		return err.Error()
	}
	text = text[min(b.begin, int64(len(text))):]
	return string(text[max(0, len(text)-tailSize):])
}

func (b *virtualBoot) release() {
	if b.session != nil {
		b.session.Close()
	}
	if b.cgroup != nil {
		b.cgroup.Close()
	}
}

// virtualMachine is what the boots of a virtual machine are made of.
type virtualMachine struct {
	disk  string // the directory of the disk image, the kernel and the initrd
	agent string
	kvm   bool
	more  []string // arguments of the kernel
}

// newVirtualMachine makes what does not exist yet: agent, disk image, and cocker.
func newVirtualMachine(ctx context.Context, config Config) (*virtualMachine, error) {
	m := &virtualMachine{more: config.Kernel}
	var err error
	if m.agent, err = buildAgent(ctx); err != nil {
		return nil, err
	}
	if m.disk, err = BuildDisk(ctx, config.Release, config.Progress); err != nil {
		return nil, err
	}
	m.kvm, err = kvmWorks(ctx, filepath.Join(m.disk, kernelFile))
	return m, err
}

// The disks of a virtual machine, as the guest sees them: vda, its root, and vdb, a
// small one whose content is free for tests.
const (
	rootDisk   = "disk.qcow2"
	secondDisk = "second.img"
	secondSize = 1 << 30 // sparse
)

// makeDisks makes the host's own disks in its scratch directory: what it writes on the
// first is beside the image that all share; on the second, if wanted, is cocker.
func (m *virtualMachine) makeDisks(ctx context.Context, s *scratch, cocker bool) error {
	commands := [][]string{
		{"qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", filepath.Join(m.disk, imageFile), s.path(rootDisk)},
		{"truncate", fmt.Sprintf("--size=%d", secondSize), s.path(secondDisk)},
	}
	if cocker {
		tree := s.path("upper")
		if err := install(ctx, tree); err != nil {
			return err
		}
		commands = append(commands, []string{"mkfs.ext4", "-q", "-F", "-d", tree, s.path(secondDisk)})
	}
	for _, command := range commands {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
		}
	}
	return nil
}

// installFromDisk copies cocker from the second disk, as "make install" would.
func (h *Host) installFromDisk(ctx context.Context) error {
	const script = `set -e; mount /dev/vdb /mnt
		cp -a --no-preserve=ownership /mnt/etc /mnt/usr /
		umount /mnt; wipefs -qa /dev/vdb; systemctl daemon-reload`
	result, err := h.Command(ctx, "/bin/sh", "-c", script).Exec(nil)
	if err != nil || result.ExitCode != 0 {
		return fmt.Errorf("install cocker in the virtual machine: %w %s", err, result.Stderr)
	}
	return nil
}

// arguments returns the arguments of virtual.sh: those of qemu.
func (m *virtualMachine) arguments(s *scratch) []string {
	// A processor with few features, because each is code of the emulator's that can be
	// wrong: Debian 12's corrupts the flags on cmpxchg16b, and kernels died in it with
	// "max". rdrand is for the kernel's random numbers.
	processor := []string{"-accel", "tcg,thread=multi", "-cpu", "qemu64,-cx16,-svm,+rdrand"}
	if m.kvm {
		processor = []string{"-accel", "kvm", "-cpu", "host"}
	}
	return append(processor,
		"-smp", "2", "-m", "1024", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", filepath.Join(m.disk, kernelFile), "-initrd", filepath.Join(m.disk, initrdFile),
		// no_timer_check: an emulated timer is late on a busy machine, and then the check's
		// end is a panic, "IO-APIC + timer doesn't work".
		"-append", strings.Join(append([]string{"root=/dev/vda rw console=ttyS0 panic=-1 no_timer_check net.ifnames=0 mitigations=off"}, m.more...), " "),
		"-chardev", "file,id=console,append=on,path="+s.path("console"), "-serial", "chardev:console",
		"-drive", "if=virtio,format=qcow2,file="+s.path(rootDisk),
		"-drive", "if=virtio,format=raw,file="+s.path(secondDisk),
		"-device", "virtio-serial-pci", "-chardev", "socket,id=agent,fd=4", "-device", "virtserialport,chardev=agent,name=agent",
		"-netdev", "tap,id=eth0,ifname=eth0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=eth0,romfile=",
		"-device", "virtio-rng-pci")
}
