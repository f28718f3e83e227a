package tests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// TestVMLifecycle is what needs a kernel, a clock or disks of its own, and the
// shutdown and the boot of a whole machine: one virtual machine of each release, as
// a boot takes 20 seconds.
func TestVMLifecycle(t *testing.T) {
	if !*host.InVirtualMachines {
		t.Skip("needs a virtual machine: make test-vm")
	}
	onOwnHost(t, func(t *testing.T, h *host.Host) {
		u := startUndisturbed(t, h)
		for _, part := range []struct {
			name string
			test func(t *testing.T, h *host.Host, u *undisturbed)
		}{{"links", vmLinks}, {"networkd", vmNetworkd}, {"services", vmServices}, {"clock", vmClock}} {
			t.Run(part.name, func(t *testing.T) { part.test(t, h, u) })
		}
		u.end(t)
		t.Run("isolate", func(t *testing.T) {
			prepareIsolate(t, h)
			isolateAndBack(t, h, "rescue.target")
		})
		if h.Release != host.Bookworm { // since systemd 254
			t.Run("soft-reboot", func(t *testing.T) { vmSoftReboot(t, h) })
		}
		h.MustRun(t, "cocker rm -f declared mounted by-hand")
		t.Run("late disks", func(t *testing.T) { vmLateDisks(t, h) })
	})
}

// vmLinks: udev leaves names and addresses of the links as cocker has made them.
func vmLinks(t *testing.T, h *host.Host, _ *undisturbed) {
	h.MustRun(t, `udevadm settle && [ "$(cat /sys/class/net/cocker0/address /sys/class/net/ck-web/address | xargs)" = "fe:63:0a:58:00:01 fe:63:0a:58:01:01" ]`)
}

// vmNetworkd: networkd, told to take over every link, does not touch those of cocker.
func vmNetworkd(t *testing.T, h *host.Host, u *undisturbed) {
	h.WriteFile(t, "/etc/systemd/network/01-eth0.network", "[Match]\nName=eth0\n[Link]\nUnmanaged=yes\n", 0o644)
	h.WriteFile(t, "/etc/systemd/network/10-all.network", "[Match]\nName=*\n[Network]\nAddress=198.51.100.1/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n", 0o644)
	h.MustRun(t, "systemctl unmask systemd-networkd.service systemd-networkd.socket; ip link add dummy7 type dummy; systemctl start systemd-networkd")
	h.WaitFor(t, eventually, "networkd at work", "ip addr show dummy7 | grep -q 198.51.100.1")
	h.MustRun(t, `systemctl restart systemd-networkd && networkctl reload && [ "$(networkctl --no-legend list cocker0 ck-web | awk '{print $NF}' | xargs)" = "unmanaged unmanaged" ]`)
	u.assert(t, "start and restart of networkd")
	h.MustRun(t, "systemctl stop systemd-networkd.socket systemd-networkd && ip link del dummy7 && rm /etc/systemd/network/*.network")
}

func vmServices(t *testing.T, h *host.Host, u *undisturbed) {
	h.MustRun(t, "systemctl daemon-reexec && systemctl restart systemd-journald systemd-machined dbus systemd-udevd")
	u.assert(t, "restarts")
}

// vmClock: nothing of a container hangs on the time of day.
func vmClock(t *testing.T, h *host.Host, u *undisturbed) {
	for _, jump := range []string{"+400 days", "-400 days"} {
		h.MustRun(t, `date -s "$1" >/dev/null`, jump)
		u.assert(t, "jump of the clock by "+jump)
	}
	// A journal with times from the future is not searched by time any more.
	h.MustRun(t, "journalctl -q --sync --rotate && journalctl -q --vacuum-files=1")
}

// vmSoftReboot: containers are stopped and started again like everything that is not
// the kernel.
func vmSoftReboot(t *testing.T, h *host.Host) {
	h.MustRun(t, `systemctl stop cocker@declared cocker@mounted && : >/srv/events/all && systemctl start cocker@declared cocker@mounted && cocker run -d --rm --name bg demo sleep 10000`)
	h.MustRun(t, "cat /proc/sys/kernel/random/boot_id >/root/boot; systemctl soft-reboot")
	h.WaitFor(t, eventually, "the system after a soft-reboot", `[ "$(systemctl show -P SoftRebootsCount)" = 1 ] && systemctl is-system-running`)
	if got := h.MustRun(t, `cmp /root/boot /proc/sys/kernel/random/boot_id; cocker ps -a --json | jq -r '.[]|.name+" "+.state'`); got != "by-hand stopped\ndeclared running\nmounted running" {
		t.Errorf("after the soft-reboot:\n%s", got)
	}
	h.WaitFor(t, eventually, "what runs in them", `[ "$(sort /srv/events/all | xargs)" = "declared end declared up declared up mounted end mounted up mounted up" ]`)
	h.MustRun(t, `[ "$(machinectl list --no-legend | awk '{print $1}' | sort | xargs)" = "declared mounted" ] && [ "$(ip -o link show master cocker0 | wc -l)" = 2 ]`)
}

// vmLateDisks: /var is a disk of its own that comes late, and nobody waits for it but
// who needs it; /var/lib/cocker is another one on it. The shutdown before is that of
// a whole machine.
func vmLateDisks(t *testing.T, h *host.Host) {
	h.MustRun(t, `set -e; systemctl stop 'cocker@*'
		mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt && cp -a /var/. /mnt/ && rm -rf /mnt/lib/cocker/*
		truncate -s 300M /mnt/cocker.img && mkfs.ext4 -q /mnt/cocker.img
		mkdir /tmp/state && mount -o loop /mnt/cocker.img /tmp/state && cp -a /var/lib/cocker/. /tmp/state/ && umount /tmp/state /mnt`)
	h.WriteFile(t, "/etc/systemd/system/slow-disk.service", "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 5\n", 0o644)
	h.MustRun(t, `printf '%s\n' '/dev/vdb /var ext4 nofail,x-systemd.requires=slow-disk.service 0 0' '/var/cocker.img /var/lib/cocker ext4 loop,nofail 0 0' >>/etc/fstab`)
	prepareShutdown(t, h)
	since := now(t, h)
	h.Reboot(t)
	if h.State != "running" {
		t.Errorf("the system is %s: %s", h.State, h.MustRun(t, "systemctl --failed --no-legend"))
	}
	// The journal of the shutdown is on the disk that /var hides now.
	h.MustRun(t, "mount --bind / /mnt && cp /mnt/var/log/journal/*/system.journal /var/log/journal/$(cat /etc/machine-id)/before.journal && umount /mnt")
	assertShutdown(t, h, since)
	h.MustRun(t, `findmnt -n /var >/dev/null && findmnt -n /var/lib/cocker >/dev/null`)
	at := strings.Fields(h.MustRun(t, `systemctl show -P ActiveEnterTimestampMonotonic var-lib-cocker.mount; systemctl show -P InactiveExitTimestampMonotonic cocker@db cocker@c00 | grep . | sort -n | head -1`))
	if len(at) != 2 || fmt.Sprintf("%15s", at[0]) > fmt.Sprintf("%15s", at[1]) {
		t.Errorf("/var/lib/cocker was mounted at, the first container started at: %v", at)
	}
	if got := h.MustRun(t, `cocker ps --json | jq '[.[]|select(.state=="running")]|length'`); got != fmt.Sprint(len(shutdownFiles(h))) {
		t.Errorf("%s containers run of %d", got, len(shutdownFiles(h)))
	}
}
