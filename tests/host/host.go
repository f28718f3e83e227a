package host

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The deadlines of a host's own steps. A boot takes half a second on an idle machine;
// the deadlines are for one that is busy with everything else.
const (
	bootDeadline     = 90 * time.Second
	shutdownDeadline = 90 * time.Second
)

// Config says what host to start.
type Config struct {
	Release  Release
	Virtual  bool      // a virtual machine with a kernel of its own, not namespaces of this one
	Cocker   bool      // install cocker, built from the checkout
	Progress io.Writer // what happens when a root has to be built first
	Extra    Extra
	Kernel   []string // arguments of the kernel, in a virtual machine
}

// Extra is what the root of one host has that those of the others have not.
type Extra struct {
	Packages []string // Debian's names of them
	Masked   []string // units of theirs that must not start
}

// Host is a running test host. Its methods are safe to use from several goroutines,
// but for Reboot, PowerCut and Close.
type Host struct {
	Release Release
	Virtual bool   // a virtual machine
	State   string // after the last boot, as systemctl is-system-running says: running, degraded, ...

	root    string // the Debian root below the host's own, and that of the world outside
	scratch *scratch
	tree    *cgroupTree
	reaper  *reaper
	machine *virtualMachine // if Virtual
	boot    boot            // nil before the first
}

// New starts a host and waits until its boot is complete.
func New(ctx context.Context, config Config) (h *Host, err error) {
	h = &Host{Release: config.Release, Virtual: config.Virtual}
	if h.root, err = BuildRoot(ctx, config.Release, config.Extra, config.Progress); err != nil {
		return nil, err
	}
	if config.Virtual {
		if h.machine, err = newVirtualMachine(ctx, config); err != nil {
			return nil, err
		}
	}
	if h.tree, err = openCgroups(); err != nil {
		return nil, err
	}
	if err := h.prepare(ctx, config); err != nil {
		return nil, errors.Join(err, h.tree.Close())
	}
	if err := h.start(ctx); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	if config.Virtual && config.Cocker {
		if err := h.installFromDisk(ctx); err != nil {
			return nil, errors.Join(err, h.Close())
		}
	}
	return h, nil
}

// prepare makes the host's disk, and the reaper that will remove it.
func (h *Host) prepare(ctx context.Context, config Config) (err error) {
	if h.scratch, err = newScratch(h.tree); err != nil {
		return err
	}
	err = h.fillDisk(ctx, config)
	if err == nil {
		h.reaper, err = startReaper(h.scratch, h.tree)
	}
	if err != nil {
		return errors.Join(err, h.scratch.discard())
	}
	return nil
}

// fillDisk makes the host one of its own: its name and identity, and cocker.
func (h *Host) fillDisk(ctx context.Context, config Config) error {
	if config.Virtual {
		return h.machine.makeDisks(ctx, h.scratch, config.Cocker)
	}
	upper := h.scratch.path("upper")
	if config.Cocker {
		if err := install(ctx, upper); err != nil {
			return err
		}
	}
	id := make([]byte, 16)
	rand.Read(id)
	for _, f := range []rootFile{
		{"etc/machine-id", hex.EncodeToString(id) + "\n"},
		{"etc/hostname", h.hostname() + "\n"},
		// Newer than /usr: the boot need not rebuild what is made from it, see
		// ConditionNeedsUpdate= in systemd.unit(5).
		{"etc/.updated", ""},
		{"var/.updated", ""},
	} {
		if err := replaceFile(filepath.Join(upper, f.path), f.content); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) hostname() string { return "test-" + string(h.Release) }

// bootTries is how often the boot of a virtual machine is tried.
const bootTries = 3

// start boots the host from its disk.
func (h *Host) start(ctx context.Context) error {
	err := h.bootOnce(ctx)
	for try := 1; try < bootTries && errors.Is(err, errFailedBoot); try++ {
		fmt.Fprintf(os.Stderr, "%s: booting again: %v\n", h.hostname(), err)
		if err := h.powerOff(ctx); err != nil {
			return err
		}
		err = h.bootOnce(ctx)
	}
	if err != nil {
		return err
	}
	result, err := h.Command(ctx, "systemctl", "is-system-running").Exec(nil)
	h.State = strings.TrimSpace(result.Stdout)
	return err
}

func (h *Host) bootOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, h.deadline(bootDeadline))
	defer cancel()
	boot, err := h.powerOn()
	if err != nil {
		return err
	}
	h.boot = boot
	return boot.waitReady(ctx)
}

func (h *Host) powerOn() (boot, error) {
	if h.Virtual {
		return bootVirtual(h.machine, h.scratch, h.tree, h.root, h.reaper)
	}
	return bootNamespaces(h.scratch, h.tree, h.root, h.reaper, h.hostname())
}

// deadline is a deadline of a namespace host's, lengthened for an emulated processor.
func (h *Host) deadline(d time.Duration) time.Duration {
	if h.Virtual {
		return 4 * d
	}
	return d
}

// Restart shuts the host down cleanly and boots it again from the same disk: /run is
// fresh, everything else is as it was.
func (h *Host) Restart(ctx context.Context) error {
	if _, err := h.Command(ctx, "systemctl", "--no-block", "reboot").Exec(nil); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, h.deadline(shutdownDeadline))
	defer cancel()
	if err := waitEnd(wait, h.boot); err != nil {
		return err
	}
	return h.start(ctx)
}

// CutPower kills every process of the host at once and boots it again from the same
// disk. In a virtual machine, what was not synced may be lost; in namespaces all that
// was written is still there, because the page cache is this machine's.
func (h *Host) CutPower(ctx context.Context) error {
	if err := h.powerOff(ctx); err != nil {
		return err
	}
	return h.start(ctx)
}

// powerOff kills every process of the host at once.
func (h *Host) powerOff(ctx context.Context) error {
	if err := h.tree.kill(h.scratch.name); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, h.deadline(shutdownDeadline))
	defer cancel()
	return waitEnd(wait, h.boot)
}

// Done is closed when the host has shut down by itself.
func (h *Host) Done() <-chan struct{} { return h.boot.ended() }

// Console returns the last kilobytes of what was written to /dev/console.
func (h *Host) Console() string { return h.boot.consoleTail() }

// Close kills the host and waits until nothing of it is left on the machine.
func (h *Host) Close() error {
	err := h.reaper.Close()
	if h.boot != nil {
		<-h.boot.ended()
		h.boot.release()
	}
	if _, statErr := os.Stat(h.scratch.dir); statErr == nil {
		err = errors.Join(err, fmt.Errorf("%s is still there", h.scratch.dir))
	}
	return errors.Join(err, h.scratch.lock.Close(), h.tree.Close())
}

// Scratch returns the directory on the machine that holds the host's disk; its last
// element is also the name of the host's cgroup.
func (h *Host) Scratch() string { return h.scratch.dir }
