package tests

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// phases are the system calls that change something, or tell another process of
// it: before each of them something is half-made.
func phases() []string {
	return strings.Fields(`clone execve unshare setns mkdirat mount umount2 open_tree move_mount mount_setattr fsopen fsconfig fsmount
		pivot_root openat2 mknodat symlinkat renameat unlinkat write ftruncate flock sendto sendmsg bind connect capset`)
}

// killer runs a program of cocker. If the file $1 holds "CALL N", then a thread of
// it, or of a process that it starts, is killed at its N-th CALL, and the process with it.
// strace counts for each thread: with one processor, and without the runtime's
// preemption, the calls stay together.
const killer = `#!/bin/sh
read -r call n 2>/dev/null <"$1"
shift
[ -n "$n" ] || exec "$@"
export GOMAXPROCS=1 GODEBUG=asyncpreemptoff=1
exec strace -D -f -qq -o /run/killed.trace -e trace="$call" -e inject="$call":signal=KILL:when="$n" "$@"
`

// killOnce starts and stops the victim with a program that is killed on the way,
// and says how many were killed. Then there may be nothing left, and the next start
// must work.
const killOnce = `
	echo "$1" >"$2"
	timeout 60 systemctl start cocker@victim 2>/dev/null; started=$?
	timeout 60 systemctl stop cocker@victim 2>/dev/null
	rm "$2"
	systemctl reset-failed cocker@victim 2>/dev/null
	left() { # find and ip complain of what goes while they look
		exec 2>/dev/null
		ls -A /run/cocker/state /run/cocker/networks/*/by-name* /run/cocker/networks/*/by-address | grep -v '^/\|^$'
		nft list map inet cocker ports4 | grep 'elements'
		ip -o link show type veth up | grep -v eth0
		findmnt -n | grep -i 'cocker.*overlay\|/run/cocker'
		find /sys/fs/cgroup -type d -name '*cocker@victim*'
		ps -e -o comm= | grep '^cocker-\(launch\|init\)'
	}
	nothing_left() {
		for i in $(seq 300); do [ -n "$(left)" ] || return 0; sleep 0.1; done
		return 1
	}
	if [ "$2" = /run/kill-start ]; then
		nothing_left || { echo "left behind:"; (left); exit 1; } >&2
	fi
	timeout 60 systemctl start cocker@victim || { systemctl status -n 30 --no-pager cocker@victim; exit 1; } >&2
	for i in $(seq 300); do curl -s --max-time 60 http://127.0.0.1:8080/ >/run/killed.page && break; sleep 0.1; done
	grep -q Hello /run/killed.page || { echo "it does not answer"; exit 1; } >&2
	timeout 60 systemctl stop cocker@victim
	nothing_left || { echo "left behind by the next run:"; (left); exit 1; } >&2
	echo $((started + $(grep -c 'killed by SIGKILL' /run/killed.trace))); rm -f /run/killed.trace /run/killed.page`

// Whoever is killed while a container starts or is cleaned up after, and when:
// nothing is left, and the next start works.
func TestKilledAtEveryPhase(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.WriteFile(t, "/usr/local/bin/killer", killer, 0o755)
		h.WriteFile(t, "/etc/systemd/system/cocker@victim.service.d/killer.conf", `[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=
ExecStart=/usr/local/bin/killer /run/kill-start /usr/libexec/cocker/cocker-launch start %i
ExecStopPost=
ExecStopPost=-/usr/local/bin/killer /run/kill-cleanup /usr/libexec/cocker/cocker-launch cleanup %i
`, 0o644)
		defer h.MustRun(t, "rm -r /etc/systemd/system/cocker@victim.service.d /usr/local/bin/killer; systemctl daemon-reload")
		h.WriteFile(t, "/etc/cocker/networks/back.toml", "subnets = ['10.91.0.0/24']\n", 0o644)
		declare(t, h, map[string]string{"victim": "image = 'demo'\n[network]\nname = 'cocker0'\nports = ['8080:80']\n[[network.join]]\nname = 'back'\n"})
		h.MustRun(t, "systemctl start cocker@victim && systemctl stop cocker@victim")
		defer removeNetwork(t, h, "back")
		before := settled(t, h)
		// One process more dies by SIGKILL: the one that a user namespace is made with.
		if kills := killEverywhere(t, h, "/run/kill-start", 1); kills < 60 {
			t.Errorf("only %d kills: the test is not testing", kills)
		}
		assertStopped(t, h, before)
		if kills := killEverywhere(t, h, "/run/kill-cleanup", 0); kills < 8 {
			t.Errorf("only %d kills of the cleanup: the test is not testing", kills)
		}
		assertStopped(t, h, before)
	})
}

// killEverywhere kills at every phase until there is none of that number any more,
// and returns how often. The releases share what comes after the first two.
func killEverywhere(t *testing.T, h *host.Host, what string, usual int) (kills int) {
	t.Helper()
	for _, call := range phases() {
		for n := 1; ; n++ {
			if n > 2 && (n%2 == 1) != (h.Release == host.Trixie) {
				continue
			}
			at := fmt.Sprint(call, " ", n)
			r := h.Run(t, killOnce, at, what)
			killed, err := strconv.Atoi(strings.TrimSpace(r.Stdout))
			if err != nil || r.Stderr != "" {
				t.Errorf("%s: killed at %s: exit status %d\n%s%s", what, at, r.ExitCode, r.Stdout, r.Stderr)
			}
			if killed <= usual {
				break
			}
			kills++
		}
	}
	t.Logf("%s: %d kills", what, kills)
	return kills
}

// Who makes a network may be killed as well: a stop leaves nothing of it, and the next start
// works.
func TestNetworkKilledAtEveryPhase(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.WriteFile(t, "/usr/local/bin/killer", killer, 0o755)
		h.WriteFile(t, "/etc/systemd/system/cocker-network@back.service.d/killer.conf", `[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=
ExecStart=/usr/local/bin/killer /run/kill-network /usr/libexec/cocker/cocker-launch network-up %i
`, 0o644)
		defer withNetworks(t, h, map[string]string{"back": backNetwork})()
		defer h.MustRun(t, "rm -r /etc/systemd/system/cocker-network@back.service.d /usr/local/bin/killer; systemctl daemon-reload")
		h.MustRun(t, "cocker run --rm --network back demo true; systemctl stop cocker-network@back")
		before := settled(t, h)
		kills := 0
		for _, call := range []string{"mkdirat", "sendto", "sendmsg", "write", "renameat", "clone"} {
			for n := 1; ; n++ {
				if n > 2 && (n%2 == 1) != (h.Release == host.Trixie) {
					continue
				}
				r := h.Run(t, `echo "$1" >/run/kill-network; timeout 60 systemctl start cocker-network@back 2>/dev/null; echo $?; rm /run/kill-network
					timeout 60 systemctl stop cocker-network@back; systemctl reset-failed 'cocker-network@back' 'cocker-dns@back*' 2>/dev/null
					ip -o link show ckn-back >&2; nft list ruleset | grep '"ckn-back"' >&2; systemctl is-active cocker-dns@back.socket >&2
					timeout 60 systemctl start cocker-network@back && cocker network check back >/dev/null || echo "it does not start" >&2
					timeout 60 systemctl stop cocker-network@back; rm -f /run/killed.trace`, fmt.Sprint(call, " ", n))
				if left := strings.TrimSpace(strings.NewReplacer("Device \"ckn-back\" does not exist.", "", "inactive", "").Replace(r.Stderr)); left != "" {
					t.Errorf("killed at %s %d: %s", call, n, left)
				}
				if strings.HasPrefix(r.Stdout, "0") {
					break
				}
				kills++
			}
		}
		if t.Logf("%d kills", kills); kills < 10 {
			t.Errorf("only %d kills: the test is not testing", kills)
		}
		assertStopped(t, h, before)
	})
}
