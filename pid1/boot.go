package pid1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/linux"
)

// boot makes an init of the image PID 1, in what systemd's container interface
// (systemd.io/CONTAINER_INTERFACE) and systemd-nspawn(1) with --boot lead it to expect.
func boot(plan *handoff.Plan, channel *handoff.Init) (status int, err error) {
	for _, phase := range []func(*handoff.Plan) error{protectSysctl, newBootID, shareMounts, findInit} {
		if err := phase(plan); err != nil {
			return exitFailed, err
		}
	}
	command, err := prepareCommand(plan)
	if err != nil {
		return exitCommand, err
	}
	for _, phase := range []func(*handoff.Plan) error{limitOwn, labelNextProgram, startAttendant, command.becomeCommand} {
		if err := phase(plan); err != nil {
			return exitFailed, err
		}
	}
	if err := errors.Join(channel.Assembled(), channel.WaitProceed()); err != nil {
		return exitFailed, err
	}
	if sendsReady(command.path) {
		plan.Announce = strings.TrimPrefix(plan.Announce, "READY=1\n")
	} else if err := linux.UnblockSignals(); err != nil { // who knows whether it would
		return exitFailed, err
	}
	announce(plan)
	// What can go wrong from here on the journal has to tell: the launcher is to be gone.
	if err := errors.Join(channel.Started(), channel.Close()); err != nil {
		return exitFailed, err
	}
	awaitOwnCgroup()
	return exitCommand, command.replaceInit()
}

// limitOwn leaves this thread what cocker's own processes have; the init gets less.
func limitOwn(plan *handoff.Plan) error { return limitCapabilities(ownCapabilities(plan)) }

// protectSysctl makes /proc/sys read-only but for the network's part, where that is the
// container's own, as systemd-nspawn does: systemd leaves alone what it cannot write
// (ConditionPathIsReadWrite=/proc/sys/ of systemd-sysctl.service).
func protectSysctl(plan *handoff.Plan) error {
	if plan.Privileged {
		return nil
	}
	all, err := linux.CloneMount("/proc/sys", true)
	if err != nil {
		return err
	}
	defer unix.Close(all)
	network, err := linux.CloneMount("/proc/sys/net", true)
	if err != nil {
		return err
	}
	defer unix.Close(network)
	if err := linux.SetAttributes(all, noExecution|unix.MOUNT_ATTR_RDONLY, true); err != nil {
		return err
	}
	if err := linux.AttachAt(all, "/proc/sys"); err != nil || !plan.OwnNetwork {
		return err
	}
	return linux.AttachAt(network, "/proc/sys/net")
}

// newBootID gives each boot of the container an id, as systemd-nspawn does: by it journalctl
// tells one boot from the other, and the kernel's own is that of the host's (random(4)).
func newBootID(*handoff.Plan) error {
	const source, target = "/run/cocker-boot-id", "/proc/sys/kernel/random/boot_id"
	var id [16]byte
	if _, err := unix.Getrandom(id[:], 0); err != nil {
		return fmt.Errorf("make a boot id: %w", err)
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // a version 4 UUID
	text := fmt.Sprintf("%x-%x-%x-%x-%x\n", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
	if err := os.WriteFile(source, []byte(text), 0o444); err != nil {
		return err
	}
	fd, err := linux.CloneMount(source, false)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := linux.SetAttributes(fd, noExecution|unix.MOUNT_ATTR_RDONLY, false); err != nil {
		return err
	}
	return errors.Join(linux.AttachAt(fd, target), os.Remove(source))
}

// shareMounts lets what is mounted later reach services that have a mount namespace of
// their own. systemd does so itself where it is in no container (mount_setup() in its
// main.c), systemd-nspawn for its containers.
func shareMounts(*handoff.Plan) error {
	return linux.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// imageInits are tried in this order if neither the container's file nor the image says
// what to run.
var imageInits = [...]string{"/sbin/init", "/usr/lib/systemd/systemd", "/lib/systemd/systemd"}

func findInit(plan *handoff.Plan) error {
	if len(plan.Command) > 0 {
		return nil
	}
	for _, path := range imageInits {
		if checkProgram(path) == nil {
			plan.Command = []string{path}
			return nil
		}
	}
	return fmt.Errorf(`the image has no init (%s): install one in it (Debian: systemd-sysv), or set command`, strings.Join(imageInits[:], ", "))
}

// sendsReady tells whether an init says itself when it has booted. systemd does, when it
// has reached its default target (sd_notify(3), systemd(1) "$NOTIFY_SOCKET"); others are
// ready when they run.
func sendsReady(path string) bool {
	real, err := filepath.EvalSymlinks(path)
	return err == nil && filepath.Base(real) == "systemd"
}

// ownCgroup is the cgroup that the unit has, as the container sees it.
const ownCgroup = "/sys/fs/cgroup"

// launcherTimeout bounds the wait for the end of the launcher.
const launcherTimeout = 10 * time.Second

// awaitOwnCgroup waits until nobody else is in the cgroup: processes are in the leaves
// only of one that has controllers enabled for those below it ("no internal processes",
// cgroups(7)), and the init can move itself out of the way, but not the launcher.
func awaitOwnCgroup() {
	for deadline := time.Now().Add(launcherTimeout); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		processes, err := os.ReadFile(filepath.Join(ownCgroup, "cgroup.procs"))
		if err != nil || strings.Count(string(processes), "\n") <= 1 {
			return
		}
	}
}
