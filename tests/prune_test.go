package tests

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// age makes the last use of images as old as touch(1) understands.
func age(t *testing.T, h *host.Host, when string, images ...string) {
	t.Helper()
	for _, image := range images {
		h.MustRun(t, `touch -d "$2" "/var/lib/cocker/oci/blobs/sha256/$(cocker image ls --json | jq -r --arg name "$1" '.[] | select(.reference == $name).digest' | cut -d: -f2)"`, image, when)
	}
}

// usedNow are those of some images that were used in the last hour.
func usedNow(t *testing.T, h *host.Host, images ...string) string {
	t.Helper()
	var used []string
	for _, image := range images {
		if h.MustRun(t, `find "/var/lib/cocker/oci/blobs/sha256/$(cocker image ls --json | jq -r --arg name "$1" '.[] | select(.reference == $name).digest' | cut -d: -f2)" -mmin -60`, image) != "" {
			used = append(used, image)
		}
	}
	return strings.Join(used, " ")
}

// prune runs "cocker image prune" and returns what went, and what that has freed.
func prune(t *testing.T, h *host.Host, options string) (images string, freed int64) {
	t.Helper()
	var result struct {
		Images []struct{ Reference, Digest string }
		Freed  int64
	}
	if err := json.Unmarshal([]byte(h.MustRun(t, "cocker image prune --json "+options)), &result); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range result.Images {
		if i.Reference == "" {
			i.Reference = "nameless"
		}
		names = append(names, i.Reference)
	}
	return strings.Join(names, " "), result.Freed
}

func wantPruned(t *testing.T, h *host.Host, options, want string) {
	t.Helper()
	if got, _ := prune(t, h, options); got != want {
		t.Errorf("cocker image prune %s: %q goes, want %q", options, got, want)
	}
}

func wantChecked(t *testing.T, h *host.Host) {
	t.Helper()
	if r := h.Run(t, "cocker system check --deep"); r.ExitCode != 0 {
		t.Errorf("cocker system check --deep: %d\n%s%s", r.ExitCode, r.Stdout, r.Stderr)
	}
}

// Images go by their last use, but for what a file names, what runs, and what a writable
// layer stands on.
func TestPruneImages(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		for _, image := range []string{"app:1", "app:2", "app:10", "tool:1"} {
			importTree(t, h, image, "mkdir d; head -c 300000 /dev/urandom >d/"+strings.ReplaceAll(image, ":", "-"))
		}
		age(t, h, "30 days ago", "app:1", "app:2", "app:10", "tool:1")
		wantPruned(t, h, "--dry-run", "")
		wantPruned(t, h, "--dry-run --older-than 168h", "app:1 app:2 app:10 tool:1")
		wantPruned(t, h, "--dry-run --older-than 31d", "")
		wantPruned(t, h, "--dry-run --older-than 168h --keep 1", "app:1 app:2")
		wantPruned(t, h, "--dry-run --keep 2", "app:1")

		// A start is a use of each image in the list, and a file keeps what it names.
		start(t, h, "web", "images = ['demo', 'app:2', 'tool']\n"+sh("echo mine >/d/mine; sleep 100000"))
		if got := usedNow(t, h, "app:1", "app:2", "app:10", "tool:1"); got != "app:2 tool:1" {
			t.Errorf("used: %q, want the images of the container", got)
		}
		age(t, h, "30 days ago", "app:2", "tool:1")
		wantPruned(t, h, "--dry-run --older-than 168h", "app:1 app:10")

		// Who has lost its name stays while a container runs on it, while something stands
		// on it that a container wrote, and no longer.
		importTree(t, h, "app:2", "mkdir d; echo new >d/new")
		wantPruned(t, h, "", "")
		h.MustRun(t, "cocker stop web")
		wantPruned(t, h, "", "")
		h.MustRun(t, "cocker rm --keep-data web")
		wantPruned(t, h, "--dry-run --older-than 168h", "app:1 app:10")
		h.MustRun(t, "cocker rm web")
		wantPruned(t, h, "--dry-run", "nameless")

		before, _ := strconv.ParseInt(h.MustRun(t, "du -s --block-size=1 /var/lib/cocker | cut -f1"), 10, 64)
		_, planned := prune(t, h, "--dry-run --older-than 168h --keep 1")
		gone, freed := prune(t, h, "--older-than 168h --keep 1")
		after, _ := strconv.ParseInt(h.MustRun(t, "du -s --block-size=1 /var/lib/cocker | cut -f1"), 10, 64)
		if gone != "nameless app:1" || freed != planned || before-after < freed-64<<10 || before-after > freed+64<<10 {
			t.Errorf("%q went; %d bytes were planned, %d told, %d freed", gone, planned, freed, before-after)
		}
		if left := h.MustRun(t, "cocker image ls --json | jq -r '.[].reference' | xargs"); left != "app:2 app:10 demo:1.0 tool:1" {
			t.Errorf("left: %s", left)
		}
		wantChecked(t, h)

		// A file that does not say what it needs may need anything.
		declare(t, h, map[string]string{"bad": "image = 'app:2\n"})
		if r := h.Run(t, "cocker image prune --all"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "nobody knows what container bad needs") {
			t.Errorf("beside a bad file: %d %s", r.ExitCode, r.Stderr)
		}
		declare(t, h, map[string]string{"bad": "image = 'app:2'\nhostname = 5\n"})
		if got, _ := prune(t, h, "--all --dry-run"); strings.Contains(got, "app:2") || !strings.Contains(got, "app:10") {
			t.Errorf("beside a file with another mistake: %q", got)
		}
	})
}

// What is damaged is found and mended, and no image loses its name.
func TestSystemCheck(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTree(t, h, "app:1", "echo app >own; setcap cap_net_raw+ep own 2>/dev/null; setfattr -n user.note -v x own; ln own again; mkdir d; chown 33:44 d")
		wantChecked(t, h)
		layer := h.MustRun(t, "cocker image inspect app:1 --json | jq -r '.layers[0].directory'")
		check := func(damage, found string, left int, remark string) {
			t.Helper()
			h.MustRun(t, `cd "$1"; eval "$2"`, layer, damage)
			if r := h.Run(t, "cocker system check --deep"); r.ExitCode != 1 || !strings.Contains(r.Stdout, found) {
				t.Errorf("%s: %d %s, want %q", damage, r.ExitCode, r.Stdout, found)
			}
			if r := h.Run(t, "cocker system check --deep --repair"); r.ExitCode != left || !strings.Contains(r.Stdout, remark) {
				t.Errorf("%s, repair: %d %s%s", damage, r.ExitCode, r.Stdout, r.Stderr)
			}
			if got := output(t, h, "look", "images = ['demo', 'app:1']\n"+sh("cat /own; stat -c %u:%g:%h /d /own")); got != "app\n33:44:2\n0:0:2" {
				t.Errorf("%s: after the repair the container sees %q", damage, got)
			}
			h.MustRun(t, "cocker rm look")
		}
		check("echo more >>own", "it has 9 bytes, not 4", 0, "(repaired)")
		check("touch own", "its time of modification is another one", 0, "(repaired)")
		check("setfattr -x user.note own", "extended attributes", 0, "(repaired)")
		check("chmod u+s own", "type and mode", 0, "(repaired)")
		check("then=$(stat -c %y .); rm again; cp -a own again; touch -d \"$then\" .", "it has 1 hard links, not 2", 0, "(repaired)")
		check("cd ..; rm -r $OLDPWD", "it is not unpacked", 0, "(repaired)")
		check("rm /var/lib/cocker/names/app:1", "it is missing", 0, "(repaired)")
		// A blob cannot be made again; the image runs without.
		check(`echo x >>/var/lib/cocker/oci/blobs/sha256/"$(cocker image inspect app:1 --json | jq -r '.layers[0].digest' | cut -d: -f2)"`,
			"its content has another digest", 1, "import or commit app:1 again")
		h.MustRun(t, "cocker image rm app:1")
		if got := h.MustRun(t, "cocker system prune --json | jq -r '.removed[].kind'; ls -d /var/lib/cocker/quarantine 2>&1 || :"); !strings.HasPrefix(got, "quarantine\nls: cannot access") {
			t.Errorf("system prune removed %q", got)
		}
		wantChecked(t, h)
	})
}

// What is of no use to anybody goes; data goes when somebody says so.
func TestSystemPrune(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		swept := func(options string) string {
			t.Helper()
			return h.MustRun(t, `cocker system prune --json `+options+` | jq -r '[.removed[] | .kind + " " + (.name // "")] + ["|"] + [.kept[] | .kind + " " + .name] | map(rtrimstr(" ")) | join(" ")'`)
		}
		disk := func(what, column string) int {
			t.Helper()
			n, err := strconv.Atoi(h.MustRun(t, `cocker system df --json | jq -r --arg what "$1" --arg column "$2" '.[] | select(.kind == $what) | .[$column]'`, what, column))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		h.MustRun(t, `mkfifo /root/pipe; exec 7<>/root/pipe; head -c 200000 /dev/zero | tar -c --transform s,dev/fd/,, -f /root/half /etc 2>/dev/null
			head -c 40000 /root/half >&7 & cocker image import - half:1 </root/pipe 2>/dev/null & import=$!
			timeout 60 sh -c 'until ls /var/lib/cocker/layers/.staging-*/0/etc >/dev/null 2>&1; do sleep 0.1; done'
			kill -9 $import; wait $import 2>/dev/null; rm /root/pipe /root/half`)
		if n := disk("staging", "reclaimable"); n == 0 {
			t.Error("a killed import has left nothing: the test is not testing")
		}
		h.MustRun(t, "mkdir -p /var/lib/cocker/layers/sha256/"+strings.Repeat("0", 64)+"/d")
		if got := h.Run(t, "cocker system check").Stdout; !strings.Contains(got, "leftover") || !strings.Contains(got, "no image needs it") {
			t.Errorf("check: %s", got)
		}
		start(t, h, "web", "image = 'demo'\n"+sh("head -c 1000000 /dev/zero | tr '\\0' x >/file; echo data >/data/file; sleep 100000")+"[[mount]]\ntype = 'volume'\nsource = 'used'\ntarget = '/data'\n")
		h.MustRun(t, "cocker volume create unused")
		h.WaitFor(t, eventually, "the container's file", "[ -s /var/lib/cocker/volumes/used/data/file ]")
		if got := swept("--dry-run"); got != "leftovers strays | volume unused" {
			t.Errorf("would go | kept: %s", got)
		}
		if got := swept(""); got != "leftovers strays | volume unused" {
			t.Errorf("went | kept: %s", got)
		}
		if n := disk("staging", "size"); n != 0 {
			t.Errorf("staging: %d bytes", n)
		}
		wantChecked(t, h)
		for kind, path := range map[string]string{"images": "oci/blobs/sha256/*", "layers": "layers/sha256/*", "containers": "containers/*", "volumes": "volumes/*"} {
			if du := h.MustRun(t, "du -sc --block-size=1 /var/lib/cocker/"+path+" | tail -1 | cut -f1"); du != strconv.Itoa(disk(kind, "size")) {
				t.Errorf("%s: df says %d, du %s", kind, disk(kind, "size"), du)
			}
		}
		// Not what runs, not even without its file; not what a file names.
		if got := swept("--containers --volumes --dry-run"); got != "volume unused |" {
			t.Errorf("beside a container that runs: %s", got)
		}
		h.MustRun(t, "mv /etc/cocker/containers/web.toml /root; systemctl daemon-reload")
		if got := swept("--containers --volumes --dry-run"); got != "volume unused |" {
			t.Errorf("beside a container that runs without its file: %s", got)
		}
		h.MustRun(t, "cocker stop web")
		if got := swept(""); got != "| container web volume unused volume used" {
			t.Errorf("without options went | kept: %s", got)
		}
		h.MustRun(t, "mv /root/web.toml /etc/cocker/containers; systemctl daemon-reload")
		if got := swept("--containers --volumes"); got != "volume unused |" {
			t.Errorf("beside the file of a container: %s", got)
		}
		h.MustRun(t, "rm /etc/cocker/containers/web.toml; systemctl daemon-reload")
		if got := swept("--containers --volumes"); got != "container web volume used |" {
			t.Errorf("without a file went | kept: %s", got)
		}
		if got := h.MustRun(t, "ls /var/lib/cocker/containers /var/lib/cocker/volumes | xargs"); got != "/var/lib/cocker/containers: /var/lib/cocker/volumes:" {
			t.Errorf("left: %s", got)
		}
	})
}

// The timer is off until somebody turns it on, and its options are the administrator's.
func TestPruneTimer(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		if got := h.MustRun(t, "systemctl is-enabled cocker-prune.timer; systemctl preset cocker-prune.timer; systemctl is-enabled cocker-prune.timer; :"); got != "disabled\ndisabled" {
			t.Errorf("after the installation: %q", got)
		}
		importTree(t, h, "old:1", "echo 1 >1")
		importTree(t, h, "old:2", "echo 2 >2")
		age(t, h, "30 days ago", "old:1", "old:2")
		h.MustRun(t, "systemctl enable --now cocker-prune.timer")
		if got := h.MustRun(t, "systemctl show -P NextElapseUSecRealtime cocker-prune.timer; systemctl show -P Persistent cocker-prune.timer"); !strings.HasSuffix(got, "\nyes") || strings.HasPrefix(got, "\n") {
			t.Errorf("the timer: %q", got)
		}
		h.MustRun(t, "systemctl start cocker-prune.service")
		left := func() string { return h.MustRun(t, "cocker image ls --json | jq -r '.[].reference' | xargs") }
		if got := left(); got != "demo:1.0 old:2" {
			t.Errorf("after a week: %s", got)
		}
		h.WriteFile(t, "/etc/systemd/system/cocker-prune.service.d/options.conf", "[Service]\nEnvironment=PRUNE_OPTIONS=--older-than=7d\n", 0o644)
		h.MustRun(t, "systemctl daemon-reload; systemctl start cocker-prune.service")
		if got := left(); got != "demo:1.0" {
			t.Errorf("with other options: %s", got)
		}
		if r := h.Run(t, "cocker run -d --name prune demo true"); r.ExitCode != 125 || !strings.Contains(r.Stderr, "cocker-prune.service is a unit of cocker itself") {
			t.Errorf("a container called prune: %d %s", r.ExitCode, r.Stderr)
		}
		h.MustRun(t, "systemctl disable --now cocker-prune.timer; rm -r /etc/systemd/system/cocker-prune.service.d /var/lib/systemd/timers/stamp-cocker-prune.timer; systemctl daemon-reload")
	})
}

// Imports that take names away, a prune, and starts, all at once: each start finds the
// whole of an image.
func TestPruneBesideStarts(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, `set -e
			make() { d=$(mktemp -d); mkdir $d/own; head -c 100000 /dev/urandom >$d/own/data; (cd $d/own && sha256sum data >sum); cocker image import $d moving:now >/dev/null; rm -r $d; }
			make; : >/root/go
			(while [ -e /root/go ]; do make || echo import >>/root/failed; done) & imports=$!
			(while [ -e /root/go ]; do cocker image prune >>/root/pruned 2>>/root/failed || echo prune >>/root/failed; done) & prunes=$!
			for n in $(seq 12); do
				timeout 120 cocker run --rm --network none demo true || echo demo >>/root/failed
				printf 'images = ["demo", "moving:now"]\ncommand = ["sh", "-c", "cd /own && sha256sum -c sum && sha256sum -c sum"]\n[network]\nmode = "none"\n' >/root/both.toml
				mv /root/both.toml /etc/cocker/containers
				timeout 120 systemctl start --wait cocker@both || echo start >>/root/failed
			done
			rm /root/go; wait $imports $prunes`)
		if failed := h.MustRun(t, "cat /root/failed 2>/dev/null || :"); failed != "" {
			t.Errorf("failed:\n%s", failed)
		}
		if n := h.MustRun(t, "grep -c '^removed' /root/pruned"); n == "0" {
			t.Error("nothing was pruned: the test is not testing")
		}
		h.MustRun(t, "rm -f /root/failed /root/pruned; cocker rm both; cocker image prune")
		wantChecked(t, h)
	})
}

// A unit that somebody has started by a name that no container has is nothing that cocker
// lists; what systemd remembers of it can be removed.
func TestFailedUnitOfNothing(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "! systemctl start cocker@typo 2>/dev/null && systemctl is-failed cocker@typo")
		if got := h.MustRun(t, "cocker ps -a --json | jq length"); got != "0" {
			t.Errorf("cocker ps -a lists %s containers", got)
		}
		h.MustRun(t, "cocker rm typo && ! systemctl is-failed cocker@typo")
		if r := h.Run(t, "cocker rm typo"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "typo") {
			t.Errorf("once more: %d %s", r.ExitCode, r.Stderr)
		}
	})
}

// A commit that is killed at one of its steps, and the clean-up after it: the container
// goes on, the image is the old one or the new one, and a repair leaves nothing.
func TestCommitKilled(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "web", "image = 'demo'\n"+sh("sleep 100000")+"[network]\nmode = 'none'\n")
		h.MustRun(t, "cocker commit -q web app:1")
		killed := 0
		for _, call := range []string{"mkdirat", "syncfs", "fsync", "renameat", "unlinkat"} {
			for _, step := range []string{"1", "2", "4"} {
				inside(t, h, "web", "echo "+call+step+" >>/changed")
				r := h.Run(t, `GOMAXPROCS=1 GODEBUG=asyncpreemptoff=1 timeout 100 strace -f -qq -o /dev/null -e trace="$1" -e inject="$1:signal=KILL:when=$2" cocker commit -q web app:1`, call, step)
				if r.ExitCode != 0 {
					killed++
				}
				h.WaitFor(t, eventually, "the container to go on", `[ "$(systemctl show -P FreezerState cocker@web)" = running ]`)
				if r := h.Run(t, "cocker system check --repair && cocker image inspect app:1 >/dev/null && cocker system check"); r.ExitCode != 0 {
					t.Errorf("killed at %s %s: %s%s", call, step, r.Stdout, r.Stderr)
				}
				h.MustRun(t, "cocker image prune >/dev/null")
			}
		}
		if killed < 5 {
			t.Errorf("killed %d times only", killed)
		}
		t.Logf("killed %d times", killed)
		h.MustRun(t, "cocker commit -q web app:1")
		if got := h.MustRun(t, "cocker run --rm --network none app:1 cat /changed | wc -l"); got != "15" {
			t.Errorf("the last commit has %s changes, want 15", got)
		}
		h.MustRun(t, "cocker rm -f web; cocker image prune; cocker image rm app:1")
		wantChecked(t, h)
	})
}
