package tests

import (
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// The registry of these tests, and the same one at the end of a line that carries
// less than a layer until the test lets the rest through.
const (
	nearby = "127.0.0.1:5000/team/demo:1.0"
	slowly = "127.0.0.1:5001/team/demo:1.0"
)

// A container whose image is elsewhere: a unit of its own gets it, with time of its own.
func TestPullAtStart(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		startRegistry(t, h)
		startSlowLine(t, h)
		// Not the demo image: its layer is here already.
		importTree(t, h, "away:1", `mkdir bin; cp /bin/busybox bin; for f in sh sleep echo true; do ln -s busybox bin/$f; done
			head -c 1000000 /dev/urandom >data`)
		h.MustRun(t, `cocker image push away:1 "$1" && cocker image rm away:1`, nearby)
		testPulledOnce(t, h)
		testPullTakesItsTime(t, h)
		testStopDuringPull(t, h)
		testOnePullForTwo(t, h)
		testNothingToPull(t, h)
		testPullAlways(t, h)
		testRestartPullsAgain(t, h)
		testPullByRun(t, h)
		testNoPullForShortNames(t, h)
	})
}

// startSlowLine runs a relay to the registry that stops in the midst of the first
// layer until /root/registry/open exists; the credentials are where a unit finds them.
func startSlowLine(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `cat >/root/registry/relay <<-'end'
			#!/bin/sh
			socat - TCP:127.0.0.1:5000 | { dd bs=1 count=200000 status=none; until [ -e /root/registry/open ]; do sleep 0.1; done; cat; }
		end
		chmod +x /root/registry/relay
		systemd-run --quiet --unit=test-relay socat TCP-LISTEN:5001,bind=127.0.0.1,reuseaddr,fork EXEC:/root/registry/relay
		for port in 5000 5001; do printf '[registry."127.0.0.1:%s"]\nca = "/root/registry/cert.pem"\n' $port; done >/etc/cocker/registries.toml
		echo '{"auths": {"127.0.0.1:5000": {"auth": "bWU6c2VjcmV0"}, "127.0.0.1:5001": {"auth": "bWU6c2VjcmV0"}}}' >/etc/cocker/auth.json`)
	t.Cleanup(func() {
		cleanup(t, h, `systemctl stop test-relay network-online.target; rm -f /etc/cocker/auth.json; systemctl reset-failed test-relay 2>/dev/null || :`)
	})
}

// pullLog is what a pull's own process has logged since a time.
func pullLog(t *testing.T, h *host.Host, name, since string) string {
	t.Helper()
	return h.MustRun(t, `journalctl --sync; journalctl -q -o cat --since="$2" -u cocker-pull@"$1" SYSLOG_IDENTIFIER=cocker-pull@"$1"`, name, since)
}

func assertNothingPulling(t *testing.T, h *host.Host) {
	t.Helper()
	h.WaitFor(t, eventually, "no pull, and nothing of one", `
		[ -z "$(systemctl list-jobs --plain --no-legend 'cocker*')" ]
		[ "$(systemctl list-units --plain --no-legend --state=active,activating,deactivating 'cocker-pull@*')" = "" ]
		[ -z "$(find /var/lib/cocker -name '.staging*' -o -name '*.tmp')" ] && [ -z "$(ls /run/cocker | grep pull)" ]
		cocker image ls --json | jq -e 'all(.[]; .problem == null)' >/dev/null`)
}

// The image comes in at the first start; at the second nothing runs for it, and nothing
// asks for the network.
func testPulledOnce(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, "systemctl stop network-online.target")
	since := now(t, h)
	start(t, h, "once", "image = '"+nearby+"'\ncommand = ['sleep', '1000']\n")
	if log := strings.Split(pullLog(t, h, "once", since), "\n"); len(log) != 2 || log[0] != "pulling "+nearby || !strings.HasPrefix(log[1], "pulled "+nearby+" in ") {
		t.Errorf("the pull logged %q", log)
	}
	h.MustRun(t, `set -ex
		systemctl is-active network-online.target
		[ "$(systemctl show -P Result -P ActiveState cocker-pull@once | xargs)" = "success inactive" ]
		cocker stop once; systemctl stop network-online.target
		cocker start once
		[ "$(systemctl show -P ConditionResult cocker-pull@once)" = no ]
		! systemctl is-active network-online.target
		# A store of an older version has no markers: the image is found, and is marked.
		cocker stop once; rm -r /var/lib/cocker/names
		cocker start once
		[ "$(systemctl show -P ConditionResult cocker-pull@once)" = yes ]
		[ -e "/var/lib/cocker/names/$(echo "$1" | tr / +)" ]
		! systemctl is-active network-online.target
		cocker rm -f once; cocker image rm "$1"`, nearby)
	if log := pullLog(t, h, "once", since); strings.Count(log, "\n") != 1 {
		t.Errorf("later starts logged, too: %s", log)
	}
	assertNothingPulling(t, h)
}

// startSlowly declares a container and waits until its pull is in the midst of a layer.
func startSlowly(t *testing.T, h *host.Host, name, toml string) {
	t.Helper()
	declare(t, h, map[string]string{name: toml + "image = '" + slowly + "'\ncommand = ['sleep', '1000']\n[service]\nTimeoutStartSec = 2\n"})
	h.MustRun(t, `systemctl start --no-block cocker@"$1"`, name)
	awaitLayer(t, h, name)
}

func awaitLayer(t *testing.T, h *host.Host, name string) {
	t.Helper()
	h.WaitFor(t, eventually, "a part of the layer", `systemctl show -P StatusText cocker-pull@"$1" | grep -x "$2: layer 1 of 1, [0-9.]*K of [0-9.]*M"`, name, slowly)
}

// A pull that takes longer than the container may take to start; who looks sees why.
func testPullTakesItsTime(t *testing.T, h *host.Host) {
	t.Helper()
	startSlowly(t, h, "slow", "")
	h.WaitFor(t, eventually, "twice the time that the start may take", `
		[ $(( $(cut -d. -f1 /proc/uptime) * 1000000 - $(systemctl show -P InactiveExitTimestampMonotonic cocker-pull@slow) )) -gt 4000000 ]`)
	h.MustRun(t, `set -ex
		cocker ps | grep -F "pulling ($1: layer 1 of 1"
		cocker ps --json | jq -e '.[] | select(.name == "slow") | .state == "pulling" and .active_state == "inactive"'
		cocker rm slow 2>&1 | grep -F "images are being pulled for slow"
		systemctl status cocker-pull@slow | grep -F "Status: \"$1: layer 1 of 1"
		# Whoever may see the unit can see that, and nothing but the container waits.
		[ "$(systemctl list-jobs --plain --no-legend | awk '{print $2, $3}' | sort | xargs)" = "cocker-pull@slow.service start cocker@slow.service start" ]
		touch /root/registry/open
		cocker start slow
		[ "$(systemctl show -P ActiveState cocker@slow)" = active ]
		rm /root/registry/open; cocker rm -f slow; cocker image rm "$1"`, slowly)
	assertNothingPulling(t, h)
}

// Whatever stops the pull, nothing is left of it; what stops the container stops both.
func testStopDuringPull(t *testing.T, h *host.Host) {
	t.Helper()
	for _, stop := range []string{"cocker stop slow", "systemctl stop cocker@slow"} {
		startSlowly(t, h, "slow", "")
		h.MustRun(t, stop)
		assertNothingPulling(t, h)
		h.MustRun(t, `[ "$(systemctl show -P ActiveState cocker@slow cocker-pull@slow | xargs)" = "inactive inactive" ]`)
	}
	startSlowly(t, h, "slow", "")
	h.MustRun(t, `systemctl cancel "$(systemctl list-jobs --plain --no-legend | awk '$2 == "cocker@slow.service" { print $1 }')"`)
	awaitLayer(t, h, "slow")
	h.MustRun(t, "cocker stop slow")
	assertNothingPulling(t, h)
	startSlowly(t, h, "slow", "")
	h.MustRun(t, "cocker rm --force slow")
	assertNothingPulling(t, h)
	// What is left after the first, the second takes away.
	for _, how := range []string{"systemctl kill -s KILL cocker-pull@slow", "systemctl stop cocker-pull@slow"} {
		startSlowly(t, h, "slow", "")
		h.MustRun(t, how)
		h.WaitFor(t, eventually, "the failure of the container: "+how, `[ "$(systemctl show -P ActiveState cocker@slow)" = failed ]`)
		status := statusOf(t, h, "slow")
		if want := `image "` + slowly + `" is not here, and it was not pulled; the reason is in: journalctl -u cocker-pull@slow`; !strings.Contains(status, want) {
			t.Errorf("%s: %q is not in the status:\n%s", how, want, status)
		}
		h.MustRun(t, "cocker rm slow")
	}
	assertNothingPulling(t, h)
	declare(t, h, map[string]string{"slow": "pull_timeout = '1s 500ms'\nimage = '" + slowly + "'\n"})
	h.MustRun(t, `set -ex
		! cocker start slow 2>/root/registry/err
		grep -F "its time was over (pull_timeout)" /root/registry/err
		[ "$(systemctl show -P Result cocker-pull@slow)" = timeout ]
		cocker rm slow`)
	assertNothingPulling(t, h)
}

// Two containers, one image, at the same time: one of them fetches it.
func testOnePullForTwo(t *testing.T, h *host.Host) {
	t.Helper()
	since := now(t, h)
	startSlowly(t, h, "first", "")
	declare(t, h, map[string]string{"second": "image = '" + slowly + "'\ncommand = ['sleep', '1000']\n"})
	h.MustRun(t, "systemctl start --no-block cocker@second")
	h.WaitFor(t, eventually, "the second to wait", `[ "$(systemctl show -P StatusText cocker-pull@second)" = "waiting for another pull of $1" ]`, slowly)
	h.MustRun(t, `set -ex
		touch /root/registry/open; cocker start first second
		rm /root/registry/open; cocker rm -f first second; cocker image rm "$1"`, slowly)
	if log := pullLog(t, h, "first", since); !strings.Contains(log, "\npulled "+slowly) {
		t.Errorf("the first logged %s", log)
	}
	if log := pullLog(t, h, "second", since); !strings.HasSuffix(log, slowly+" is here: another process has pulled it") {
		t.Errorf("the second logged %s", log)
	}
	assertNothingPulling(t, h)
}

// No such image, no registry: who starts the container and who looks at it are told.
func testNothingToPull(t *testing.T, h *host.Host) {
	t.Helper()
	const notThere, nobody = "127.0.0.1:5000/team/none:1", "127.0.0.1:1/team/demo:1.0"
	failsToPull := func(name, image, reason string) {
		t.Helper()
		declare(t, h, map[string]string{name: "image = '" + image + "'\n"})
		r := h.Run(t, `cocker start "$1"`, name)
		for _, want := range []string{reason, "pull " + image + ": ", `image "` + image + `" is not here`} {
			if r.ExitCode != 1 || !strings.Contains(r.Stderr, want) {
				t.Errorf("start of %s: exit status %d, %q is not in\n%s", name, r.ExitCode, want, r.Stderr)
			}
		}
		if status, want := statusOf(t, h, name), "the reason is in: journalctl -u cocker-pull@"+name; !strings.Contains(status, want) {
			t.Errorf("%q is not in the status:\n%s", want, status)
		}
		if log := h.MustRun(t, `journalctl --sync; journalctl -q -o cat -u cocker-pull@"$1"`, name); !strings.Contains(log, reason) {
			t.Errorf("journalctl -u cocker-pull@%s:\n%s", name, log)
		}
		h.MustRun(t, `cocker rm "$1"`, name)
	}
	failsToPull("none", notThere, "manifest unknown")
	failsToPull("refused", nobody, "connection refused")
	declare(t, h, map[string]string{"never": "pull = 'never'\nimage = '" + nearby + "'\n"})
	failsToStart(t, h, "never", `image "`+nearby+`": no such image here`, `with pull = "never"`)
	h.MustRun(t, `set -ex
		[ -z "$(systemctl show -P Wants -P Requires cocker@never | grep cocker-pull)" ]
		cocker rm never`)
	assertNothingPulling(t, h)
}

// Every start asks for the image; one that has not changed is not fetched, and without
// an answer the container does not start, says why, and is tried again as Restart= has it.
func testPullAlways(t *testing.T, h *host.Host) {
	t.Helper()
	since := now(t, h)
	start(t, h, "always", "pull = 'always'\nimage = '"+nearby+"'\ncommand = ['sleep', '1000']\n")
	h.MustRun(t, `cocker stop always && cocker start always && cocker stop always`)
	log := strings.Split(pullLog(t, h, "always", since), "\n")
	if len(log) != 4 || !strings.HasPrefix(log[1], "pulled ") || !strings.HasPrefix(log[3], nearby+" is up to date: sha256:") {
		t.Errorf("two starts logged %q", log)
	}
	h.MustRun(t, `set -ex; systemctl stop test-registry
		cocker image inspect "$1" >/dev/null
		! cocker start always 2>/root/registry/err
		grep -F 'its images were not pulled, and it starts with no others (pull = "always")' /root/registry/err; grep -F "connection refused" /root/registry/err
		[ "$(systemctl show -P ActiveState cocker@always)" = failed ]
		systemctl status cocker@always | grep -F "the reason is in: journalctl -u cocker-pull@always"
		journalctl --sync; journalctl -u cocker@always | grep -F "pull $1: 127.0.0.1:5000: "`, nearby)
	testAlwaysTriesAgain(t, h)
	h.MustRun(t, `set -ex; cocker rm -f always; cocker image rm "$1"
		printf 'image = "team/demo:1.0"\npull = "always"\n' >/etc/cocker/containers/short.toml
		! cocker check 2>/root/registry/err
		grep -F '/etc/cocker/containers/short.toml:2: pull: there is nothing to pull: "team/demo:1.0" does not say where from' /root/registry/err
		rm /etc/cocker/containers/short.toml; systemctl daemon-reload`, nearby)
	assertNothingPulling(t, h)
}

func testAlwaysTriesAgain(t *testing.T, h *host.Host) {
	t.Helper()
	declare(t, h, map[string]string{"always": "pull = 'always'\nimage = '" + nearby + "'\ncommand = ['sleep', '1000']\n[unit]\nStartLimitIntervalSec = 0\n[service]\nRestart = 'always'\nRestartSec = '200ms'\n"})
	before := h.MustRun(t, `systemctl start --no-block cocker@always; systemctl show -P NRestarts cocker@always`)
	h.WaitFor(t, eventually, "two attempts", `[ "$(systemctl show -P NRestarts cocker@always)" -ge $(($1 + 2)) ]`, before)
	h.MustRun(t, `systemd-run --quiet --unit=test-registry docker-registry serve /root/registry/config.yml`)
	h.WaitFor(t, eventually, "the start", `[ "$(systemctl show -P ActiveState cocker@always)" = active ]`)
	h.MustRun(t, `set -ex; [ ! -e /run/cocker/unpulled-always ]
		systemctl stop test-registry
		! cocker restart always 2>/root/registry/err; cocker stop always
		grep -F "connection refused" /root/registry/err
		systemd-run --quiet --unit=test-registry docker-registry serve /root/registry/config.yml`)
	h.WaitFor(t, eventually, "the registry", `cocker start always`)
	h.MustRun(t, `cocker restart always`)
}

// A restart by Restart= pulls in the unit that the container wants, as a start does.
func testRestartPullsAgain(t *testing.T, h *host.Host) {
	t.Helper()
	const later = "127.0.0.1:5000/team/later:1"
	declare(t, h, map[string]string{"later": "image = '" + later + "'\ncommand = ['sleep', '1000']\n[unit]\nStartLimitIntervalSec = 0\n[service]\nRestart = 'on-failure'\nRestartSec = '200ms'\n"})
	h.MustRun(t, `! systemctl start cocker@later`)
	h.WaitFor(t, eventually, "two attempts", `journalctl --sync; [ "$(journalctl -q -o cat -u cocker-pull@later | grep -c 'manifest unknown')" -ge 2 ]`)
	h.MustRun(t, `cocker image push demo "$1" 2>/dev/null`, later)
	h.WaitFor(t, eventually, "the start", `[ "$(systemctl show -P ActiveState cocker@later)" = active ]`)
	h.MustRun(t, `cocker rm -f later; cocker image rm "$1"`, later)
	assertNothingPulling(t, h)
}

// The client of "cocker run" pulls, and nothing exists of the container until then.
func testPullByRun(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -ex; cd /root/registry
		[ "$(cocker run --rm --network none "$1" echo works 2>err)" = works ]
		grep -x "$1 from 127.0.0.1:5000" err
		[ "$(cocker run --rm --network none --pull missing "$1" echo again 2>err)" = again ]; [ ! -s err ]
		cocker run --rm --network none --pull always "$1" true 2>err; grep -x "$1 from 127.0.0.1:5000" err
		cocker image rm "$1"
		! cocker run --rm --pull never "$1" true 2>err; grep -F 'with pull = "never"' err
		! cocker run --rm --pull sometimes "$1" true 2>err; grep -F '"sometimes" is not one of "missing"' err
		! cocker run --rm --pull always demo true 2>err; grep -F 'there is nothing to pull: "demo"' err
		[ "$(cocker run --detach --name detached "$1" sleep 1000 2>err)" = detached ]
		[ -z "$(systemctl show -P Wants -P Requires -P After cocker-detached | grep cocker-pull)" ]
		! cocker run --detach --name detached "$2" sleep 1000 2>err; grep -F 'a container "detached" exists' err
		cocker rm -f detached; cocker image rm "$1"
		before=$(find /run/cocker /var/lib/cocker | sort)
		! cocker run --detach --pull-timeout 2s "$2" sleep 1000 2>err; grep -F "it took longer than pull_timeout" err
		! timeout -s INT 2 cocker run --detach "$2" sleep 1000 2>err # which it sends twice
		[ "$(find /run/cocker /var/lib/cocker | sort)" = "$before" ]`, nearby, slowly)
	assertNothingPulling(t, h)
}

// A container with an image of this host has no unit more in its start than before.
func testNoPullForShortNames(t *testing.T, h *host.Host) {
	t.Helper()
	start(t, h, "short", "image = 'demo:1.0'\ncommand = ['sleep', '1000']\n")
	h.MustRun(t, `set -ex
		[ -z "$(systemctl show -P Wants -P Requires -P After cocker@short | grep -e cocker-pull -e network-online)" ]
		[ ! -e /run/systemd/generator/cocker-pull@short.service.d ]
		cocker rm -f short`)
}

// A host that has its images boots without a network; what has to be pulled fails alone,
// and everything else starts.
func TestBootOffline(t *testing.T) {
	onOwnHost(t, func(t *testing.T, h *host.Host) {
		const elsewhere, install = "127.0.0.1:1/team/", "command = ['sleep', '1000']\n[install]\nwanted_by = ['multi-user.target']\n"
		declare(t, h, map[string]string{"here": "image = '" + elsewhere + "demo:1.0'\n" + install})
		h.MustRun(t, `cocker image tag demo "$1"`, elsewhere+"demo:1.0")
		h.Reboot(t)
		online := func(want string) {
			t.Helper()
			if got := h.MustRun(t, "systemctl is-active network-online.target || :"); got != want {
				t.Errorf("network-online.target is %s, want %s", got, want)
			}
		}
		online("inactive")
		if state := h.MustRun(t, `systemctl show -P ActiveState cocker@here; systemctl show -P ConditionResult cocker-pull@here`); h.State != "running" || state != "active\nno" {
			t.Errorf("the system is %s, the container and the condition of its pull are %s", h.State, state)
		}
		declare(t, h, map[string]string{
			"always": "pull = 'always'\nimage = '" + elsewhere + "demo:1.0'\n" + install,
			"none":   "image = '" + elsewhere + "none:1'\n" + install,
			"short":  "image = 'demo:1.0'\n" + install,
		})
		h.Reboot(t)
		online("active")
		got := h.MustRun(t, `systemctl list-units --failed --plain --no-legend | awk '{ print $1 }' | sort | xargs
			cocker ps --json | jq -r '.[] | select(.state == "running").name' | sort | xargs
			systemctl is-active multi-user.target`)
		if want := "cocker-pull@always.service cocker-pull@none.service cocker@always.service cocker@none.service\nhere short\nactive"; got != want || h.State != "degraded" {
			t.Errorf("the system is %s; failed, running, reached are\n%s\nwant\n%s", h.State, got, want)
		}
		if status := statusOf(t, h, "always"); !strings.Contains(status, "journalctl -u cocker-pull@always") {
			t.Errorf("the reason is not in the status:\n%s", status)
		}
	})
}
