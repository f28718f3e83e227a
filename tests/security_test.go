package tests

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// noUsers is for a container whose root is the host's.
const noUsers = "[security]\nprivate_users = false\n"

const noFilter = "[security]\nseccomp = 'none'\n"

// tryKernelFiles prints what a container should not be able to do with the kernel's files.
const tryKernelFiles = `
	for f in /proc/acpi /proc/asound /proc/interrupts /proc/kallsyms /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list \
		/proc/timer_stats /proc/sched_debug /proc/scsi /sys/firmware /sys/devices/virtual/powercap; do
		if [ -d $f ]; then ls -A $f | sed "s,^,SEEN $f/,"; mkdir $f/x 2>/dev/null && echo MADE $f/x
		elif [ -e $f ]; then [ "$(head -c 1 $f | wc -c)" = 0 ] || echo READ $f; fi
	done
	find /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger /sys -type f -perm /222 2>/dev/null | while read f; do
		if { true >>$f; } 2>/dev/null; then echo OPENED $f; fi
	done
	v=$(cat /proc/sys/kernel/randomize_va_space); (echo $v >/proc/sys/kernel/randomize_va_space) 2>/dev/null && echo WROTE
	(echo h >/proc/sysrq-trigger) 2>/dev/null && echo WROTE
	for m in /proc/interrupts /proc/timer_list /proc/sys /proc/irq /sys/firmware /sys; do umount $m 2>/dev/null && echo UNMOUNTED $m; done
	for m in /proc/sys /sys /sys/fs/cgroup; do mount -o remount,rw,bind $m 2>/dev/null && echo REMOUNTED $m; done
	for t in proc sysfs tmpfs cgroup2; do mount -t $t x /mnt 2>/dev/null && echo MOUNTED $t; done
	for d in "c 1 1" "b 8 0" "b 7 0" "c 1 3"; do mknod /made $d 2>/dev/null && echo NODE $d && rm /made; done
	mkdir -p /mnt
	unshare -U -r -m sh -c '
		for m in /proc/interrupts /proc/timer_list /proc/sys /proc/irq /sys/firmware; do umount $m 2>/dev/null && echo INNER UNMOUNTED $m; done
		for m in /proc/sys /sys /sys/fs/cgroup; do mount -o remount,rw,bind $m 2>/dev/null && echo INNER REMOUNTED $m; done
		for t in proc sysfs; do mount -t $t x /mnt 2>/dev/null && echo INNER MOUNTED $t; done' 2>/dev/null
	unshare -U -r -m -p -f sh -c 'mount -t proc x /mnt 2>/dev/null && echo INNER MOUNTED proc' 2>/dev/null
	echo done`

// What of /proc and /sys is the host's cannot be read or changed, with the lists of Docker
// at least, and no user namespace inside is a way around. The container's root being the
// host's makes no difference.
func TestKernelFilesAreOutOfReach(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		for _, init := range inits {
			for name, security := range map[string]string{
				// Without the filter of system calls, which would refuse most of it before.
				"own": noFilter, "host": noUsers + "seccomp = 'none'\n", "net": "network.mode = 'host'\n" + noFilter,
				"hostnet": "network.mode = 'host'\n" + noUsers + "seccomp = 'none'\n", "filter": "", "hostfilter": noUsers,
			} {
				got := output(t, h, "kernel-"+init+"-"+name, "image = 'demo'\ninit = '"+init+"'\n"+sh(tryKernelFiles)+security)
				if got = got[strings.LastIndex(got, "[security]")+1:]; strings.Contains(security, "false") {
					_, got, _ = strings.Cut(got, "\n") // the warning
				}
				if got != "done" {
					t.Errorf("init %s, %s:\n%s", init, name, got)
				}
			}
		}
	})
}

// What an image or a mount puts in the place of the null device would show in that of each
// hidden file (CVE-2025-31133).
func TestNullDeviceIsTheRealOne(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /srv/n && echo fake >/srv/n/null")
		importTree(t, h, "leads:2", "ln -s /dev d; ln -s /proc p")
		refused(t, h, "fake-null", "images = ['demo', 'leads:2']\n"+sh("true")+"[[mount]]\ntype = 'bind'\nsource = '/srv/n/null'\ntarget = '/d/null'\n", "no regular file")
		refused(t, h, "fake-dev", "images = ['demo', 'leads:2']\n"+sh("true")+"[[mount]]\ntype = 'bind'\nsource = '/srv/n'\ntarget = '/d'\n",
			"/dev/null is not the null device")
		got := output(t, h, "fake-proc", "images = ['demo', 'leads:2']\n"+sh("head -c 4 /proc/interrupts; cat /proc/sys/kernel/ostype; ! cat /proc/null")+
			"[sysctls]\n'kernel.shmmni' = 5\n[[mount]]\ntype = 'bind'\nsource = '/srv/n'\ntarget = '/p/sys/kernel'\n")
		if !strings.Contains(got, "Linux") || strings.Contains(got, "fake\n") {
			t.Errorf("the container saw %q", got)
		}
		if got := h.MustRun(t, "ls /srv/n"); got != "null" {
			t.Errorf("on the host there are %s", got)
		}
	})
}

// Capabilities are exactly those of the file, for every way to run a program, and whoever
// runs it. init keeps what it needs for that.
func TestCapabilitiesOfTheFile(t *testing.T) {
	const all, usual, netAdmin, netRaw, setuid = 1<<41 - 1, 0x800425fb, 1 << 12, 1 << 13, 1 << 7
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		for i, tt := range []struct {
			keys string
			want uint64
		}{
			{"", usual},
			{"drop_capabilities = ['all']", 0},
			{"drop_capabilities = ['ALL']\nadd_capabilities = ['CAP_NET_ADMIN']", netAdmin},
			{"drop_capabilities = ['net_raw', 'Cap_SetUID']\nadd_capabilities = ['NET_ADMIN']", usual&^netRaw&^setuid | netAdmin},
			{"add_capabilities = ['all']\ndrop_capabilities = ['net_raw']", all &^ netRaw},
			{"private_users = false\ndrop_capabilities = ['all']", 0},
		} {
			for _, init := range inits {
				name := fmt.Sprintf("caps-%d-%s", i, init)
				start(t, h, name, "image = 'demo'\ninit = '"+init+"'\nuser = '33'\n"+sh("grep -h ^Cap /proc/self/status; exec sleep 100000")+"[security]\n"+tt.keys+"\n")
				h.WaitFor(t, eventually, "its words", `journalctl -q -o cat -u cocker@"$1" | grep CapAmb`, name)
				assertSets(t, name+", user 33", h.MustRun(t, `journalctl -q -o cat -u cocker@"$1" | grep ^Cap | tail -5`, name), 0, tt.want)
				if init == "none" {
					continue
				}
				for user, effective := range map[string]uint64{"0": tt.want, "33": 0, "app": 0} {
					if user == "app" {
						user = "12345:54321"
					}
					assertSets(t, name+", exec as "+user, h.MustRun(t, `cocker exec --user "$1" "$2" grep ^Cap /proc/self/status`, user, name), effective, tt.want)
				}
				assertSets(t, name+", machinectl shell", h.MustRun(t, `timeout --foreground 20 machinectl -q shell "$1" /bin/grep ^Cap /proc/self/status </dev/null | tr -d '\r'`, name), tt.want, tt.want)
			}
		}
	})
}

func assertSets(t *testing.T, name, status string, effective, bounding uint64) {
	t.Helper()
	for set, want := range map[string]uint64{"CapInh": 0, "CapPrm": effective, "CapEff": effective, "CapBnd": bounding, "CapAmb": 0} {
		got, err := strconv.ParseUint(field(status, set), 16, 64)
		if err != nil || got&^want != 0 || got != want && bounding < 1<<40 { // of all, the host itself may lack some
			t.Errorf("%s: %s is %q, want %#x", name, set, field(status, set), want)
		}
	}
}

// Without a user namespace the container's root is the host's, and is kept in by the rest.
func TestWithoutUserNamespace(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const sum = "sha256sum /usr/libexec/cocker/cocker-init /usr/bin/busybox; stat -c %i:%Y:%a /usr/libexec/cocker/cocker-init /usr/bin/busybox"
		before, since := h.MustRun(t, sum), now(t, h)
		importTree(t, h, "devices:2", "mkdir devices; mknod devices/disk b 7 0; mknod devices/mem c 1 1; chmod 666 devices/*")
		for _, init := range inits {
			name := "bare-" + init
			start(t, h, name, "images = ['demo', 'devices:2']\ninit = '"+init+"'\n"+sh(`
				cat /proc/self/uid_map; for d in disk mem; do head -c1 /devices/$d >/dev/null 2>&1 && echo OPENED $d; done
				for f in /proc/1/exe /proc/[0-9]*/exe; do [ "$(readlink $f 2>/dev/null)" = /bin/busybox ] || { (true >>$f) 2>/dev/null && echo WRITTEN; chmod 777 $f 2>/dev/null && echo CHANGED; }; done
				chroot /proc/1/root/../.. ls /usr/libexec/cocker 2>/dev/null && echo OUT
				mount --bind /dev /mnt 2>/dev/null && echo MOUNTED; reboot -f 2>/dev/null && echo REBOOTED; echo done; exec sleep 100000`)+noUsers)
			h.WaitFor(t, eventually, "its words", `journalctl -q -o cat -u cocker@"$1" | grep -x done`, name)
			got := h.MustRun(t, `journalctl -q -o cat -u cocker@"$1" SYSLOG_IDENTIFIER="$1" | grep -v '^\[security\]' | xargs`, name)
			if got != "0 0 4294967295 done" {
				t.Errorf("init %s: %s", init, got)
			}
			if got := h.MustRun(t, `journalctl -q -o cat -p warning --since="$2" -u cocker@"$1"`, name, since); !strings.Contains(got, "private_users = false: its root is the host's root") {
				t.Errorf("the journal does not warn: %q", got)
			}
			if got := h.MustRun(t, `cocker ps | grep "^$1 "; cocker inspect --json "$1" | jq -c .open`, name); !strings.Contains(got, "running (no user namespace)") || !strings.Contains(got, `["no user namespace"]`) {
				t.Errorf("cocker ps: %s", got)
			}
			h.MustRun(t, `echo x >/tmp/x && cocker cp /tmp/x "$1":/tmp/x && cocker cp "$1":/tmp/x /tmp/y && cmp /tmp/x /tmp/y && rm /tmp/[xy]
				[ ! -e /var/lib/cocker/containers/"$1"/idrange ] && [ "$(sysctl -n user.max_cgroup_namespaces)" != 0 ]`, name)
		}
		got := output(t, h, "bare-admin", "image = 'demo'\n"+sh("true")+noUsers+"add_capabilities = ['CAP_SYS_ADMIN']\n")
		if !strings.Contains(got, "private_users = false and CAP_SYS_ADMIN: whoever is root in it can take over the host") {
			t.Errorf("nobody warns of CAP_SYS_ADMIN: %s", got)
		}
		got = output(t, h, "bare-net", "image = 'demo'\nnetwork.mode = 'host'\n"+sh("grep CapBnd /proc/self/status")+noUsers)
		if set, err := strconv.ParseUint(field(got, "CapBnd"), 16, 64); err != nil || set&(1<<13) != 0 {
			t.Errorf("in the host's network there is CAP_NET_RAW: %s", got)
		}
		// CVE-2019-5736 by way of the rescue shell, which is a program of the host: whoever holds
		// it open writes to it when it has ended.
		start(t, h, "bare-rescue", "image = 'demo'\n"+sh("rm -f /bin/sh /bin/ash; exec /bin/busybox sleep 100000")+noUsers)
		h.WaitFor(t, eventually, "the end of its shell", "! cocker exec bare-rescue /bin/busybox test -e /bin/sh")
		got = h.MustRun(t, `printf '%s\n' 'exec 3</proc/self/exe' '(true 4>>/proc/self/fd/3) 2>/dev/null && echo WRITTEN' 'chmod 4777 /proc/self/fd/3 2>&1' 'echo rescued' |
			cocker shell bare-rescue`)
		if !strings.Contains(got, "Read-only file system") || !strings.HasSuffix(got, "rescued") || strings.Contains(got, "WRITTEN") {
			t.Errorf("the rescue shell: %s", got)
		}
		if after := h.MustRun(t, sum); after != before {
			t.Errorf("the host's programs were\n%s\nand are\n%s", before, after)
		}
	})
}

// privileged has what Docker's has, is said aloud, and has nothing of the launcher.
func TestPrivileged(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const sum = "sha256sum /usr/libexec/cocker/*; ls -l /usr/libexec/cocker"
		before := h.MustRun(t, sum)
		for _, init := range inits {
			name := "open-" + init
			start(t, h, name, "image = 'demo'\ninit = '"+init+"'\n"+sh(`
				mknod /dev/mine c 1 3 && echo mknod; mount -t tmpfs x /mnt && echo mount; [ -c /dev/fuse ] && echo fuse
				(true >>/proc/sys/kernel/core_pattern) && echo sysctl; [ $(head -c 5 /proc/interrupts | wc -c) = 5 ] && echo interrupts
				for f in /proc/$$/fd/*; do case ${f##*/} in [012]) ;; *) [ -L $f ] && echo LEAK $(readlink $f);; esac; done
				ls -l /proc/1/fd 2>/dev/null | grep -i 'cocker\|/run/\|/var/lib' | sed 's/^/LEAK /'; cat /proc/1/mountinfo | grep -c '/var/lib/cocker'
				[ "$(readlink /proc/1/exe)" = /bin/busybox ] || { (true >>/proc/1/exe) 2>/dev/null && echo WRITTEN; chmod 777 /proc/1/exe 2>/dev/null && echo CHANGED; }
				for f in /proc/1/fd/*; do [ -f $f ] && { (true 4>>$f) 2>/dev/null && [ "$(readlink $f)" = / ] && echo WRITTEN $f; chmod 777 $f 2>/dev/null && [ "$(readlink $f)" = / ] && echo CHANGED $f; }; done
				env | grep -i 'cocker_\|notify\|listen\|invocation' ; echo done; exec sleep 100000`)+"[security]\nprivileged = true\n")
			h.WaitFor(t, eventually, "its words", `journalctl -q -o cat -u cocker@"$1" | grep -x done`, name)
			got := h.MustRun(t, `journalctl -q -o cat -u cocker@"$1" SYSLOG_IDENTIFIER="$1" | grep -v '^\[security\]' | xargs`, name)
			if got != "mknod mount fuse sysctl interrupts 0 done" {
				t.Errorf("init %s: %s", init, got)
			}
			if got := h.MustRun(t, `journalctl -q -o cat -p warning -u cocker@"$1"; cocker ps | grep "^$1 "`, name); !strings.Contains(got, "privileged = true: it has every capability") || !strings.Contains(got, "running (privileged, no user namespace)") {
				t.Errorf("nobody warns: %s", got)
			}
		}
		assertProperties(t, h, "open-none", map[string]string{"DevicePolicy": "auto"})
		got := output(t, h, "half-open", "image = 'demo'\n"+sh("[ -e /dev/fuse ] && echo DEVICES; (true >>/proc/sys/kernel/core_pattern) 2>/dev/null && echo WRITES; mount -t tmpfs x /mnt && echo mount")+"[security]\nprivileged = true\nprivate_users = true\n")
		if !strings.HasSuffix(got, "\nmount") || strings.Contains(got, "DEVICES") || strings.Contains(got, "WRITES") {
			t.Errorf("in a user namespace: %s", got)
		}
		if after := h.MustRun(t, sum); after != before {
			t.Errorf("the host's programs were\n%s\nand are\n%s", before, after)
		}
	})
}

func TestRootIsReadOnly(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /srv/w && chmod 777 /srv/w")
		for _, init := range inits {
			for _, users := range []string{"true", "false"} {
				name := "ro-" + init + "-" + users
				start(t, h, name, "image = 'demo'\ninit = '"+init+"'\nworkdir = '/made/here'\n"+sh(`pwd
					for d in / /etc /var /usr /bin /dev /proc/sys /sys; do touch $d/x 2>/dev/null && [ $d != /dev ] && echo WROTE $d; done
					for d in /tmp /var/tmp /run /dev/shm /w /v; do touch $d/x || echo NOT $d; done
					mount -o remount,rw / 2>/dev/null && echo REMOUNTED; chmod 700 /etc 2>/dev/null && echo CHANGED
					cat /etc/hostname; echo done; exec sleep 100000`)+"mount = [{ type = 'bind', source = '/srv/w', target = '/w' }, { type = 'volume', source = 'rov', target = '/v' }]\n"+
					"[security]\nread_only = true\nprivate_users = "+users+"\n")
				h.WaitFor(t, eventually, "its words", `journalctl -q -o cat -u cocker@"$1" | grep -x done`, name)
				got := h.MustRun(t, `journalctl -q -o cat -u cocker@"$1" SYSLOG_IDENTIFIER="$1" | grep -v '^\[security\]\|belongs to nobody' | xargs`, name)
				if got != "/made/here "+name+" done" {
					t.Errorf("%s: %s", name, got)
				}
				if init == "cocker" {
					h.MustRun(t, `cocker exec "$1" true && timeout --foreground 20 machinectl -q shell "$1" /bin/true </dev/null`, name)
				}
				h.MustRun(t, `systemctl stop cocker@"$1"; rm -f /srv/w/x`, name)
			}
		}
		h.MustRun(t, "for c in ro-cocker-true ro-cocker-false ro-none-true ro-none-false; do cocker rm $c; done; cocker volume rm rov")
	})
}

// A device is there for the user that the file says, and others are not.
func TestHostDevices(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "[ -c /dev/fuse ] && [ -c /dev/net/tun ]")
		const devices = "[[device]]\nsource = '/dev/fuse'\nowner = '33:34'\nmode = '0640'\n[[device]]\nsource = '/dev/net/tun'\ntarget = '/dev/a/b/tun'\naccess = 'r'\nmode = '0600'\n"
		for _, init := range inits {
			for name, users := range map[string]string{"own": "", "host": noUsers} {
				name = "dev-" + init + "-" + name
				got := output(t, h, name, "image = 'demo'\ninit = '"+init+"'\nuser = '33'\n"+sh(`stat -c '%n %F %a %u:%g' /dev/fuse /dev/a/b/tun
					true <>/dev/fuse && echo opened; (true <>/dev/a/b/tun) 2>/dev/null || echo refused`)+users+devices)
				want := "/dev/fuse character special file 640 33:34\n/dev/a/b/tun character special file 600 0:0\nopened"
				if !strings.Contains(got, want) {
					t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
				}
			}
		}
		start(t, h, "dev-unit", "image = 'demo'\n"+devices)
		if got := h.MustRun(t, "systemctl show -p DevicePolicy -p DeviceAllow cocker@dev-unit | sort | xargs"); got != "DeviceAllow=/dev/fuse rwm DeviceAllow=/dev/net/tun rm DevicePolicy=closed" {
			t.Errorf("the unit has %s", got)
		}
		h.MustRun(t, "systemd-run -q --wait sh -c 'true <>/dev/net/tun'")
		if h.Run(t, "systemd-run -q --wait -p DevicePolicy=closed sh -c 'true <>/dev/net/tun'").ExitCode == 0 {
			t.Log("systemd has no device controller here; not tried: a node that the container makes itself")
			return
		}
		// The device controller keeps out one with CAP_MKNOD, whose root is the host's.
		got := output(t, h, "dev-mknod", "image = 'demo'\n"+sh("for d in 'c 10 200' 'b 7 0'; do mknod /dev/x $d 2>/dev/null && echo NODE && (true <>/dev/x) && echo OPENED; rm -f /dev/x; done; mknod /dev/y c 1 3 && echo null")+noUsers+"add_capabilities = ['CAP_MKNOD']\n")
		if !strings.HasSuffix(got, "\nnull") || strings.Contains(got, "NODE") {
			t.Errorf("with CAP_MKNOD: %s", got)
		}
	})
}

// The switches of the container's namespaces are set, those of the host are as they were.
func TestSysctls(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const names = "net.core.somaxconn net.ipv4.ip_local_port_range kernel.shmmni kernel.sem fs.mqueue.msg_max kernel.domainname"
		before := h.MustRun(t, "sysctl "+names)
		const sysctls = "[sysctls]\nnet.core.somaxconn = 77\n'net.ipv4.ip_local_port_range' = '20000 20100'\nkernel = { shmmni = 55, sem = '10 20 30 40', domainname = 'here' }\nfs.mqueue.msg_max = 20\n"
		for _, init := range inits {
			for name, users := range map[string]string{"own": "", "host": noUsers} {
				got := output(t, h, "sysctl-"+init+"-"+name, "image = 'demo'\ninit = '"+init+"'\n"+sh("for n in "+names+"; do cat /proc/sys/$(echo $n | tr . /) | xargs; done")+users+sysctls)
				if !strings.HasSuffix(got, "77\n20000 20100\n55\n10 20 30 40\n20\nhere") {
					t.Errorf("init %s, %s: %s", init, name, got)
				}
			}
		}
		got := h.MustRun(t, "cocker run --rm --sysctl net.core.somaxconn=88 --device /dev/fuse --read-only --cap-drop all demo sh -c 'cat /proc/sys/net/core/somaxconn; ls /dev/fuse; grep CapBnd /proc/self/status; touch /x 2>/dev/null || echo ro' | xargs")
		if got != "88 /dev/fuse CapBnd: 0000000000000000 ro" {
			t.Errorf("cocker run: %s", got)
		}
		if after := h.MustRun(t, "sysctl "+names); after != before {
			t.Errorf("the host's were\n%s\nand are\n%s", before, after)
		}
	})
}

// Limits of [service] are the container's, for the command and for sessions.
func TestServiceLimitsReachTheContainer(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const show = `grep -E 'open files|core file|stack size|processes|locked' /proc/self/limits | tr -s ' ' | cut -d' ' -f 2-6 | xargs; cat /proc/self/oom_score_adj`
		const want = "stack size 4194304 8388608 core file size 0 7 processes 1000 2000 processes open files 1234 4321 locked memory 65536 65536"
		for _, init := range inits {
			name := "limits-" + init
			start(t, h, name, "image = 'demo'\ninit = '"+init+"'\n"+sh(show+"; echo done; exec sleep 100000")+
				"[service]\nLimitNOFILE = '1234:4321'\nLimitCORE = '0:7'\nLimitSTACK = '4M:8M'\nLimitNPROC = '1000:2000'\nLimitMEMLOCK = '64K'\nOOMScoreAdjust = 123\n")
			h.WaitFor(t, eventually, "its words", `journalctl -q -o cat -u cocker@"$1" | grep -x done`, name)
			got := h.MustRun(t, `journalctl -q -o cat -u cocker@"$1" SYSLOG_IDENTIFIER="$1" | xargs`, name)
			if !strings.Contains(got, "open files 1234 4321") || !strings.Contains(got, "core file size 0 7") || !strings.Contains(got, "123 done") || !strings.Contains(got, "processes 1000 2000") {
				t.Errorf("init %s: %s\nwant %s", init, got, want)
			}
			if init == "cocker" {
				if got := h.MustRun(t, `cocker exec "$1" sh -c "$2" | xargs`, name, show); !strings.Contains(got, "open files 1234 4321") || !strings.HasSuffix(got, " 123") || !strings.Contains(got, "processes 1000 2000") {
					t.Errorf("a session: %s", got)
				}
			}
		}
	})
}

// What cannot be is an error that says so, and never a container with less confinement.
func TestSecurityThatCannotBe(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "rm -rf /srv/nodev; mkdir -p /srv")
		for i, tt := range []struct{ keys, want string }{
			{"[security]\ndrop_capabilities = ['NET_ROW']", `"NET_ROW" is no capability (did you mean "CAP_NET_RAW"?)`},
			{"[security]\nadd_capabilities = ['net_raw']\ndrop_capabilities = ['CAP_NET_RAW']", "is in drop_capabilities too"},
			{"[security]\nprivate_users = 'no'", "private_users: must be true or false"},
			{"[security]\nread_onyl = true", `did you mean "read_only"?`},
			{"[security]\nselinux_label = 'a:b:c\"'\nselinux_mount_label = 'a:b:c'", "is no SELinux context"},
			{"[security]\nselinux_label = 'a:b:c'", "set both"},
			{"[security]\napparmor_profile = 'a b'", "is no name of an AppArmor profile"},
			{"[sysctls]\nkernel.core_pattern = '|/x'", "would be set for the whole host"},
			{"[sysctls]\n'kernel.shmmax+kernel.core_pattern' = '1'", "is no name of a sysctl"},
			{"[sysctls]\n'net.core/../../kernel.core_pattern' = 1", "is no name of a sysctl"},
			{"[sysctls]\nnet.core.somaxconn = \"1\\n2\"", "control character"},
			{"[sysctls]\nnet.core.nothing = 1", "the kernel has none of that name"},
			{"[sysctls]\nnet.core.somaxconn = 'many'", "the kernel does not take this value"},
			{"network.mode = 'host'\n[sysctls]\nnet.core.somaxconn = 1", "whose network the container has"},
			{"[[device]]\nsource = '/dev/nothing'", `device "/dev/nothing" is not on the host`},
			{"[[device]]\nsource = '/etc/passwd'", "is not below /dev"},
			{"[[device]]\nsource = '/dev/net'", "is a directory, no device"},
			{"[[device]]\nsource = '/dev/fuse'\ntarget = '/dev/null'", "is there in every container"},
			{"[[device]]\nsource = '/dev/fuse'\naccess = 'rwm'", `is not one of "r" (read)`},
		} {
			refused(t, h, fmt.Sprintf("cannot-%d", i), "image = 'demo'\n"+sh("true")+tt.keys+"\n", tt.want)
		}
		for module, keys := range map[string]string{"AppArmor": "apparmor_profile = 'x'", "SELinux": "selinux_label = 'a:b:c'\nselinux_mount_label = 'a:b:c'"} {
			if h.Run(t, "grep -qi "+module+" /sys/kernel/security/lsm").ExitCode != 0 {
				refused(t, h, "cannot-"+strings.ToLower(module), "image = 'demo'\n"+sh("true")+"[security]\n"+keys+"\n", module+" is not at work on this host")
			}
		}
	})
}

// What subuid(5) gives to a user is no container's, also where that is in cocker's pool.
func TestRangesOfUsersAreLeftOut(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "for f in subuid subgid; do touch /etc/$f; cp -p /etc/$f /root/$f.before; done")
		defer h.MustRun(t, "for f in subuid subgid; do mv /root/$f.before /etc/$f; done")
		toml := "image = 'demo'\n" + sh("awk '{print $2}' /proc/self/uid_map")
		first := output(t, h, "ranged", toml)
		for _, file := range []string{"subuid", "subgid"} {
			h.MustRun(t, `echo "somebody:$1:65536" >>/etc/"$2"`, first, file)
			if again := runAgain(t, h, "ranged").output; again != first {
				t.Errorf("/etc/%s: a container that has %s got %s", file, first, again)
			}
			h.MustRun(t, "cocker rm ranged")
			second := output(t, h, "ranged", toml)
			base, err := strconv.ParseUint(second, 10, 32)
			taken, _ := strconv.ParseUint(first, 10, 32)
			if err != nil || base < taken+65536 && taken < base+65536 {
				t.Errorf("/etc/%s has %s, and the container has %s", file, first, second)
			}
			first = second
		}
	})
}
