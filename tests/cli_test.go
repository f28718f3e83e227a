package tests

import (
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

func TestCreateStartStopRemove(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "cocker create -p 8096:80 --wanted-by multi-user.target web demo")
		h.MustRun(t, "systemctl start cocker@web") // create has made systemd read the file
		h.MustRun(t, "curl -sf --retry 20 --retry-connrefused http://127.0.0.1:8096/ >/dev/null")
		h.MustRun(t, `cocker ps | awk 'NR==2 && $1=="web" && $2=="demo" && $3=="running" && $6=="8096:80" {ok=1} END {exit !ok}'`)
		h.MustRun(t, `test "$(systemctl is-enabled cocker@web)" = enabled-runtime && systemctl enable cocker@web`)
		if r := h.Run(t, "cocker create web demo"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "exists") {
			t.Errorf("create again: %d, %s", r.ExitCode, r.Stderr)
		}
		if r := h.Run(t, "cocker rm web"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "--force") {
			t.Errorf("rm of a running one: %d, %s", r.ExitCode, r.Stderr)
		}
		before := h.MustRun(t, "systemctl show cocker@web -p MainPID --value")
		h.MustRun(t, `cocker restart web && test "$(systemctl show cocker@web -p MainPID --value)" != "$1"`, before)
		h.MustRun(t, "mkdir /etc/cocker/containers/web.toml.d && echo 'description = \"x\"' >/etc/cocker/containers/web.toml.d/a.toml")
		h.MustRun(t, `test "$(cocker inspect --json web | jq -r .config.description)" = x`)
		h.MustRun(t, "cocker stop web && ! systemctl is-active --quiet cocker@web && cocker stop web")
		h.MustRun(t, "cocker rm web && ! ls -d /etc/cocker/containers/web* 2>/dev/null")
		h.MustRun(t, "! find /etc/systemd /run/systemd/generator* -name '*web*' | grep .")
		nothingLeft(t, h)
	})
}

func TestStartTogetherAndTheReasons(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "cocker create --network none good demo sleep 1000 && cocker create bad nosuch:1")
		h.MustRun(t, "printf 'image = \"demo\"\\nimagee = 3\\n' >/etc/cocker/containers/broken.toml")
		r := h.Run(t, "cocker start good bad broken absent")
		for _, want := range []string{`image "nosuch:1"`, "cocker@bad.service", "broken.toml:2", "imagee", "absent"} {
			if !strings.Contains(r.Stderr, want) {
				t.Errorf("%q is not in:\n%s", want, r.Stderr)
			}
		}
		if r.ExitCode != 1 {
			t.Errorf("exit status %d", r.ExitCode)
		}
		h.MustRun(t, "systemctl is-active --quiet cocker@good")
		states := h.MustRun(t, `cocker ps -a --json | jq -r '.[]|.name+" "+.state' | xargs`)
		if states != "bad failed broken stopped good running" {
			t.Errorf("states: %s", states)
		}
		if r := h.Run(t, "cocker check"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "broken.toml:2") {
			t.Errorf("check: %d, %s%s", r.ExitCode, r.Stdout, r.Stderr)
		}
		h.MustRun(t, "cocker rm -f good bad broken && cocker check")
		nothingLeft(t, h)
	})
}

func TestKillSendsSignals(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, `cocker run -d --name victim --init none demo sh -c "trap 'echo hup >/got' HUP; touch /up; while :; do sleep 0.05; done"`)
		// A signal that a PID 1 does not handle yet is lost: pid_namespaces(7).
		h.WaitFor(t, eventually, "the trap", "[ -e /proc/$(systemctl show -P MainPID cocker-victim.service)/root/up ]")
		h.MustRun(t, "cocker kill -s HUP victim")
		h.WaitFor(t, eventually, "SIGHUP", "[ -e /proc/$(systemctl show -P MainPID cocker-victim.service)/root/got ]")
		h.MustRun(t, "cocker kill victim")
		h.WaitFor(t, eventually, "its end", "! cocker ps --json | grep -q victim")
		if r := h.Run(t, "cocker kill victim"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "not running") {
			t.Errorf("kill of a stopped one: %d, %s", r.ExitCode, r.Stderr)
		}
		h.MustRun(t, "cocker rm victim")
		nothingLeft(t, h)
	})
}

func TestLogs(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "cocker run -d --name talker demo sh -c 'echo one; echo two; sleep 1000'")
		h.WaitFor(t, eventually, "the lines", `[ "$(cocker logs -o cat talker | grep -x 'one\|two' | xargs)" = "one two" ]`)
		h.MustRun(t, `[ "$(cocker logs -o cat talker -- -n 1 --grep two)" = two ]`)
		h.MustRun(t, "cocker rm -f talker")
	})
}

func TestImageCommands(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /root/tree/bin && cp /bin/busybox /root/tree/bin/sh")
		h.MustRun(t, "cocker image import -e A=1 --label k=v /root/tree tree:1 /bin/sh -c 'echo $A'")
		h.MustRun(t, "tar -C /root/tree -c . | cocker image import - tree:2 /bin/sh -c 'echo two'")
		h.MustRun(t, `[ "$(cocker run --rm tree:1)" = 1 ] && [ "$(cocker run --rm tree)" = two ]`)
		h.MustRun(t, `[ "$(cocker image inspect --json tree:1 | jq -r '.labels.k+.reference')" = vtree:1 ]`)
		h.MustRun(t, `cocker image ls | grep -q '^tree:1 ' && cocker image ls --json | jq -e '.[]|select(.reference=="tree:2").size>0'`)
		h.MustRun(t, "cocker run -d --rm --name user tree:1 /bin/sh -c 'while :; do read x </dev/zero; done'")
		if r := h.Run(t, "cocker image rm tree:1 tree:2"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "running container") {
			t.Errorf("rm of a used image: %d, %s", r.ExitCode, r.Stderr)
		}
		h.MustRun(t, "cocker rm -f user")
		// What a stopped container wrote would be of no use without its image.
		h.MustRun(t, "cocker create once tree:1 >/dev/null && cocker start once")
		h.WaitFor(t, eventually, "the container's end", `[ "$(systemctl show -P ActiveState cocker@once)" = inactive ]`)
		if r := h.Run(t, "cocker image rm tree:1 tree:2"); r.ExitCode != 1 || !strings.Contains(r.Stderr, `what container once has written stands on it; remove the container first ("cocker rm once")`) {
			t.Errorf("rm of an image with a layer on it: %d, %s", r.ExitCode, r.Stderr)
		}
		h.MustRun(t, "cocker image tag tree:1 kept:1 >/dev/null && cocker image rm tree:1 && cocker image rm --force kept:1 && cocker rm once; ! cocker image ls | grep -e tree -e kept")
		nothingLeft(t, h)
	})
}

func TestNotRoot(t *testing.T) {
	onEachRelease(t, func(t *testing.T, h *host.Host) {
		r := h.Run(t, "setpriv --reuid=65534 --clear-groups cocker ps")
		if r.ExitCode != 1 || !strings.Contains(r.Stderr, "root") || strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("%d: %s", r.ExitCode, r.Stderr)
		}
		h.MustRun(t, "setpriv --reuid=65534 --clear-groups cocker check && setpriv --reuid=65534 --clear-groups cocker version")
	})
}
