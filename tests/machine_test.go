package tests

import (
	"testing"

	"github.com/cocker/cocker/tests/host"
)

func TestMachinectlKnowsContainers(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "cocker create m1 demo && cocker start m1")
		h.MustRun(t, `machinectl list --no-legend | grep -q '^m1  *container  *cocker'`)
		h.MustRun(t, `machinectl show m1 -p Service -p Class -p Unit -p State | sort | tr '\n' ' ' | grep -qx 'Class=container Service=cocker State=running Unit=cocker@m1.service '`)
		h.MustRun(t, `test "$(machinectl show m1 -p Leader --value)" = "$(systemctl show cocker@m1 -p MainPID --value)"`)
		h.MustRun(t, `machinectl status m1 >/dev/null`)

		address := h.MustRun(t, `cocker ps --json | jq -r '.[0].address'`)
		h.MustRun(t, `test "$(getent ahostsv4 m1 | awk '{print $1; exit}')" = "$1"`, address)

		h.MustRun(t, `echo content >/root/given && machinectl copy-to m1 /root/given /given && machinectl copy-from m1 /given /root/taken && cmp /root/given /root/taken`)
		h.MustRun(t, "cocker rm -f m1")
		nothingLeft(t, h)
	})
}

func TestMachinectlStopsContainers(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "cocker create m2 demo")
		for _, verb := range []string{"poweroff", "terminate"} {
			h.MustRun(t, `cocker start m2 && machinectl "$1" m2`, verb)
			h.WaitFor(t, eventually, verb, `[ "$(systemctl show cocker@m2 -p ActiveState -p Result --value | xargs)" = "success inactive" ] ||
				[ "$(systemctl show cocker@m2 -p ActiveState -p Result --value | xargs)" = "inactive success" ]`)
		}
		h.MustRun(t, `cocker start m2`)
		before := h.MustRun(t, "systemctl show cocker@m2 -p MainPID --value")
		h.MustRun(t, "machinectl reboot m2")
		h.WaitFor(t, eventually, "reboot", `p=$(systemctl show cocker@m2 -p MainPID --value); systemctl is-active --quiet cocker@m2 && [ "$p" != 0 ] && [ "$p" != "$1" ]`, before)
		h.WaitFor(t, eventually, "registered again", "machinectl status m2")
		h.MustRun(t, "cocker rm -f m2")
		nothingLeft(t, h)
	})
}

// Without machined a container runs as well; the user is warned.
func TestWithoutMachined(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "systemctl mask --runtime --now systemd-machined.service")
		defer h.MustRun(t, "systemctl unmask --runtime systemd-machined.service")
		h.MustRun(t, "cocker create m3 demo && cocker start m3 && systemctl is-active --quiet cocker@m3")
		h.MustRun(t, "journalctl --sync; journalctl -u cocker@m3 -p warning -o cat | grep -q machined")
		r := h.Run(t, "cocker run --rm demo echo yes")
		if r.Stdout != "yes\n" || r.ExitCode != 0 {
			t.Errorf("run: %q, exit status %d, %s", r.Stdout, r.ExitCode, r.Stderr)
		}
		h.MustRun(t, "cocker rm -f m3")
	})
}
