package tests

import (
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// booting is the file of a container that boots a Debian 13.
const booting = "image = 'debian:13'\ninit = 'image'\n"

// A Debian 13 with systemd boots as a machine does and is worked with by the real
// tools of the host, systemd 252 and 257.
func TestImageInit(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.ImportMachine(t, "debian:13")
		importTree(t, h, "patient:1", `mkdir -p etc/systemd/system/multi-user.target.wants
			printf '[Service]\nType=oneshot\nExecStart=/bin/sh -c "until [ -e /run/go ]; do sleep 0.1; done"\n' >etc/systemd/system/patient.service
			ln -s ../patient.service etc/systemd/system/multi-user.target.wants/
			ln -s /usr/lib/systemd/system/systemd-networkd.service /usr/lib/systemd/system/systemd-networkd-wait-online.service etc/systemd/system/multi-user.target.wants/`)
		h.MustRun(t, `stat -fc %T /sys/fs/cgroup | grep -qx cgroup2fs`)
		before := settled(t, h)
		declare(t, h, map[string]string{
			"debian":  booting,
			"patient": strings.Replace(booting, "image = 'debian:13'", "images = ['debian:13', 'patient:1']", 1),
		})
		readyWhenBooted(t, h)
		machineTools(t, h)
		sessionsInBooted(t, h)
		confinedInit(t, h)
		endsOfBooted(t, h)
		stopAll(t, h)
		assertStopped(t, h, before)
	})
}

// readyWhenBooted starts two at once. The unit is active when all that the default
// target wants has started, and not before (systemd(1), "$NOTIFY_SOCKET").
func readyWhenBooted(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `systemctl start --no-block cocker@patient; timeout 200 systemctl start cocker@debian || { systemctl status cocker@debian >&2; exit 1; }`)
	isRunning(t, h, "debian")
	h.WaitFor(t, eventually, "the boot to wait", `[ "$(systemctl -M patient show -P ActiveState patient.service)" = activating ]`)
	assertProperties(t, h, "patient", map[string]string{"ActiveState": "activating", "SubState": "start"})
	h.MustRun(t, `cocker exec patient touch /run/go`)
	h.WaitFor(t, eventually, "the end of the boot", `systemctl is-active cocker@patient`)
	isRunning(t, h, "patient")
	// The image's systemd-networkd finds the network as it is.
	h.MustRun(t, `address=$(jq -r .address /run/cocker/state/patient.json)
		cocker exec patient networkctl --json=short status eth0 | jq -e '.AdministrativeState == "configured"' >/dev/null
		[ "$(nsenter --net --target "$(systemctl show -P MainPID cocker@patient)" ip -br -4 address show eth0 | awk '{ $1=$2=""; print }' | xargs)" = "$address" ]
		ping -c1 -W10 "${address%/*}" >/dev/null`)
}

// isRunning asserts that the boot is over and nothing has failed.
func isRunning(t *testing.T, h *host.Host, name string) {
	t.Helper()
	if r := h.Run(t, `timeout 100 systemctl -M "$1" is-system-running --wait; systemctl -M "$1" --failed --no-legend`, name); r.Stdout != "running\n" {
		t.Fatalf("%s: %s%s", name, r.Stdout, r.Stderr)
	}
}

// machineTools uses what an administrator has for machines.
func machineTools(t *testing.T, h *host.Host) {
	t.Helper()
	id := h.MustRun(t, `machinectl show debian -p Id --value`)
	for script, want := range map[string]string{
		`machinectl show debian -p Class --value`:                                                       "container",
		`machinectl show debian -p Unit --value`:                                                        "cocker@debian.service",
		`systemd-run -M debian --pipe --wait -q cat /etc/machine-id`:                                    id,
		`systemd-run -M debian --pipe --wait -q cat /run/host/container-uuid | tr -d -`:                 id,
		`systemd-run -M debian --pipe --wait -q systemd-detect-virt --container`:                        "container-other",
		`systemd-run -M debian --pipe --wait -q systemd-detect-virt --private-users && echo own ids`:    "own ids",
		`systemd-run -M debian --pipe --wait -q sh -c 'exit 42'; echo $?`:                               "42",
		`systemd-run -M debian --pipe --wait -q cat /run/host/container-manager /run/systemd/container`: "cocker\ncocker",
		`systemctl -M debian show -P MainPID dbus.service | grep -qvx 0 && echo runs`:                   "runs",
		`systemd-run -M debian -q --wait systemd-cat -t canary echo tweet; systemd-run -M debian -q --wait journalctl --sync
			journalctl -M debian -q -t canary -o cat`: "tweet",
	} {
		if got := h.MustRun(t, "exec 2>&1; "+script); got != want {
			t.Errorf("%s: got %q, want %q", script, got, want)
		}
	}
	cmd, screen, master := onTerminal(t, h, "machinectl", "shell", "debian")
	screen.expect("~# ") // bash discards what is typed before it has the terminal
	useTerminal(t, screen, master)
	screen.say("exit\n")
	screen.expect("terminated")
	if err := cmd.Wait(); err != nil {
		t.Errorf("machinectl shell: %v", err)
	}
	h.MustRun(t, `cocker exec debian passwd -d root >/dev/null`)
	cmd, screen, _ = onTerminal(t, h, "machinectl", "login", "debian")
	screen.expect("debian login: ")
	screen.say("root\n")
	screen.expect("~# ")
	screen.say("echo in-$((40+2)); tty; exit\n")
	screen.expect("in-42", "/dev/pts/", "debian login: ")
	escape(screen)
	_ = cmd.Wait()
}

// sessionsInBooted: cocker's own sessions work beside an init that is not cocker's.
func sessionsInBooted(t *testing.T, h *host.Host) {
	t.Helper()
	if r := h.Run(t, `echo in | cocker exec -i debian sh -c 'cat; echo err >&2; grep ^0:: /proc/self/cgroup; exit 7'`); r.ExitCode != 7 || r.Stderr != "err\n" || !strings.HasPrefix(r.Stdout, "in\n0::/session-") {
		t.Errorf("cocker exec: %+v", r)
	}
	h.MustRun(t, `test "$(echo 'id -u; pwd' | cocker shell debian | xargs)" = "0 /root"`)
	h.MustRun(t, `test "$(cocker exec --user daemon debian id -un)" = daemon`)
	// What init has of the host no session has: the socket to the host's systemd.
	h.MustRun(t, `! cocker exec debian env | grep NOTIFY_SOCKET`)
	h.MustRun(t, `cocker exec debian sleep 1000 & client=$!
		until cocker sessions debian | grep -q 'sleep 1000'; do sleep 0.05; done
		kill $client; wait $client`+"\n:")
	h.WaitFor(t, eventually, "the session's end", `[ "$(cocker sessions --json debian)" = "[]" ]`)
	h.MustRun(t, `cocker cp debian:/etc/machine-id /root/id; test "$(cat /root/id)" = "$(machinectl show debian -p Id --value)"; rm /root/id`)
	h.MustRun(t, `[ "$(pgrep -x cocker-attend | wc -l)" = 2 ] || exit 1; for p in $(pgrep -x cocker-attend); do ! ps -o args= --ppid "$p" | grep . || exit 1; done`) // no zombie
}

// confinedInit: the container divides its cgroup, and no more; its sysctls are read-only
// where they are the kernel's.
func confinedInit(t *testing.T, h *host.Host) {
	t.Helper()
	for _, script := range []string{
		"echo 1 >/sys/fs/cgroup/cgroup.max.descendants", // the unit's own limits are the host's
		"echo 1 >/sys/fs/cgroup/cgroup.freeze",
		"echo 1 >/proc/sys/vm/overcommit_memory",
		"umount /proc/sys/net /proc/sys && echo 1 >/proc/sys/vm/overcommit_memory", // it is the ids that forbid it
		"mknod /tmp/disk b 8 0",
	} {
		if r := h.Run(t, `timeout 60 systemd-run -M debian --pipe --wait -q sh -c "$1"`, script); r.ExitCode == 0 {
			t.Errorf("%s: done", script)
		}
	}
	h.MustRun(t, `systemd-run -M debian --pipe --wait -q sh -c 'mkdir /sys/fs/cgroup/mine && rmdir /sys/fs/cgroup/mine && ! ls /sys/fs/cgroup/.. | grep cocker@'`)
	h.MustRun(t, `test "$(cat "/sys/fs/cgroup$(systemctl show -P ControlGroup cocker@debian)/cgroup.procs")" = ""`) // "no internal processes"
}

// endsOfBooted: what ends or reboots a container, from both sides, and how systemd on the
// host sees it.
func endsOfBooted(t *testing.T, h *host.Host) {
	t.Helper()
	id := h.MustRun(t, `machinectl show debian -p Id --value`)
	for i, reboot := range []string{"machinectl reboot debian", "cocker exec debian systemctl reboot || :"} {
		pid := mainPID(t, h, "debian")
		h.MustRun(t, reboot)
		h.WaitFor(t, 2*eventually, "the restart by "+reboot, `[ "$(systemctl show --value -p NRestarts,SubState cocker@debian | sort | xargs)" = "$2 running" ] && [ "$(systemctl show -P MainPID cocker@debian)" != "$1" ]`,
			pid, []string{"1", "2"}[i])
		isRunning(t, h, "debian")
		if got := h.MustRun(t, `machinectl show debian -p Id --value; cocker exec debian cat /etc/machine-id`); got != id+"\n"+id {
			t.Errorf("%s: machine ids %q, were %q", reboot, got, id)
		}
	}
	h.MustRun(t, `[ "$(journalctl -M debian -q --list-boots | wc -l)" -ge 3 ]`)
	h.WaitFor(t, eventually, "the launcher's end", "! pgrep -x cocker-launch")
	for _, end := range []string{"machinectl poweroff debian", "systemd-run -M debian -q systemctl poweroff || :", "timeout 100 systemctl stop cocker@debian"} {
		h.MustRun(t, `timeout 200 systemctl start cocker@debian`)
		h.MustRun(t, end)
		h.WaitFor(t, 2*eventually, "the end by "+end, `[ "$(systemctl show -P ActiveState cocker@debian)" = inactive ]`)
		assertProperties(t, h, "debian", map[string]string{"ActiveState": "inactive", "Result": "success", "NRestarts": "0"})
		// It was a shutdown, not a kill.
		h.MustRun(t, `journalctl -q -D /var/lib/cocker/containers/debian/upper/var/log/journal -b 0 -o cat | grep -q 'Stopped systemd-logind.service'`)
	}
	// A stop is not lost on a launcher or an init that does not listen yet: that would take
	// the two minutes of TimeoutStopSec=. The delays are to meet each of them somewhere.
	h.MustRun(t, `for delay in 0 0.005 0.01 0.02 0.03 0.05 0.1 0.3; do
			systemctl start --no-block cocker@debian; sleep $delay
			timeout 100 systemctl stop cocker@debian || exit 1
			[ "$(systemctl show -P Result cocker@debian)" != timeout ] || exit 1
			systemctl reset-failed cocker@debian || :
		done`)
	h.MustRun(t, `timeout 200 systemctl start cocker@debian && timeout 100 systemctl stop cocker@debian`)
}

// Without a user namespace an image boots, too, as with systemd-nspawn. It could take over the
// host, which is said at each start; what a systemd does by itself changes nothing there.
func TestImageInitWithoutUserNamespace(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.ImportMachine(t, "debian:13")
		const look = `hostname; sysctl -a 2>/dev/null | grep '^kernel\|^vm\|^fs.protected' | grep -v 'random\|ns_last_pid\|pty.nr' | sort; grep -v '/run/cocker' /proc/self/mounts | sort; ls /dev /dev/shm; systemctl --failed --no-legend; cat /sys/fs/cgroup/cgroup.subtree_control`
		before, since := h.MustRun(t, look), now(t, h)
		declare(t, h, map[string]string{"bare": booting + noUsers})
		h.MustRun(t, `timeout 200 systemctl start cocker@bare || { systemctl status cocker@bare >&2; exit 1; }`)
		isRunning(t, h, "bare")
		if got := h.MustRun(t, `journalctl -q -o cat -p warning --since="$1" -u cocker@bare`, since); !strings.Contains(got, "private_users = false and CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN: whoever is root in it can take over the host") {
			t.Errorf("the journal does not warn: %s", got)
		}
		h.MustRun(t, `[ "$(cocker exec bare cat /proc/self/uid_map | xargs)" = "0 0 4294967295" ] && ! systemd-run -M bare --pipe --wait -q systemd-detect-virt --private-users`)
		for _, script := range []string{"echo 1 >/proc/sys/vm/overcommit_memory", "mknod /tmp/disk b 8 0", "echo 1 >/sys/kernel/mm/transparent_hugepage/enabled"} {
			if r := h.Run(t, `timeout 60 systemd-run -M bare --pipe --wait -q sh -c "$1"`, script); r.ExitCode == 0 {
				t.Errorf("%s: done", script)
			}
		}
		pid := mainPID(t, h, "bare")
		h.MustRun(t, "machinectl reboot bare")
		h.WaitFor(t, 2*eventually, "the restart", `[ "$(systemctl show --value -p NRestarts,SubState cocker@bare | sort | xargs)" = "1 running" ] && [ "$(systemctl show -P MainPID cocker@bare)" != "$1" ]`, pid)
		isRunning(t, h, "bare")
		h.MustRun(t, `timeout 100 systemctl stop cocker@bare`)
		assertProperties(t, h, "bare", map[string]string{"ActiveState": "inactive", "Result": "success"})
		if after := h.MustRun(t, look); after != before {
			t.Errorf("the host was\n%s\nand is\n%s", before, after)
		}
	})
}

// With all controllers systemd in the container divides what the unit has, and cannot have
// more (cgroups(7), "Delegation").
func TestVMImageInit(t *testing.T) {
	onVirtualHost(t, func(t *testing.T, h *host.Host) {
		h.ImportMachine(t, "debian:13")
		declare(t, h, map[string]string{"limited": booting + "[network]\nmode = 'none'\n[resources]\nmemory_max = '400M'\ntasks_max = 300\n"})
		h.MustRun(t, `timeout 290 systemctl start cocker@limited`)
		isRunning(t, h, "limited")
		h.MustRun(t, `cocker exec limited sh -c 'grep -w memory /sys/fs/cgroup/cgroup.subtree_control && grep -w pids /sys/fs/cgroup/cgroup.subtree_control' && [ "$(systemctl -M limited show -P MemoryCurrent dbus.service)" -gt 0 ]`)
		h.MustRun(t, `! cocker exec limited sh -c 'echo max >/sys/fs/cgroup/memory.max || echo max >/sys/fs/cgroup/pids.max' && [ "$(cocker exec limited cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max | xargs)" = "419430400 300" ]`)
		h.MustRun(t, `timeout 280 systemctl stop cocker@limited`)
		assertProperties(t, h, "limited", map[string]string{"ActiveState": "inactive", "Result": "success"})
	})
}

// What cannot boot says so.
func TestImageInitRefused(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTree(t, h, "empty:1", "mkdir etc")
		refused(t, h, "nothing", "image = 'empty:1'\ninit = 'image'\n", "the image has no init (/sbin/init, ")
		refused(t, h, "missing", "image = 'empty:1'\ninit = 'image'\ncommand = ['/sbin/openrc-init']\n", `"/sbin/openrc-init" is not in the container`)
		refused(t, h, "user", "image = 'empty:1'\ninit = 'image'\nuser = 'daemon'\n", "user: has no effect with init")
		if r := h.Run(t, `cocker run --rm --init image empty:1`); r.ExitCode != 125 || !strings.Contains(r.Stderr, "--detach") {
			t.Errorf("cocker run in the foreground: %+v", r)
		}
	})
}

// An init that does not know sd_notify(3) is ready when it runs.
func TestImageInitOfAnotherKind(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTree(t, h, "busybox-init:1", `mkdir bin sbin etc; cp /usr/bin/busybox bin/; for n in sh sleep reboot poweroff halt; do ln -s busybox bin/$n; done; ln -s ../bin/busybox sbin/init
			printf '::respawn:/bin/sleep 1000\n' >etc/inittab`)
		// busybox's init powers off by SIGUSR2.
		start(t, h, "small", "image = 'busybox-init:1'\ninit = 'image'\nstop_signal = 'SIGUSR2'\n[network]\nmode = 'none'\n")
		h.WaitFor(t, eventually, "its service", `cocker exec small /bin/busybox ps -o args | grep -qx '/bin/sleep 1000'`)
		pid := mainPID(t, h, "small")
		h.MustRun(t, `cocker exec small reboot || :`)
		h.WaitFor(t, eventually, "the reboot", `[ "$(systemctl show --value -p NRestarts,SubState cocker@small | sort | xargs)" = "1 running" ] && [ "$(systemctl show -P MainPID cocker@small)" != "$1" ]`, pid)
		h.WaitFor(t, eventually, "its service", `cocker exec small /bin/busybox ps -o args | grep -qx '/bin/sleep 1000'`)
		h.MustRun(t, `timeout 100 systemctl stop cocker@small`)
		assertProperties(t, h, "small", map[string]string{"ActiveState": "inactive", "Result": "success"})
	})
}

// systemd waits, and does nothing else, until what it starts for a unit has been executed
// in .control below the unit's cgroup. That one is not the container's to freeze.
func TestBootedContainerCannotStopSystemd(t *testing.T) {
	onOwnHost(t, func(t *testing.T, h *host.Host) {
		declare(t, h, map[string]string{"frost": "image = 'demo'\ninit = 'image'\n" + sh(
			`cd /sys/fs/cgroup; rmdir .control/keep .control; mkdir .control; echo 1 >.control/cgroup.freeze; echo tried >/run/tried; exec sleep 1000`) +
			"[network]\nmode = 'none'\n[service]\nTimeoutStopSec = '3s'\n"})
		h.MustRun(t, `timeout 60 systemctl start cocker@frost`)
		h.WaitFor(t, eventually, "the container to try", `cocker exec frost cat /run/tried`)
		h.MustRun(t, `timeout 100 systemctl stop cocker@frost; timeout 100 systemctl reset-failed cocker@frost`)
		h.MustRun(t, `[ ! -e /run/cocker/state/frost.json ]`) // ExecStopPost= has run
	})
}
