package tests

import (
	"fmt"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// roundsOf is how often the containers are started and stopped: the newest release
// shows what adds up over time, the other one that it is no different.
func roundsOf(release host.Release) int {
	if release == host.Trixie {
		return 100
	}
	return 20
}

// Twenty containers, started and stopped together many times, leave mounts, links,
// rules, machines and /run/cocker as they were. Every third round ends by SIGKILL.
func TestRounds(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const containers = 20
		files := map[string]string{}
		for i := range containers {
			init, network := inits[i%2], fmt.Sprintf("[network]\nports = ['%d:80', '127.0.0.1:%d:53/udp']\n", 9000+i, 9000+i)
			if i%5 == 4 {
				network = "[network]\nmode = 'none'\n"
			}
			files[fmt.Sprintf("round-%d", i)] = "image = 'demo'\ninit = '" + init + "'\nstop_signal = 'SIGINT'\n" +
				sh("trap 'exit 0' INT TERM; while :; do sleep 1000 & wait; done") + network + "[unit]\nStartLimitBurst = '1000'\n"
		}
		declare(t, h, files)
		before := h.Snapshot(t)
		rounds := roundsOf(h.Release)
		for round := 1; round <= rounds; round++ {
			h.MustRun(t, `all=$(for i in $(seq 0 $(($1 - 1))); do echo cocker@round-$i.service; done)
				timeout 100 systemctl start $all || exit
				[ "$(systemctl is-active $all | grep -c '^active$')" = "$1" ] && [ "$(ls /run/cocker/state | wc -l)" = "$1" ] || exit
				[ $(($2 % 3)) != 0 ] || systemctl kill --signal=KILL $all
				timeout 100 systemctl stop $all; systemctl reset-failed $all 2>/dev/null || :`, fmt.Sprint(containers), fmt.Sprint(round))
			if round == 1 || round == rounds/2 || round == rounds {
				assertStopped(t, h, before)
			}
		}
	})
}
