package tests

import (
	"strconv"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// What a container writes becomes an image that others read and that gives the same
// tree; an image becomes a container again, and that the image's next version.
func TestCommit(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, `mkdir -p /srv/www /root/commit && echo host >/srv/www/page && chmod -R 777 /srv/www && printf "%s" "$1" >/root/commit/lib`, compareScripts)
		testNothingChanged(t, h)
		testCommitRunning(t, h)
		testOthersReadCommit(t, h)
		testRoundTrip(t, h)
		testSquash(t, h)
		testCommitRefusals(t, h)
		h.MustRun(t, `rm -rf /root/commit; cocker image ls --json | jq -r '.[]|select(.reference != "demo:1.0")|.reference // .digest' | xargs -r cocker image rm`)
	})
}

// compareScripts: tree lists what an image keeps of a directory; show mounts layers
// of an image, in a namespace of its own, and lists that.
const compareScripts = `
tree() { # DIRECTORY
	cd "$1" && { find . -mindepth 1 -type d -printf '%p\t%y %m %U:%G %T@\n'; find . ! -type d ! -type s -printf '%p\t%y %m %U:%G %T@ %l %n\n'; find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
		getfattr -R -h -d -m '^(user|security.capability)' . 2>/dev/null; } | LC_ALL=C sort
}
layers() { cocker image inspect --json "$1" | jq -r '[.layers[].directory]|reverse|join(":")'; }
show() { # LAYERS
	mkdir -p /root/commit/empty
	unshare -m sh -c '. /root/commit/lib; mkdir -p /run/view && mount -t overlay -o "ro,lowerdir=$1:/root/commit/empty" view /run/view && tree /run/view' sh "$1"
}
`

// A start alone changes nothing, whatever it mounts and writes.
func testNothingChanged(t *testing.T, h *host.Host) {
	t.Helper()
	start(t, h, "web", "image = 'demo'\n"+sh("sleep 100000")+
		"[[mount]]\ntype = 'bind'\nsource = '/srv/www'\ntarget = '/data/www'\n[[mount]]\ntype = 'tmpfs'\ntarget = '/cache'\n[network]\nmode = 'none'\n")
	inside(t, h, "web", "echo kept >/cache/not && echo changed >>/data/www/page && cat /etc/hosts >/dev/null")
	if got := h.MustRun(t, "cocker diff web; cocker diff --json web"); got != "[]" {
		t.Errorf("diff of a container that has only been started:\n%s", got)
	}
	if r := h.Run(t, "cocker commit web same:1"); r.ExitCode != 0 || r.Stdout != "same:1\n" || !strings.Contains(r.Stderr, "changed nothing") {
		t.Errorf("commit of it: %+v", r)
	}
	h.MustRun(t, `. /root/commit/lib; [ "$(layers same:1)" = "$(layers demo)" ] && [ "$(cocker image history --json same:1 | jq -c '[.[].layer]')" != null ]`, "")
}

const changesOfWeb = `set -e
	mkdir -p -m 750 /new/deep; echo x >/new/deep/f; ln /new/deep/f /new/link; chown 12:34 /new/deep; chmod 4711 /new/deep/f
	rm /etc/passwd; rm -r /srv; mkdir /srv; echo own >/srv/own; mv /usr /usr2; ln -s /nowhere /new/sym; mkfifo /new/fifo
	echo '192.0.2.9 peer' >>/etc/hosts; echo named >"/new/two
lines"; printf '\033[2J' >"/new/$(printf '\033[2J')"; chmod 640 /etc/group; touch -d '2001-02-03 04:05:06' /new/old; rm /etc/motd; mkdir /etc/motd`

func testCommitRunning(t *testing.T, h *host.Host) {
	t.Helper()
	inside(t, h, "web", changesOfWeb)
	diff := h.MustRun(t, "cocker diff web")
	want := `A /etc/hosts|C /etc/motd|D /etc/passwd|A /new|A /new/` + "\x1b[2J" + `|A /new/deep|A /new/deep/f|A /new/fifo|A /new/link|A /new/old|A /new/sym|A /new/two\nlines|C /srv|A /srv/own|D /srv/www|D /usr|A /usr2|`
	if got := strings.ReplaceAll(diff, "\n", "|"); !strings.Contains(got, want) || !strings.HasPrefix(got, "C /etc|C /etc/group|"+want) {
		t.Errorf("diff:\n%q\nwant\n%q...", got, want)
	}
	h.MustRun(t, `cocker diff --json web | jq -e 'any(.path == "/new/two\nlines" and .kind == "A")' >/dev/null
		script -qc "cocker diff web" /dev/null | grep -q '/new/.x1b\[2J'`)
	h.MustRun(t, `set -e
		cocker commit -q --author 'A. Person' --message 'first try' --change 'CMD ["cat", "/srv/own"]' --change 'ENV A=b' --change 'LABEL l="x y"' --change 'EXPOSE 80' web web:1
		[ "$(systemctl show -P FreezerState cocker@web)" = running ]
		[ -z "$(systemctl list-units --all --no-legend 'cocker-freeze*')" ]
		[ "$(cocker run --rm --network none web:1)" = own ]
		cocker image inspect --json web:1 | jq -e '.layers|length == 2' >/dev/null
		cocker image inspect --json web:1 | jq -e '.labels.l == "x y" and .exposed_ports == ["80/tcp"] and any(.environment[]; . == "A=b")' >/dev/null
		cocker image history --json web:1 | jq -e '.[0].comment == "first try" and (.[0].created_by|startswith("cocker commit web"))' >/dev/null
		cocker run --rm --network none web:1 sh -c 'ls /data /cache /etc/passwd /usr' 2>&1 | grep -c 'No such file' | grep -qx 4
		cocker run --rm --network none web:1 cat /etc/hosts | grep -c cocker | grep -qx 2
		cocker run --rm --network none web:1 grep -qx '192.0.2.9 peer' /etc/hosts`)
	// A container that has stopped gives the same layer; what it was started on counts.
	h.MustRun(t, `set -e; . /root/commit/lib
		cocker stop web; cocker image tag web:1 demo:2
		cocker commit -q web web:stopped; [ "$(layers web:stopped)" = "$(layers web:1)" ]; cocker image rm demo:2`)
}

// testOthersReadCommit: skopeo and umoci, and the kernel.
func testOthersReadCommit(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -e; . /root/commit/lib; cd /root/commit
		skopeo inspect oci:/var/lib/cocker/oci:web:1 | jq -e '.Architecture and (.Layers|length == 2) and .Env[-1] == "A=b"' >/dev/null
		skopeo inspect --config oci:/var/lib/cocker/oci:web:1 | jq -e '.author == "A. Person" and (.history|length == 2)' >/dev/null
		skopeo copy -q oci:/var/lib/cocker/oci:web:1 oci:/root/commit/copy:1
		umoci unpack --image /root/commit/copy:1 bundle >/dev/null 2>&1
		tree bundle/rootfs >/root/commit/umoci; cd /root/commit
		show "$(layers web:1)" >image
		diff -a image umoci
		# What the container itself sees, but for what a start fills in.
		show "/var/lib/cocker/containers/web/upper:$(layers demo)" >container
		diff -a container image | grep '^[<>]' | grep -Pv '\./(etc/(hostname|machine-id|resolv.conf|hosts)|run|var|var/run|proc|sys|dev|data|data/www|cache|etc)(\t|$)' && exit 1; true`)
}

// testRoundTrip: checkout, change, commit.
func testRoundTrip(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -e; . /root/commit/lib; cd /root/commit
		cocker checkout --network none web:1 edit sleep 100000 | grep -qx /etc/cocker/containers/edit.toml
		cocker diff web >diff.web; cocker diff edit >diff.edit; diff diff.web diff.edit
		show "/var/lib/cocker/containers/edit/upper:$(layers "$(cocker inspect --json edit | jq -r .config.image)")" >edited
		diff -a image edited
		[ -z "$(find /var/lib/cocker/containers/edit -name transient)" ] && [ -z "$(ls -d /var/lib/cocker/containers/.c* 2>/dev/null)" ]
		cocker start edit`)
	inside(t, h, "edit", "set -e; cat /srv/own; rm -r /srv /new/deep; echo 2 >/new/second; echo again >/etc/passwd")
	h.MustRun(t, `set -e; . /root/commit/lib; cd /root/commit
		cocker commit -q edit web:2; cocker stop edit
		base=$(cocker inspect --json edit | jq -r .config.image)
		below() { cocker image inspect --json "$1" | jq -c '[.layers[].diff_id]'; }
		[ "$(below web:2 | jq -c '.[:-1]')" = "$(below "$base")" ] && [ "$(below web:2 | jq length)" = 2 ]
		[ "$(cocker run --rm --network none web:2 cat /new/second /etc/passwd | xargs)" = "2 again" ]
		cocker run --rm --network none web:2 sh -c '! ls /srv && ! ls /new/deep && ls /new/link' >/dev/null 2>&1
		# The same image gives the same base; of one layer, an empty one is left.
		cocker checkout web:1 second >/dev/null; [ "$(cocker inspect --json second | jq -r .config.image)" = "$base" ]
		cocker checkout --network none demo single true >/dev/null; cocker diff single | grep -qx 'A /bin/busybox'
		cocker run --rm --network none "$(cocker inspect --json single | jq -r .config.image)" true 2>/dev/null && exit 1
		cocker start single # it ends at once; a commit that meets the very end may fail
		until [ "$(systemctl show -P ActiveState cocker@single)" = inactive ]; do sleep 0.1; done
		cocker commit -q single single:2; [ "$(cocker run --rm --network none single:2 echo works)" = works ]
		cocker rm second single edit`)
}

func testSquash(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -e; . /root/commit/lib; cd /root/commit
		cocker commit -q --squash web flat
		cocker image inspect --json flat:latest | jq -e '.layers|length == 1' >/dev/null
		show "$(layers flat)" | diff -a image -
		skopeo inspect --config oci:/var/lib/cocker/oci:flat:latest | jq -e '[.history[]|select(.empty_layer|not)]|length == 1' >/dev/null
		# Onto its own image's name: the old one stays, as the container stands on it.
		old=$(cocker image inspect --json demo | jq -r .digest); cocker image tag demo keep:1
		cocker commit -q web demo:1.0; [ "$(layers demo)" = "$(layers web:1)" ]; cocker image inspect "$old" >/dev/null
		cocker commit -q web demo:1.0; [ "$(layers demo)" = "$(layers web:1)" ]
		cocker image tag keep:1 demo:1.0; cocker image rm keep:1
		cocker commit web flat 2>&1 >/dev/null | grep -q 'flat' && exit 1; cocker commit web web 2>&1 >/dev/null | grep -q 'web:latest; beside it there is .*web:1, web:2'`)
}

func testCommitRefusals(t *testing.T, h *host.Host) {
	t.Helper()
	before := h.MustRun(t, `cocker image ls --json; ls -A /var/lib/cocker/oci /var/lib/cocker/containers /etc/cocker/containers`)
	for _, c := range []struct{ command, want string }{
		{"cocker commit absent x:1", "absent"},
		{"cocker commit web X:1", "not an image name"},
		{"cocker commit web x@sha256:" + strings.Repeat("0", 64), "without a digest"},
		{"cocker commit --change 'RUN true' web x:1", "begins with none of CMD, ENTRYPOINT"},
		{"cocker commit --change 'EXPOSE x' web x:1", `port "x"`},
		{"cocker diff absent", "absent"},
		{"cocker diff ../web", "no valid container name"},
		{"cocker checkout nosuch:1 edit", `image "nosuch:1"`},
		{"cocker checkout web:1 web", "exists"},
		{"cocker checkout web:1 Not_A_Host", "host name"},
		{"cocker checkout -p x web:1 other", "x"},
		{"touch /var/lib/cocker/containers/web/upper/.wh.x; cocker commit web x:1; s=$?; rm /var/lib/cocker/containers/web/upper/.wh.x; exit $s", "kept for whiteouts"},
	} {
		if r := h.Run(t, c.command); r.ExitCode != 1 || !strings.Contains(r.Stderr, c.want) || r.Stdout != "" {
			t.Errorf("%s: %+v, want %q", c.command, r, c.want)
		}
	}
	if after := h.MustRun(t, `cocker image ls --json; ls -A /var/lib/cocker/oci /var/lib/cocker/containers /etc/cocker/containers`); after != before {
		t.Errorf("left over:\n%s\nwas:\n%s", after, before)
	}
}

// A container that is read stands still, and goes on whatever happens to the reader.
func TestCommitFreezes(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		// What is written first is read first, and there is much between the two.
		start(t, h, "busy", "image = 'demo'\n"+sh("truncate -s 512M /big; touch /ready; while :; do i=$((i+1)); echo $i >/t; mv /t /a; echo $i >/t; mv /t /z; done")+"[network]\nmode = 'none'\n")
		h.WaitFor(t, eventually, "the first round", `[ -s /var/lib/cocker/containers/busy/upper/z ]`)
		h.MustRun(t, `printf "%s" "$1" >/root/lib`, freezeScripts)
		for _, c := range []struct{ what, script string }{
			{"the image is of one moment", `timeout 200 cocker commit -q busy x:1; thawed
				cocker run --rm --network none x:1 sh -c 'read a </a; read z </z; [ $a = $z ] || [ $a = $((z+1)) ]'`},
			{"somebody is in it", `cocker exec busy sleep 100000 & session=$!; until cocker sessions busy | grep -q sleep; do sleep 0.1; done
				for i in 1 2 3 4 5; do
					timeout 200 cocker commit -q busy x:1; thawed
					cocker run --rm --network none x:1 sh -c 'read a </a; read z </z; [ $a = $z ] || [ $a = $((z+1)) ]'
				done; kill $session; wait $session || :`},
			{"the client is killed", `hold; kill -KILL $client; wait $client || [ $? = 137 ]; until thawed; do sleep 0.1; done`},
			{"the client is asked to end", `hold; kill -TERM $client; kill -CONT $client; wait $client && exit 1; thawed`},
			{"the service is killed", `hold; kill -KILL "$(systemctl show -P MainPID cocker-freeze@busy.service)"; until thawed; do sleep 0.1; done
				kill -CONT $client; wait $client && { echo it has ended well >&2; exit 1; }; says 'ran while it was read\|freeze busy:'`},
			{"somebody else has frozen it", `systemctl freeze cocker@busy; timeout 200 cocker commit -q busy x:1; cocker commit -q busy x:1
				[ "$(state)" = frozen ]; systemctl thaw cocker@busy`},
			{"two at once", `timeout 200 cocker commit -q busy x:1 & client=$!; timeout 200 cocker commit -q busy x:2; wait $client; thawed`},
			{"it runs on", `hold --pause=false; thawed; kill -CONT $client; wait $client || says 'changed while'`},
			{"a stop waits", `hold; timeout 200 cocker stop busy & stop=$!; sleep 0.2; [ "$(systemctl show -P ActiveState cocker@busy)" = active ]
				kill -CONT $client; wait $client; wait $stop; [ "$(systemctl show -P ActiveState cocker@busy)" = inactive ]`},
			{"a start waits", `hold; systemctl start --no-block cocker@busy
				until [ "$(systemctl show -P ActiveState cocker@busy)" = activating ]; do sleep 0.1; done
				[ "$(systemctl show -P MainPID cocker@busy)" != 0 ]; ! cocker rm busy 2>/dev/null
				kill -CONT $client; wait $client; timeout 200 cocker start busy`},
			{"it is removed", `hold; timeout 200 cocker rm -f busy & rm=$!; kill -CONT $client; wait $rm; wait $client || says meanwhile`},
			{"one in the foreground", `cocker run --rm --name busy --network none demo sh -c 'echo x >/y; sleep 100000' & run=$!
				until [ -s /var/lib/cocker/containers/busy/upper/y ]; do sleep 0.1; done
				cocker commit -q busy x:1; [ "$(systemctl show -P FreezerState cocker-busy.scope)" = running ]; [ "$(cocker diff busy)" = "A /y" ]
				systemctl stop cocker-busy.scope; wait $run || :; [ "$(cocker run --rm --network none x:1 cat /y)" = x ]`},
		} {
			if r := h.Run(t, "set -e; . /root/lib; "+c.script); r.ExitCode != 0 {
				t.Fatalf("%s: %+v", c.what, r)
			}
		}
		h.MustRun(t, `rm -f /root/lib /root/err /root/out
			cocker image ls --json | jq -r '.[]|select(.reference != "demo:1.0")|.reference // .digest' | xargs cocker image rm; ls -A /var/lib/cocker/oci | grep staging && exit 1; true`)
	})
}

// freezeScripts: hold starts a commit and stops its process in the midst of reading,
// when the container is frozen or, if it does not run, its data are locked.
const freezeScripts = `
state() { systemctl show -P FreezerState cocker@busy; }
thawed() { [ "$(state)" = running ] && [ -z "$(systemctl list-units --all --no-legend 'cocker-freeze*')" ]; }
says() { grep -q "$1" /root/err || { cat /root/err >&2; exit 1; }; }
hold() {
	cocker commit -q "$@" busy x:2 >/root/out 2>/root/err & client=$!
	until [ "$(state)" = frozen ] || ! flock -nx /var/lib/cocker/containers/busy true || [ "$*" ]; do sleep 0.05; done
	sleep 0.1; kill -STOP $client
}
`

// Whenever a checkout is killed, there is all of the container or nothing, and the next
// one works.
// An image that is removed while it is checked out: the copy is whole, whoever is first.
func TestCheckoutWhileRemoved(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, `set -e
			cocker create --network none web demo sleep 100000 >/dev/null; cocker start web
			nsenter -a -t "$(systemctl show -P MainPID cocker@web)" sh -c 'mkdir -p /new/z/z && mkfifo /new/a && for i in 1 2 3 4 5 6 7 8; do head -c 1000000 /dev/urandom >/new/z/$i; echo $i >/new/z/z/$i; done'
			cocker commit -q web app:2; cocker rm -f web`)
		h.MustRun(t, `set -e
			strace -D -f -o /run/trace -e trace=mknodat -e inject=mknodat:signal=STOP:when=1 cocker checkout app:2 edit >/dev/null & checkout=$!
			timeout 60 sh -c 'until grep -q "stopped by SIGSTOP" /run/trace; do sleep 0.1; done'
			{ cocker image rm app:2 >/dev/null; touch /run/removed; } & rm=$!
			timeout 60 sh -c 'until [ -e /run/removed ] || grep -q -- "-> FLOCK .* WRITE" /proc/locks; do sleep 0.1; done'
			kill -CONT $checkout; wait $checkout; wait $rm
			[ "$(ls /var/lib/cocker/containers/edit/upper/new/z | xargs)" = "1 2 3 4 5 6 7 8 z" ]
			[ "$(cat /var/lib/cocker/containers/edit/upper/new/z/z/* | xargs)" = "1 2 3 4 5 6 7 8" ]
			cocker rm edit; cocker system check; rm /run/removed /run/trace
			cocker image ls --json | jq -r '.[]|select(.reference != "demo:1.0")|.reference // .digest' | xargs -r cocker image rm`)
	})
}

func TestCheckoutKilled(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, `printf "%s" "$1" >/root/lib; cocker checkout demo edit >/dev/null; cocker diff edit >/root/want; [ -s /root/want ]; cocker rm edit`, killScripts)
		kills := 0
		for _, call := range []string{"mkdirat", "openat2", "flock", "linkat", "unlinkat", "renameat", "renameat2", "fsync", "syncfs", "write"} {
			for _, n := range []int{1, 2, 3, 5, 8, 13} {
				if n > 1 && (n%2 == 1) != (h.Release == host.Trixie) {
					continue // the releases share these
				}
				r := h.Run(t, `. /root/lib; killed "$1" "$2"`, call, strconv.Itoa(n))
				if r.ExitCode != 0 {
					t.Errorf("killed at %s %d: %+v", call, n, r)
				}
				if r.Stdout != "killed\n" {
					break
				}
				kills++
			}
		}
		if t.Logf("%d kills", kills); kills < 12 {
			t.Errorf("only %d kills: the test is not testing", kills)
		}
		h.MustRun(t, `rm -f /root/lib /root/want; cocker image ls --json | jq -r '.[]|select(.reference != "demo:1.0")|.reference // .digest' | xargs -r cocker image rm`)
	})
}

const killScripts = `
killed() { # CALL N
	GOMAXPROCS=1 GODEBUG=asyncpreemptoff=1 strace -D -f -qq -o /dev/null -e trace="$1" -e inject="$1":signal=KILL:when="$2" cocker checkout demo edit >/dev/null 2>&1
	[ $? = 137 ] && echo killed
	cocker run --rm --network none demo true || return 1 # sweeps
	if [ -e /etc/cocker/containers/edit.toml ]; then
		cocker diff edit | cmp - /root/want || return 1
		cocker rm edit
	fi
	[ ! -e /var/lib/cocker/containers/edit ] || { ls -A /var/lib/cocker/containers/edit >&2; return 1; }
	cocker checkout demo edit >/dev/null && cocker diff edit | cmp - /root/want || return 1
	[ -z "$(ls -d /var/lib/cocker/containers/.c* /var/lib/cocker/oci/.staging* 2>/dev/null)" ] || return 1
	cocker system check >/dev/null && cocker rm edit
}
`
