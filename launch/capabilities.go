package launch

import "golang.org/x/sys/unix"

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

func defaultCapabilities() (set uint64) {
	for _, capability := range capabilities {
		set |= 1 << capability
	}
	return set
}
