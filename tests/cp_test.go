package tests

import (
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// What the containers of these tests are: one of each kind of mount.
const copied = `image = "demo"
command = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"]
[network]
mode = "none"
[[mount]]
type = "tmpfs"
target = "/scratch"
[[mount]]
type = "volume"
source = "cpdata"
target = "/data"
[[mount]]
type = "bind"
source = "/srv/cp/ro"
target = "/ro"
read_only = true
[[mount]]
type = "bind"
source = "/srv/cp/open"
target = "/open"
[[mount]]
type = "bind"
source = "/srv/cp/closed"
target = "/closed"
[[mount]]
type = "bind"
source = "/srv/cp/one"
target = "/one"
`

// makeCopied makes a tree to copy, and the sources of the bind mounts.
const makeCopied = `set -e
	mkdir -p /srv/cp/ro /srv/cp/open /srv/cp/closed /srv/cp/tree/sub /srv/cp/out
	cd /srv/cp; chmod 777 open; echo ro >ro/f; echo secret >closed/f; chmod 600 closed/f; echo one >one; chmod 666 one
	echo a >tree/a; ln tree/a tree/b; ln -s a tree/l; cp /bin/true tree/suid; chown 33:34 tree/suid; chmod 6755 tree/suid
	truncate -s 64M tree/sparse; mkfifo tree/fifo; chown 70000:70000 tree/sub; touch -d @1000000000.5 tree/a
	setfattr -n user.note -v kept tree/a
	setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 tree/l 2>/dev/null || :
	cp /bin/true tree/cap; setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 tree/cap`

// cocker cp and cocker export, of a container that has never been started, that does not
// run, and that runs.
func TestCopy(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, makeCopied)
		declare(t, h, map[string]string{"cp": copied})
		testCopyNeverStarted(t, h)
		testCopyIntoStopped(t, h)
		start(t, h, "cp", copied)
		testOwnersAndModes(t, h)
		testCopyTars(t, h)
		testCopyMounts(t, h)
		testCopyRefusals(t, h)
		testExportOfFiles(t, h)
		testCopyOutOfStopped(t, h)
		h.MustRun(t, `cocker rm cp; cocker volume rm cpdata >/dev/null; rm -r /srv/cp`)
	})
}

func testCopyNeverStarted(t *testing.T, h *host.Host) {
	t.Helper()
	before := h.Snapshot(t)
	h.MustRun(t, `[ "$(cocker cp cp:/etc/passwd - 2>/dev/null | tar xO)" = "$(cocker run --rm --network none demo cat /etc/passwd)" ] || exit 1
		cocker cp cp:/etc /srv/cp/out/etc 2>/dev/null && [ "$(stat -c %u:%g:%a /srv/cp/out/etc/shadow)" = 0:0:640 ] || exit 1
		cocker export cp | tar t | grep -qx etc/passwd`)
	h.AssertClean(t, before) // no writable layer was made
	h.WriteFile(t, "/etc/cocker/containers/cpbad.toml", "image = 'nosuch:1'\n", 0o644)
	copyFails(t, h, "no such image", "/srv/cp/tree/a", "cpbad:/x")
	h.MustRun(t, "rm /etc/cocker/containers/cpbad.toml")
	h.AssertClean(t, before)
}

func testCopyIntoStopped(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -e; cd /srv/cp; upper=/var/lib/cocker/containers/cp/upper
		cocker cp tree cp:/srv 2>/dev/null; cocker cp tree/a cp:/new 2>/dev/null; cocker cp tree/a cp:/open/in
		[ "$(stat -c '%u:%g' $upper $upper/srv/tree $upper/srv/tree/sub | sort -u)" = 0:0 ] || exit 1
		[ "$(stat -c %Y%a $upper/new)" = 1000000000644 ] || exit 1
		[ "$(du -k $upper/srv/tree/sparse | cut -f1)" -lt 1000 ] || exit 1
		cmp open/in tree/a; rm open/in`)
	for path, reason := range map[string]string{"/scratch/x": "next start", "/run/x": "next start", "/data/x": "next start", "/ro/x": "read-only", "/proc/x": "next start"} {
		copyFails(t, h, reason, "/srv/cp/tree/a", "cp:"+path)
	}
}

// copyFails asserts that cocker cp fails with a reason.
func copyFails(t *testing.T, h *host.Host, reason string, args ...string) {
	t.Helper()
	r := h.Run(t, `exec timeout 100 cocker cp "$@" </dev/null`, args...)
	if r.ExitCode != 1 || !strings.Contains(r.Stderr, reason) {
		t.Errorf("cp %q: exit status %d, %q is not in:\n%s", args, r.ExitCode, reason, r.Stderr)
	}
}

func testOwnersAndModes(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `cd /srv/cp; cocker cp -a tree cp:/kept && cocker cp tree cp:/root/taken && cocker cp tree/. cp:/scratch`)
	for path, want := range map[string]string{
		// Without -a all is the container's root's; with it numbers stay, and what the container does not have is nobody's.
		"/root/taken": "0:0 755", "/root/taken/suid": "0:0 6755", "/root/taken/sub": "0:0 755", "/scratch/suid": "0:0 6755",
		"/kept/suid": "33:34 6755", "/kept/sub": "65534:65534 755", "/srv/tree/suid": "0:0 6755", "/new": "0:0 644",
	} {
		if got := inside(t, h, "cp", "stat -c '%u:%g %a' "+path); got != want {
			t.Errorf("%s inside: %s, want %s", path, got, want)
		}
	}
	inside(t, h, "cp", `[ /kept/a -ef /kept/b ] && [ "$(readlink /kept/l)" = a ] && [ -p /kept/fifo ] && [ "$(stat -c %Y /kept/a)" = 1000000000 ]`)
	h.MustRun(t, `cd /srv/cp; mkdir out/one out/all; cocker cp cp:/kept out/one && cocker cp -a cp:/kept out/all || exit 1
		caps() { getfattr --only-values -n security.capability "$1" 2>/dev/null | wc -c; }
		[ "$(getfattr --only-values -n user.note out/one/kept/a)" = kept ] || exit 1
		[ "$(stat -c %u:%g:%a out/one/kept/suid out/one/kept/sub | xargs)" = '0:0:755 0:0:755' ] && [ "$(caps out/one/kept/cap)" = 0 ] || exit 1
		[ "$(stat -c %u:%g:%a out/all/kept/suid out/all/kept/sub | xargs)" = '33:34:6755 65534:65534:755' ] && [ "$(caps out/all/kept/cap)" = 20 ] || exit 1
		[ out/all/kept/a -ef out/all/kept/b ] && diff -r --no-dereference --exclude=fifo tree out/all/kept && [ -p out/all/kept/fifo ] || exit 1
		[ "$(du -k out/all/kept/sparse | cut -f1)" -lt 1000 ] && [ "$(stat -c %y out/all/kept/a)" = "$(stat -c %y tree/a)" ]`)
}

// The tar of others comes in, ours is read by them.
func testCopyTars(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `cd /srv/cp; inside() { nsenter --all --target "$(systemctl show -P MainPID cocker@cp)" "$@"; }
		inside mkdir /in; tar c tree | cocker cp -a - cp:/in && tar c -C tree . | cocker cp - cp:/in || exit 1
		[ "$(inside cat /in/a /in/tree/a | xargs)" = 'a a' ] && [ "$(inside stat -c %u:%g /in/suid /in/tree/suid | xargs)" = '0:0 33:34' ] || exit 1
		listing() { tar t --verbose --numeric-owner --full-time | sed 's/ \+/ /g' | sort; }
		cocker cp cp:/in/tree - | listing >out/ours; inside tar c -C /in tree | listing >out/theirs
		# busybox's tar leaves out the fraction of a second, and takes the other name of a hard link.
		[ "$(awk '{ print $1, $2, $3, $6 }' out/ours | grep -v '^h\|tree/[ab]$')" = "$(awk '{ print $1, $2, $3, $6 }' out/theirs | grep -v '^h\|tree/[ab]$')" ] || exit 1
		# A tar adds to where a link of the image leads: /sbin is one to /bin.
		mkdir -p out/merge/sbin && echo tool >out/merge/sbin/tool && tar c -C out/merge . | cocker cp - cp:/ || exit 1
		[ "$(inside cat /bin/tool)" = tool ] && inside test -L /sbin`)
	for script, reason := range map[string]string{
		`: | cocker cp - cp:/in`:                                         "cut short",
		`head -c 5000 /dev/zero | tr '\0' x | cocker cp - cp:/in`:        "no tar",
		`tar c tree | gzip | cocker cp - cp:/in`:                         "compressed",
		`tar c tree | head -c 2000 | cocker cp - cp:/in`:                 "cut short",
		`tar cP /srv/cp/ro | cocker cp - cp:/in`:                         "absolute",
		`tar cP --transform 's,^,../,' ro | cocker cp - cp:/in`:          `".."`,
		`tar c ro | cocker cp - cp:/nowhere`:                             "directory",
		`cocker cp cp:/in - >/dev/full`:                                  "no space",
		`tar c --transform 's,tree,dev,' tree/a | cocker cp - cp:/in/a/`: "irectory",
	} {
		if r := h.Run(t, "cd /srv/cp; "+script); r.ExitCode != 1 || !strings.Contains(r.Stderr, reason) {
			t.Errorf("%s: exit status %d, %q is not in:\n%s", script, r.ExitCode, reason, r.Stderr)
		}
	}
}

func testCopyMounts(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -e; cd /srv/cp; base=$(jq .id_base /run/cocker/state/cp.json)
		for dir in scratch data open; do cocker cp tree/suid cp:/$dir/x; done
		[ "$(stat -c %u open/x)" = "$base" ] && [ "$(stat -c %u /var/lib/cocker/volumes/cpdata/data/x)" = 0 ] || exit 1
		# A file that is mounted cannot be replaced; it gets the content.
		cocker cp tree/a cp:/one; cmp one tree/a
		[ "$(cocker cp cp:/ro/f - | tar xO)" = ro ]`)
	inside(t, h, "cp", `for dir in scratch data open; do [ "$(stat -c %u:%a /$dir/x)" = 0:6755 ] || exit 1; done; [ "$(cat /one)" = a ]`)
	h.MustRun(t, "rm /srv/cp/open/x")
	for path, reason := range map[string]string{"/ro/x": "read-only", "/closed/x": "the container's root may not", "/sys/kernel/x": "cp:", "/dev/null": "no regular file", "/proc/sys/kernel/core_pattern": "cp:"} {
		copyFails(t, h, reason, "/srv/cp/tree/a", "cp:"+path)
	}
	for path, reason := range map[string]string{"/closed/f": "the container's root may not", "/proc/1/root/etc": "open /proc/1/root/etc", "/proc/self/status": "o such file", "/proc/version": "the kernel's", "/sys": "the kernel's"} {
		copyFails(t, h, reason, "cp:"+path, "/srv/cp/out/x")
	}
	h.MustRun(t, `[ "$(ls -A /srv/cp/closed /srv/cp/ro | xargs)" = '/srv/cp/closed: f /srv/cp/ro: f' ] && ! [ -e /srv/cp/out/x ] || exit 1
		cd /srv/cp && cocker cp cp:/dev /srv/cp/out/dev 2>/srv/cp/out/notes && grep -q 'would be a device' /srv/cp/out/notes && ! find /srv/cp/out/dev -type b -o -type c | grep . || exit 1
		# An agent that has much to tell.
		mkdir devices && cd devices && mknod 0 c 1 3 && for i in $(seq 1500); do ln 0 $i; done && echo x >x || exit 1
		[ "$(timeout 100 cocker cp . cp:/devices 2>&1 | grep -c 'would be a device')" = 1501 ]`)
	inside(t, h, "cp", `[ "$(ls /devices)" = x ]`)
}

func testCopyRefusals(t *testing.T, h *host.Host) {
	t.Helper()
	for _, c := range []struct{ from, to, reason string }{
		{"cp:/none", "/srv/cp/out", "no such file"}, {"/srv/cp/none", "cp:/", "no such file"}, {"cp:/etc", "/srv/cp/none/x", "make it first"},
		{"cp:/etc", "/srv/cp/tree/a", "is no directory"}, {"/srv/cp/tree", "cp:/etc/passwd", "is no directory"}, {"/srv/cp/tree/a", "cp:/etc/none/", "make it first"},
		{"a", "b", "CONTAINER:PATH"}, {"cp:/a", "cp:/b", "only one side"}, {"cp:", "/srv", "names no path"}, {"", "cp:/", "empty"},
		{"nosuch:/x", "/srv", "no such container"}, {"/srv/cp/tree/a", "nosuch:/x", "no such container"}, {"../x:/y", "/srv", "CONTAINER:PATH"}, {"-x:y", "/", "unknown shorthand"},
	} {
		copyFails(t, h, c.reason, c.from, c.to)
	}
	for _, command := range []string{"cocker export cp", "cocker cp cp:/etc -", "cocker cp - cp:/etc"} {
		if r := h.Run(t, `script -qec "$1" /dev/null </dev/null`, command); r.ExitCode != 1 || !strings.Contains(r.Stdout, "is a terminal") {
			t.Errorf("%s on a terminal: %d, %s", command, r.ExitCode, r.Stdout)
		}
	}
	h.MustRun(t, `! ls /var/lib/cocker/containers | grep nosuch`)
}

func testExportOfFiles(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -e; cd /srv/cp/out; cocker export -o running.tar cp; [ "$(stat -c %a running.tar)" = 600 ] || exit 1
		nsenter --all --target "$(systemctl show -P MainPID cocker@cp)" find / -xdev ! -path / | sed 's,^/,,' | sort >inside
		tar t -f running.tar | sed 's,/$,,' | grep -vx . | sort | diff inside -
		# Nothing of what is mounted, and its places.
		! tar t -f running.tar | grep '^\(data\|ro\|open\|closed\|scratch\|proc\|sys\|dev\|run\)/.' || exit 1
		tar t -f running.tar | grep -x 'one\|data/' | xargs | grep -qx 'data/ one'; [ -z "$(tar xO -f running.tar one)" ] || exit 1
		tar t --verbose --numeric-owner -f running.tar | grep 'kept/suid' | grep -q '^-rwsr-sr-x 33/34 ' || exit 1
		tar t --verbose -f running.tar | grep -q 'kept/b link to kept/a' || exit 1
		mkdir x && tar x --xattrs --xattrs-include='*' -f running.tar -C x kept/cap && [ "$(getfattr --only-values -n security.capability x/kept/cap | wc -c)" = 20 ] || exit 1
		cocker image import running.tar cpagain:1 >/dev/null; cocker run --rm --network none cpagain:1 stat -c %u:%g:%a /kept/suid | grep -qx 33:34:6755 || exit 1
		cocker image rm cpagain:1`)
}

func testCopyOutOfStopped(t *testing.T, h *host.Host) {
	t.Helper()
	before := h.Snapshot(t)
	h.MustRun(t, `set -e; cocker stop cp; cd /srv/cp/out; upper() { find /var/lib/cocker/containers/cp -printf '%p %T@ %C@\n' | sort; }; upper >before
		cocker export cp >stopped.tar
		# The same but for what only a running container has: its name in /etc/hosts stays, its mounts have modes of their own.
		tar t -f stopped.tar | sort >stopped; tar t -f running.tar | sort | diff - stopped
		[ "$(cocker cp cp:/data/x - | tar tv | cut -c1-10)" = -rwsr-sr-x ]; [ "$(cocker cp cp:/ro/f - | tar xO)" = ro ]; cocker cp cp:/scratch - | tar t | xargs | grep -qx scratch/ || exit 1
		cocker cp -a cp:/kept again; diff -r --no-dereference --exclude=fifo /srv/cp/tree again; [ "$(stat -c %u:%g:%a again/suid)" = 33:34:6755 ] || exit 1
		upper | diff before -`)
	copyFails(t, h, "the container's root may not", "cp:/closed/f", "/srv/cp/out/x")
	h.AssertClean(t, before, "unit", "unit file", "machine", "network namespace", "cgroup", "runtime file", "process")
}

// CVE-2018-15664: the container renames directories and links while it is copied. What
// the host has under the same names must neither be read nor written.
func TestCopyWhileTheContainerAttacks(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "attack", "image = 'demo'\n"+sh(`
			mkdir -p /a/dir /a/tree/sub; echo inside | tee /a/dir/data >/a/tree/sub/data; cd /a
			ln -s /srv/canary link; ln -s ../../../../../../../../srv/canary tree/link; ln -s /proc/1/root/srv/canary link2
			touch /ready
			trap 'exit 0' TERM
			while :; do
				mv dir old; mv link dir; mv dir link; mv link2 dir; mv dir link2; mv old dir
				mv tree/sub tree/old; mv tree/link tree/sub; mv tree/sub tree/link; mv tree/old tree/sub
			done`)+"[network]\nmode = 'none'\n")
		h.MustRun(t, `mkdir -p /srv/canary /srv/out && echo secret >/srv/canary/data && echo evil >/srv/evil && find /srv/canary -printf '%p %i %T@ %C@\n' >/srv/before`)
		h.WaitFor(t, eventually, "the attack", `[ -e "/proc/$(systemctl show -P MainPID cocker@attack)/root/ready" ]`)
		h.MustRun(t, `copied=0; written=0
			for i in $(seq 60); do
				rm -rf /srv/out/*
				cocker cp -L attack:/a/dir/data /srv/out/data 2>/dev/null && copied=$((copied+1))
				cocker cp attack:/a/dir/. /srv/out/dir 2>/dev/null && copied=$((copied+1))
				cocker cp attack:/a/tree /srv/out/tree 2>/dev/null && copied=$((copied+1))
				! grep -r secret /srv/out || exit 1
				cocker cp /srv/evil attack:/a/dir/data 2>/dev/null && written=$((written+1))
				cocker cp /srv/evil attack:/a/dir/ 2>/dev/null && written=$((written+1))
				tar c -C / srv/evil --transform 's,srv/evil,tree/sub/data,' | cocker cp - attack:/a 2>/dev/null && written=$((written+1))
			done
			echo "$copied copied, $written written" >&2
			[ $copied -gt 0 ] && [ $written -gt 0 ] && find /srv/canary -printf '%p %i %T@ %C@\n' | diff /srv/before - && [ "$(cat /srv/canary/data)" = secret ] || exit 1
			! find / -xdev -name 'evil' -not -path '/srv/evil' -not -path '/srv/out/*' -not -path '/var/lib/cocker/containers/attack/*' | grep .`)
	})
}

// The end of a copy of which the client is killed, and what its agent is meanwhile.
func TestCopyKilled(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "slow", "image = 'demo'\n"+sh("trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done")+"[network]\nmode = 'none'\n")
		h.MustRun(t, `mkdir /srv/k && cd /srv/k && head -c 1000000 /dev/urandom >big && tar c big >big.tar && mkfifo pipe`)
		testKilledCopy(t, h, `/proc/$(systemctl show -P MainPID cocker@slow)/root`)
		h.MustRun(t, "systemctl stop cocker@slow")
		testKilledCopy(t, h, `/var/lib/cocker/containers/slow/upper`)
		testStartWaitsForCopy(t, h)
	})
}

// beginCopy begins to copy a tar that does not end, and waits until part of it is written.
// $1 is the root directory to look in.
const beginCopy = `cd /srv/k
	systemd-run -q --unit=test-copy -p StandardInput=file:/srv/k/pipe cocker cp - slow:/root
	systemd-run -q --unit=test-feed sh -c 'exec 3>/srv/k/pipe; head -c 500000 /srv/k/big.tar >&3; while ! [ -e /srv/k/go ]; do sleep 0.1; done; tail -c +500001 /srv/k/big.tar >&3'
	until [ "$(eval "stat -c %s $1/root/.cocker-cp-*" 2>/dev/null || echo 0)" -gt 200000 ]; do sleep 0.1; done`

func testKilledCopy(t *testing.T, h *host.Host, root string) {
	t.Helper()
	h.MustRun(t, "timeout 100 bash -c '"+strings.ReplaceAll(beginCopy, "'", `'\''`)+`' - "$1"`, root)
	h.MustRun(t, `agent=$(pgrep -f '^/proc/self/exe copy-agent'); status=/proc/$agent/status
		! eval "ls $1/root/big" 2>/dev/null || exit 1
		# Ids of the container, five capabilities, none of the host's files: user_namespaces(7), capabilities(7).
		base=$(cat /var/lib/cocker/containers/slow/idrange); awk -v b=$base '/^Uid:|^Gid:/ && $2 == b && $3 == b && $4 == b && $5 == b { n++ } END { exit n != 2 }' $status || exit 1
		grep -q '^CapEff:.000000008000001b$' $status && grep -q '^CapPrm:.000000008000001b$' $status && grep -q '^NoNewPrivs:.1$' $status || exit 1
		readlink /proc/$agent/root | grep -q '^/proc/.*/fdinfo$' || exit 1
		[ "$(readlink /proc/$agent/ns/user)" != "$(readlink /proc/1/ns/user)" ] && [ "$(readlink /proc/$agent/ns/pid)" = "$(readlink /proc/1/ns/pid)" ] || exit 1
		systemctl kill --kill-whom=main --signal=KILL test-copy`, root)
	h.WaitFor(t, eventually, "the agent's end", `! pgrep -f '^/proc/self/exe copy-agent'`)
	h.MustRun(t, `! eval "ls -d $1/root/big $1/root/.cocker-cp-*" 2>/dev/null
		touch /srv/k/go; systemctl stop test-feed test-copy 2>/dev/null; systemctl reset-failed test-copy test-feed 2>/dev/null; rm -f /srv/k/go`, root)
}

// A start during a copy into the same container waits for the copy, and sees all of it.
func testStartWaitsForCopy(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, "timeout 100 bash -c '"+strings.ReplaceAll(beginCopy, "'", `'\''`)+`' - "$1"`, "/var/lib/cocker/containers/slow/upper")
	h.MustRun(t, "systemctl start --no-block cocker@slow")
	h.WaitFor(t, eventually, "a launcher that waits for the lock", "grep -q -- '-> FLOCK' /proc/locks && pgrep -x cocker-launch")
	h.MustRun(t, `[ "$(systemctl is-active cocker@slow)" = activating ] || exit 1; touch /srv/k/go`)
	h.WaitFor(t, eventually, "the start", "systemctl is-active --quiet cocker@slow && ! pgrep -x cocker-launch")
	h.MustRun(t, `nsenter --all --target "$(systemctl show -P MainPID cocker@slow)" cat /root/big | cmp - /srv/k/big
		systemctl stop test-feed test-copy 2>/dev/null; systemctl reset-failed test-copy test-feed 2>/dev/null || :`)
}
