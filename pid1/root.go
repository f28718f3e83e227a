package pid1

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/linux"
)

// kernelMount is a file system whose content belongs to the namespaces of the
// process that mounts it, so that only init can make it.
type kernelMount struct {
	fstype, target string
	attributes     int  // MOUNT_ATTR_ flags
	readOnly       bool // unless the container is privileged
	skip           func(*handoff.Plan) bool
	optional       bool // some kernels lack it, and containers can do without
}

func booted(p *handoff.Plan) bool    { return p.Boot }
func notBooted(p *handoff.Plan) bool { return !p.Boot }

const noExecution = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

func always(*handoff.Plan) bool { return false }

var kernelMounts = [...]kernelMount{
	{fstype: "proc", target: "proc", attributes: noExecution, skip: always},
	{fstype: "sysfs", target: "sys", attributes: noExecution, readOnly: true, skip: func(p *handoff.Plan) bool { return p.HasSys }},
	{fstype: "cgroup2", target: "sys/fs/cgroup", attributes: noExecution | unix.MOUNT_ATTR_RDONLY, skip: booted, optional: true},
	{fstype: "cgroup2", target: "sys/fs/cgroup", attributes: noExecution, skip: notBooted},
	{fstype: "mqueue", target: "dev/mqueue", attributes: noExecution, skip: func(p *handoff.Plan) bool { return p.Shared }, optional: true},
}

// completeRoot mounts the kernel's file systems and makes the assembled tree the
// root. The tree is copied first: a mount that came from a more privileged mount
// namespace is locked, and pivot_root(2) refuses a locked one; its copy's topmost
// mount is free. What stays behind, the host's /proc above all, goes with the
// stage as a whole.
func completeRoot(plan *handoff.Plan) error {
	root, err := linux.CloneMount(handoff.StageRoot, true)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	if err := linux.AttachAt(root, handoff.StageRoot); err != nil {
		return err
	}
	for i := range kernelMounts {
		mount := &kernelMounts[i]
		if mount.skip(plan) {
			continue
		}
		if err := mount.mount(root, plan); err != nil && !mount.optional {
			return fmt.Errorf("mount /%s: %w", mount.target, err)
		}
	}
	return linux.EnterRoot(root)
}

func (m *kernelMount) mount(root int, plan *handoff.Plan) error {
	attributes := m.attributes
	if m.readOnly && !(plan.Privileged && !plan.OwnUsers) { // in a user namespace the kernel wants it so
		attributes |= unix.MOUNT_ATTR_RDONLY
	}
	target, err := linux.OpenPlain(root, m.target, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	fd, err := linux.NewMount(m.fstype, attributes)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (the host hides a part of its own %s)", err, m.fstype)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return linux.Attach(fd, target)
}
