package tests

import (
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// A directory on another machine is a repository of images. The other machine is a user
// of the same one, who has a shell, Debian's programs and nothing of cocker; sshd is real.
func TestSSHRepository(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, `cocker image ls --json >/run/images.before`)
		startSSHD(t, h)
		testSSHRefusals(t, h)
		testSSHPush(t, h)
		testSSHPull(t, h)
		testSSHOthers(t, h)
		testSSHNewLayer(t, h)
		testSSHPushKilled(t, h)
		testSSHPullKilled(t, h)
		testSSHPushesAtOnce(t, h)
		h.MustRun(t, `cocker image ls --json | jq -r '.[].reference' | grep ^ssh: | xargs cocker image rm
			cocker image ls --json | diff /run/images.before -`)
	})
}

// startSSHD runs sshd on port 2222, for the user "far", until the test is over.
func startSSHD(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -e
		useradd --create-home --shell /bin/bash far
		mkdir -p /run/sshd /run/sshtest && ssh-keygen -q -t ed25519 -N '' -f /run/sshtest/key
		mkdir -m 700 -p /root/.ssh; printf 'Host 127.0.0.1\nIdentityFile /run/sshtest/key\nUserKnownHostsFile /run/sshtest/known_hosts\n' >/root/.ssh/config
		# The programs of a push and a pull stop in the middle of a layer while "hold" is there.
		mkdir /home/far/bin && cd /home/far/bin
		cat >head <<-'end'
			#!/bin/sh
			if [ -e /run/sshtest/hold ] && [ "$2" -gt 100000 ]; then
				/usr/bin/head -c 5000; : >/run/sshtest/held/$$; exec cat >/dev/null
			fi
			exec /usr/bin/head "$@"
		end
		cat >cat <<-'end'
			#!/bin/sh
			if [ -e /run/sshtest/hold ] && [ "$(stat -c %s "$1")" -gt 100000 ]; then
				/usr/bin/head -c 5000 "$1"; : >/run/sshtest/held/$$; exec /usr/bin/cat >/dev/null
			fi
			exec /usr/bin/cat "$@"
		end
		chmod +x head cat; mkdir -m 777 /run/sshtest/held; chmod 755 /run/sshtest
		printf 'PATH=/home/far/bin:$PATH\necho "a greeting that nobody should print"\n' >/home/far/.bashrc
		# Refused keys are part of the test; from OpenSSH 9.8 on an address that is refused often has to wait (sshd_config(5)).
		penalties="-o PerSourcePenalties=no"; mkdir -p /run/sshd; /usr/sbin/sshd -t $penalties 2>/dev/null || penalties=
		systemd-run --quiet --unit=test-sshd /usr/sbin/sshd -D -e -p 2222 -o ListenAddress=127.0.0.1 $penalties`)
	t.Cleanup(func() {
		cleanup(t, h, `systemctl stop test-sshd; systemctl reset-failed test-sshd 2>/dev/null
			pkill -KILL -u far; while pgrep -u far >/dev/null; do :; done
			userdel --remove far 2>/dev/null; rm -rf /run/sshtest /root/.ssh /run/sshd /run/images.before /etc/cocker/registries.toml`)
	})
	h.WaitFor(t, eventually, "sshd", `ssh-keyscan -p 2222 127.0.0.1 2>/dev/null | grep -q ed25519`)
}

const far = "ssh://far@127.0.0.1:2222"

// testSSHRefusals follows what the errors advise, one after the other.
func testSSHRefusals(t *testing.T, h *host.Host) {
	t.Helper()
	refused := func(command string, wants ...string) {
		t.Helper()
		r := h.Run(t, command)
		for _, want := range wants {
			if r.ExitCode != 1 || r.Stdout != "" || !strings.Contains(r.Stderr, want) || strings.Count(r.Stderr, "\n") != 1 {
				t.Errorf("%s: exit status %d, stderr %swant %s", command, r.ExitCode, r.Stderr, want)
			}
		}
	}
	push := "cocker image push demo:1.0 " + far + "/team/demo:1.0"
	refused(push, "Host key verification failed", `log in once with "ssh -p 2222 far@127.0.0.1"`)
	h.MustRun(t, `ssh-keyscan -p 2222 127.0.0.1 2>/dev/null >/run/sshtest/known_hosts`)
	refused(push, "Permission denied", `"ssh-copy-id"`)
	h.MustRun(t, `install -d -o far -m 700 /home/far/.ssh && install -o far -m 600 /run/sshtest/key.pub /home/far/.ssh/authorized_keys`)
	refused("cocker image pull "+far+"/team/demo:1.0", "no such image there", `"cocker image search `+far+`"`)
	refused("cocker image pull ssh://far@127.0.0.1:2223/demo", "Connection refused", "no sshd listens there")
	h.MustRun(t, `[ ! -e /home/far/cocker-images ] && [ -z "$(cocker image search `+far+` | tail -n +2)" ]
		echo pwned >/run/sshtest/pwned.in; rm -f /run/sshtest/pwned`)
	for _, hostile := range []string{
		"ssh://-oProxyCommand=touch${IFS}/run/sshtest/pwned/demo:1", "ssh://far@-oProxyCommand=id/demo:1", "ssh://-lroot@127.0.0.1/demo:1",
		"ssh://far@127.0.0.1:2222/$(touch /run/sshtest/pwned):1", "ssh://far@127.0.0.1:2222/../../etc:1", "ssh://far;id@127.0.0.1/demo:1",
	} {
		for _, verb := range []string{"pull", "push demo:1.0"} {
			if r := h.Run(t, `cocker image `+verb+` "$1"`, hostile); r.ExitCode != 1 || !strings.Contains(r.Stderr, "not an image name") {
				t.Errorf("%s %s: %+v", verb, hostile, r)
			}
		}
	}
	h.MustRun(t, `[ ! -e /run/sshtest/pwned ] && [ ! -e /home/far/cocker-images ]`)
}

// testSSHPush: what is there is a layout that others read, and is not sent twice.
func testSSHPush(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -ex; cd /run/sshtest; far=$1
		pushed=$(cocker image push demo:1.0 $far/team/demo:1.0 2>push.log)
		digest=$(cocker image inspect --json demo:1.0 | jq -r .digest)
		[ "$pushed" = "$far/team/demo:1.0@$digest" ]
		grep -q "greeting" push.log && exit 1
		runuser -u far -- skopeo inspect oci:/home/far/cocker-images:team/demo:1.0 | jq -e --arg d "$digest" '.Digest == $d' >/dev/null
		umoci unpack --image /home/far/cocker-images:team/demo:1.0 bundle >/dev/null 2>&1 && bundle/rootfs/bin/busybox echo works | grep -qx works
		rm -r bundle
		find /home/far/cocker-images/blobs -type f -printf '%i %p\n' | sort >blobs
		for tag in 1.9 1.10; do cocker image push demo:1.0 $far/team/demo:$tag 2>&1 >/dev/null | grep -q "is there already"; done
		find /home/far/cocker-images/blobs -type f -printf '%i %p\n' | sort | diff blobs -
		[ -z "$(ls /home/far/cocker-images/.cocker)" ] || [ "$(ls /home/far/cocker-images/.cocker)" = lock ]
		[ "$(stat -c %a /home/far/cocker-images)" = 700 ]
		[ "$(cocker image search --json $far | jq -r '.[] | .reference + " " + .digest')" = "$(for tag in 1.0 1.9 1.10; do echo $far/team/demo:$tag $digest; done)" ]
		[ "$(cocker image search $far 'team/*' | wc -l)" = 4 ] && [ "$(cocker image search $far/team/demo | wc -l)" = 4 ] && [ "$(cocker image search $far other | wc -l)" = 1 ]`, far)
}

// testSSHPull: without a tag the highest version; what was pulled runs, by a file too.
func testSSHPull(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -ex; far=$1
		cp -a /var/lib/cocker/oci/index.json /run/sshtest/index.json # of a store that still has the layer
		[ "$(cocker image pull $far/team/demo 2>/run/sshtest/pull.log)" = $far/team/demo:1.10 ]
		grep -q "is here already" /run/sshtest/pull.log
		cocker image rm $far/team/demo:1.10
		cocker image tag demo:1.0 saved:1 >/dev/null; cocker image rm demo:1.0 saved:1
		[ "$(cocker image ls --json | jq length)" = "$(($(jq length /run/images.before) - 1))" ]
		cocker image pull $far/team/demo:1.0 2>/run/sshtest/pull.log; grep -q "^sha256:.* [0-9]" /run/sshtest/pull.log
		[ "$(cocker run --rm --network none $far/team/demo:1.0 echo works)" = works ]
		skopeo inspect oci:/var/lib/cocker/oci:ssh:${far#ssh://}/team/demo:1.0 >/dev/null
		cocker image tag $far/team/demo:1.0 demo:1.0 >/dev/null
		digest=$(cocker image inspect --json demo:1.0 | jq -r .digest)
		[ "$(cocker image pull $far/team/demo@$digest)" = $far/team/demo@$digest ]
		mkdir -p /etc/cocker/containers
		printf 'image = "%s"\ncommand = ["sleep", "inf"]\n[network]\nmode = "none"\n' $far/team/demo:1.0 >/etc/cocker/containers/farimage.toml
		cocker check && systemctl daemon-reload && systemctl start cocker@farimage && systemctl stop cocker@farimage
		cocker image rm $far/team/demo:1.0 # a start pulls what is missing
		systemctl start cocker@farimage && systemctl stop cocker@farimage && cocker image inspect $far/team/demo:1.0 >/dev/null
		rm /etc/cocker/containers/farimage.toml && systemctl daemon-reload`, far)
}

// testSSHOthers: cocker reads what others have written there, and keeps it.
func testSSHOthers(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -ex; cd /run/sshtest; far=$1
		skopeo copy -q oci:/var/lib/cocker/oci:demo:1.0 oci:two:two:1 && echo added >file && umoci insert --image two:two:1 file /added
		chmod -R a+rX two && cd / && runuser -u far -- skopeo copy -q oci:/run/sshtest/two:two:1 oci:/home/far/cocker-images:two:1
		cocker image pull $far/two 2>/run/sshtest/pull.log | grep -qx $far/two:1
		[ "$(grep -c "is here already" /run/sshtest/pull.log)" = 1 ] && [ "$(grep -c "^sha256:[0-9a-f]* [0-9]" /run/sshtest/pull.log)" = 1 ]
		[ "$(cocker run --rm --network none $far/two cat /added)" = added ]`, far)
}

// testSSHNewLayer: a second version moves only its new layer, into another directory too.
func testSSHNewLayer(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -ex; far=$1
		printf '[ssh."far@127.0.0.1:2222"]\ndirectory = "/home/far/it'"'"'s $(id) other"\n' >/etc/cocker/registries.toml && cocker check
		cocker image push demo:1.0 $far/app:1 2>/dev/null
		dir="/home/far/it's \$(id) other"; base=$(ls -i "$dir"/blobs/sha256 | sort)
		cocker image push $far/two:1 $far/app:2 2>/run/sshtest/push.log
		[ "$(grep -c "is there already" /run/sshtest/push.log)" = 1 ] && [ "$(grep -c "^sha256:[0-9a-f]* [0-9]" /run/sshtest/push.log)" = 1 ]
		# The layer, the configuration, the manifest; what was there is the same file.
		[ "$(ls "$dir"/blobs/sha256 | wc -l)" = $(($(echo "$base" | wc -l) + 3)) ]
		echo "$base" | while read -r line; do ls -i "$dir"/blobs/sha256 | grep -qFx "$line"; done
		[ "$(cocker image search $far | tail -n +2 | wc -l)" = 2 ]
		rm -rf "$dir" /etc/cocker/registries.toml`, far)
}

// farIsClean is a condition: no process of the user's but the manager's, and nothing in
// the directory that is under way.
const farIsClean = `! pgrep -u far -x 'sh|bash|head|cat|sshd.*' >/dev/null && ! pgrep -x ssh >/dev/null && ! ls -d /home/far/cocker-images/.cocker/session-* 2>/dev/null`

// testSSHPushKilled: a client that is killed leaves nothing there that can be seen; a shell
// that is killed there costs another connection.
func testSSHPushKilled(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -e; : >/run/sshtest/hold; cp /home/far/cocker-images/index.json /run/sshtest/index.before
		# A layer that is not there yet.
		head -c 3000000 /dev/urandom >/run/sshtest/large; cd /run/sshtest; skopeo copy -q oci:/var/lib/cocker/oci:demo:1.0 oci:three:three:1
		umoci insert --image three:three:1 large /large; chmod -R a+rX three
		cd / && runuser -u far -- skopeo copy -q oci:/run/sshtest/three:three:1 oci:/home/far/three:three:1
		printf '[ssh."127.0.0.1"]\ndirectory = "/home/far/three"\n' >/etc/cocker/registries.toml
		rm /run/sshtest/hold; cocker image pull `+far+`/three:1 2>/dev/null >&2; rm /etc/cocker/registries.toml; : >/run/sshtest/hold
		systemd-run --quiet --unit=test-push --setenv=HOME=/root cocker image push `+far+`/three:1 `+far+`/three:1`)
	h.WaitFor(t, eventually, "the push to be in the middle of a layer", `[ -n "$(ls /run/sshtest/held)" ] && ls -d /home/far/cocker-images/.cocker/session-*`)
	h.MustRun(t, `systemctl kill --kill-whom=main --signal=KILL test-push 2>/dev/null || systemctl kill --kill-who=main --signal=KILL test-push`)
	h.WaitFor(t, eventually, "the far side to clean up", farIsClean)
	h.MustRun(t, `cmp /home/far/cocker-images/index.json /run/sshtest/index.before; systemctl reset-failed test-push; rm -f /run/sshtest/held/*
		systemd-run --quiet --unit=test-push --setenv=HOME=/root -p RemainAfterExit=yes -p StandardError=file:/run/sshtest/push.log cocker image push `+far+`/three:1 `+far+`/three:1`)
	h.WaitFor(t, eventually, "the push to be in the middle of a layer", `[ -n "$(ls /run/sshtest/held)" ]`)
	h.MustRun(t, `rm /run/sshtest/hold; pkill -KILL -u far -x 'sh|bash|head|cat'`)
	h.WaitFor(t, eventually, "the push to be made again", `[ "$(systemctl show -P SubState test-push)" = exited ]`)
	h.WaitFor(t, eventually, "the far side to be clean", farIsClean)
	h.MustRun(t, `set -e; systemctl stop test-push; grep -q "the connection broke off.*trying again" /run/sshtest/push.log
		cocker image search `+far+` | grep -q /three:1; runuser -u far -- umoci stat --image /home/far/cocker-images:three:1 >/dev/null`)
}

// testSSHPullKilled: a client that is killed leaves no image here, and no process there.
func testSSHPullKilled(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -e; cocker image rm `+far+`/three:1; : >/run/sshtest/hold; rm -f /run/sshtest/held/*
		systemd-run --quiet --unit=test-pull --setenv=HOME=/root cocker image pull `+far+`/three:1`)
	h.WaitFor(t, eventually, "the pull to be in the middle of a layer", `[ -n "$(ls /run/sshtest/held)" ] && ls -d /var/lib/cocker/oci/.staging-*`)
	h.MustRun(t, `systemctl kill --kill-whom=main --signal=KILL test-pull 2>/dev/null || systemctl kill --kill-who=main --signal=KILL test-pull`)
	h.WaitFor(t, eventually, "the far side to end", farIsClean)
	h.MustRun(t, `set -e; systemctl reset-failed test-pull; rm /run/sshtest/hold
		cocker image ls | grep -q /three:1 && exit 1
		cocker image pull `+far+`/three:1 2>/dev/null >&2; cocker run --rm --network none `+far+`/three:1 cat /large | cmp - /run/sshtest/large
		if ls -d /var/lib/cocker/oci/.staging-* /var/lib/cocker/layers/.staging-* 2>/dev/null; then exit 1; fi`)
}

// testSSHPushesAtOnce: none is lost.
func testSSHPushesAtOnce(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -e; rm -r /home/far/cocker-images
		for n in 1 2 3 4; do cocker image push `+far+`/three:1 `+far+`/once:$n 2>/run/sshtest/push.$n & pids="$pids $!"; done
		for p in $pids; do wait $p || { cat /run/sshtest/push.*; exit 1; }; done
		[ "$(cocker image search --json `+far+` | jq -r '.[].tag' | tr '\n' ' ')" = "1 2 3 4 " ]
		runuser -u far -- umoci stat --image /home/far/cocker-images:once:3 >/dev/null`)
	h.WaitFor(t, eventually, "the far side to be clean", farIsClean)
}
