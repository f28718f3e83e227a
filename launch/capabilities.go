package launch

import (
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// capabilities are what a container keeps: Docker's default set without
// CAP_MKNOD, which the kernel grants to the initial user namespace only, and
// without CAP_AUDIT_WRITE, which it grants there only as well
// (capabilities(7); audit_netlink_ok in kernel/audit.c).
var capabilities = [...]uint{
	unix.CAP_CHOWN,
	unix.CAP_DAC_OVERRIDE,
	unix.CAP_FOWNER,
	unix.CAP_FSETID,
	unix.CAP_KILL,
	unix.CAP_NET_BIND_SERVICE,
	unix.CAP_NET_RAW,
	unix.CAP_SETFCAP,
	unix.CAP_SETGID,
	unix.CAP_SETPCAP,
	unix.CAP_SETUID,
	unix.CAP_SYS_CHROOT,
}

// bootCapabilities are what an init that boots the container has beside these: the set
// of systemd-nspawn(1), --capability=, without those that only count in the initial user
// namespace: CAP_MKNOD and the two of the audit. systemd mounts, and gives its services
// namespaces, limits and capabilities of their own. All of it ends at the container's
// user namespace.
var bootCapabilities = [...]uint{
	unix.CAP_DAC_READ_SEARCH,
	unix.CAP_IPC_OWNER,
	unix.CAP_LEASE,
	unix.CAP_LINUX_IMMUTABLE,
	unix.CAP_NET_BROADCAST,
	unix.CAP_SYS_ADMIN,
	unix.CAP_SYS_BOOT,
	unix.CAP_SYS_NICE,
	unix.CAP_SYS_PTRACE,
	unix.CAP_SYS_RESOURCE,
	unix.CAP_SYS_TTY_CONFIG,
}

// takesOver are those with which the host's root is not kept in by anything else: mounts and
// cgroups, files by their handles (open_by_handle_at(2)), modules, memory and ports, and
// programs of the kernel.
const takesOver = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_SYS_MODULE | 1<<unix.CAP_SYS_RAWIO | 1<<unix.CAP_BPF

func capabilitiesOf(c *config.Container) uint64 { return c.Security.Capabilities(usualCapabilities(c)) }

// usualCapabilities are those of a container whose file does not say.
func usualCapabilities(c *config.Container) (set uint64) {
	for _, capability := range capabilities {
		set |= 1 << capability
	}
	if !c.Security.OwnUsers() && !c.OwnNetwork() { // it would read and forge what passes in a network of the host
		set &^= 1 << unix.CAP_NET_RAW
	}
	if c.Init != config.InitImage {
		return set
	}
	for _, capability := range bootCapabilities {
		set |= 1 << capability
	}
	if c.OwnNetwork() { // as nspawn has it: the network is its own
		set |= 1 << unix.CAP_NET_ADMIN
	}
	return set
}
