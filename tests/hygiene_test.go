package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// attempt is one line of what tests/probe reports.
type attempt struct{ Name, Result, Detail string }

// buildProbe builds tests/probe once.
var buildProbe = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "probe")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "./probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the probe: %w\n%s", err, out)
	}
	return os.ReadFile(path)
})

// withProbe puts the probe at /srv/probe of the host and makes the image probe:1, which has
// nothing but it.
func withProbe(t *testing.T, h *host.Host) {
	t.Helper()
	program, err := buildProbe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := h.Command(context.Background(), "/bin/sh", "-c", "mkdir -p /srv && cat >/srv/probe && chmod 755 /srv/probe")
	if r, err := cmd.Exec(bytes.NewReader(program)); err != nil || r.ExitCode != 0 {
		t.Fatalf("copy the probe: %v%s", err, r.Stderr)
	}
	importTree(t, h, "probe:1", "cp /srv/probe probe")
}

// probed is what a script that runs the probe in a container prints.
func probed(t *testing.T, h *host.Host, script string, args ...string) map[string]attempt {
	t.Helper()
	text := h.MustRun(t, script, args...)
	var all []attempt
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) < 80 {
		t.Fatalf("%v in %d lines of the probe:\n%s", err, len(all), text)
	}
	byName := map[string]attempt{}
	for _, a := range all {
		byName[a.Name] = a
	}
	return byName
}

// Whoever starts a container has an environment, descriptors, a keyring and mounts. None of
// it is the container's.
func TestNothingOfTheHostReachesTheContainer(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		withProbe(t, h)
		if own := probed(t, h, "exec /srv/probe with-key of-the-host /srv/probe canary of-the-host"); own["read a key of who started the container"].Result != "allowed" {
			t.Error("the test is not testing: who has the key does not find it")
		}
		for _, init := range inits {
			got := probed(t, h, `echo secret >/srv/file; exec 7<>/srv/file 8</ 9</etc/shadow; COCKER_CANARY=secret CREDENTIALS_DIRECTORY=/srv \
				/srv/probe with-key of-the-host /usr/bin/cocker run --rm --init "$1" probe:1 /probe canary of-the-host`, init)
			for name, want := range map[string]string{
				"user namespace": "its own", "descriptors beside 0, 1 and 2": "none", "paths of the host in the mount table": "0",
				"processes of others seen": "0", "CapInh": "0", "CapAmb": "0", "network links": "eth0 lo",
				"read a key of who started the container": "refused",
			} {
				if got[name].Result != want {
					t.Errorf("init %s: %s: %+v, want %s", init, name, got[name], want)
				}
			}
			for _, no := range []string{"COCKER", "CREDENTIALS", "SHELL", "INVOCATION", "JOURNAL", "LISTEN", "NOTIFY", "GO"} {
				if strings.Contains(got["environment"].Result, no) {
					t.Errorf("init %s: the environment is %s", init, got["environment"].Result)
				}
			}
		}
		// What the caller has as a standard descriptor is the container's, but for a directory.
		for _, words := range []string{"-i demo true </", "--init none -i demo true </", "demo true 2</", "-i demo true 0</srv 2>&0"} {
			if r := h.Run(t, "cocker run --rm "+words); r.ExitCode != 125 || !strings.Contains(words, "2") && !strings.Contains(r.Stderr, "the standard input is a directory") {
				t.Errorf("cocker run --rm %s: %+v", words, r)
			}
		}
		declare(t, h, map[string]string{"unit": "image = 'demo'\ncommand = ['true']\n[service]\nStandardInput = 'file:/srv'\n"})
		if r := h.Run(t, "timeout 60 systemctl start cocker@unit"); r.ExitCode == 0 {
			t.Error("a unit with a directory as its standard input starts")
		}
		h.MustRun(t, "systemctl reset-failed cocker@unit")
		// The filter refuses the calls for keys; the key is not there either.
		for _, init := range inits {
			const key = "read a key of who started the container"
			got := probed(t, h, `/srv/probe with-key of-the-host /usr/bin/cocker run --rm --init "$1" --seccomp none probe:1 /probe canary of-the-host`, init)
			if got["seccomp filter"].Result != "off" || !strings.Contains(got[key].Detail, "there is none") {
				t.Errorf("init %s, without a filter (%s): %+v", init, got["seccomp filter"].Result, got[key])
			}
		}
		// Nor is it PID 1's, where a root of the container that can trace would find it.
		start(t, h, "quiet", "image = 'demo'\n"+sh("sleep 100000"))
		variables := h.MustRun(t, `tr '\0' '\n' </proc/"$1"/environ | sed 's/=.*//' | sort | xargs`, mainPID(t, h, "quiet"))
		for _, variable := range strings.Fields(variables) {
			if !slices.Contains([]string{"COCKER_INIT_PLAN", "COCKER_INIT_VIEW", "GOGC", "GOMAXPROCS"}, variable) {
				t.Errorf("PID 1 has %s", variable)
			}
		}
	})
}

// open is what the probe may do: what a container needs, and what ends at its namespaces.
// Everything else is refused, or is not there.
var open = map[string]string{
	"chroot":                "a capability that images use; its own root is the container's",
	"ptrace of a child":     "debuggers",
	"process_vm_readv":      "debuggers; of processes of the same user",
	"a socket of AF_ALG":    "cryptography of the kernel, where it has that",
	"a socket of AF_PACKET": "its own network",
	"a raw socket":          "ping",
	"read /proc/1/fd":       "numbers only; where they lead is refused",
	"write /proc/1/mem":     "without an init of cocker's PID 1 is the command itself",
	"read /proc/1/environ":  "as /proc/1/mem",
}

// What the defaults keep a container from, tried from inside with the real system calls.
func TestDefaultsAreTried(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		withProbe(t, h)
		for _, init := range inits {
			for name, a := range probed(t, h, `cocker run --rm --init "$1" probe:1 /probe`, init) {
				if a.Result == "allowed" && open[name] == "" {
					t.Errorf("init %s: %s is allowed", init, name)
				}
			}
		}
	})
}

// CVE-2024-21626: a working directory that is a descriptor of who starts the container, by
// the file, by a link of the image, and of a session.
func TestWorkDirStaysInside(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		unchanged := canary(t, h)
		importTree(t, h, "leads:1", `mkdir bin && cp /usr/bin/busybox bin/ && for p in sh stat cat sleep; do ln -s busybox bin/$p; done
			for n in 0 1 2 3 4 5 6 7 8 9 10 11 12; do ln -s /proc/self/fd/$n w$n; done; ln -s /proc/1/cwd one; ln -s /proc/1/root/.. two`)
		// Whatever the command starts in is on the container's own file systems, and leads up to its root.
		const look = `case $(stat -f -c %t .) in 794c7630|9fa0|1021994) ;; *) echo OUTSIDE $(stat -f -c %t .);; esac
			cat srv/canary/file ../srv/canary/file ../../../../../srv/canary/file ../../../../../../../../srv/canary/file 2>/dev/null && echo OUTSIDE; echo looked`
		start(t, h, "asked", "image = 'leads:1'\n"+sh("sleep 100000"))
		for _, init := range inits {
			got := h.MustRun(t, `cd /srv/canary; exec 7</ 8</srv/canary 9</srv
				for dir in $(seq -f /proc/self/fd/%g 0 14) $(seq -f /w%g 0 12) /proc/self/cwd /proc/1/cwd /one /two; do
					echo "== $dir"; cocker run --rm --init "$1" --workdir $dir leads:1 sh -c "$2" 2>&1; cocker exec --workdir $dir asked sh -c "$2" 2>&1; done; :`, init, look)
			if strings.Contains(got, "OUTSIDE") {
				t.Errorf("init %s:\n%s", init, got)
			}
			if !strings.Contains(got, "looked") || !strings.Contains(got, "outside of the container") {
				t.Errorf("init %s: the test is not testing:\n%s", init, got)
			}
		}
		unchanged()
	})
}

// CVE-2019-5736: the host's programs that run in a container, or that its PID 1 has open,
// are on read-only mounts: it is not up to the ids of the container alone. Root of the host
// itself cannot write them there.
func TestHostProgramsAreReadOnly(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		for _, init := range inits {
			name := "programs-" + init
			start(t, h, name, "image = 'demo'\ninit = '"+init+"'\n"+sh("sleep 100000"))
			got := h.MustRun(t, `for f in /proc/$1/exe /proc/$1/fd/*; do
				[ -f $f ] || continue; case $(readlink $f) in /memfd:*|/dev/*) continue;; esac; [ -w $f ] && echo "$f $(readlink $f)"; done; :`, mainPID(t, h, name))
			if init == "cocker" && got != "" {
				t.Errorf("root could write what PID 1 has:\n%s", got)
			}
			if init == "none" && strings.Contains(got, "/fd/") {
				t.Errorf("root could write what PID 1 has open:\n%s", got)
			}
		}
		if got := h.MustRun(t, `[ -w /usr/libexec/cocker/cocker-init ] && [ -w /usr/bin/busybox ] && echo writable`); got != "writable" {
			t.Error("the test is not testing: the programs cannot be written anyway")
		}
	})
}

// What an image has below /dev, /proc, /sys and /run is covered, and nothing of it is
// followed, written or taken for the kernel's (CVE-2025-31133, -52565, -52881).
func TestImageReplacesKernelFiles(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		unchanged := canary(t, h)
		importTree(t, h, "fakes:1", `mkdir -p dev proc/self/attr proc/self/task proc/1 proc/sys/net/ipv4 proc/sys/kernel/random proc/sys/user sys/fs run
			for f in null console tty full zero ptmx kmsg; do ln -s /srv/canary/file dev/$f; done
			for d in pts shm mqueue fd; do ln -s /srv/canary/sub dev/$d; done
			for f in proc/self/comm proc/self/uid_map proc/self/attr/exec proc/1/comm proc/sysrq-trigger proc/kcore proc/keys proc/sys/net/ipv4/ip_unprivileged_port_start \
				proc/sys/net/ipv4/ping_group_range proc/sys/kernel/core_pattern proc/sys/kernel/random/boot_id proc/sys/user/max_cgroup_namespaces; do ln -s /srv/canary/file $f; done
			ln -s /srv/canary/sub sys/fs/cgroup; ln -s /srv/canary/sub sys/firmware; ln -s /srv/canary/sub proc/irq; ln -s /srv/canary/file run/cocker-boot-id; ln -s /srv/canary/sub run/dbus; ln -s /srv/canary/sub run/host`)
		const look = `for f in /proc /sys /sys/fs/cgroup /dev /dev/pts /dev/shm /dev/mqueue /run; do printf '%s ' $(stat -f -c %t $f); done
			stat -c '%t:%T' /dev/null /dev/zero /dev/full /dev/tty | xargs; cat /proc/sys/net/ipv4/ip_unprivileged_port_start`
		const want = "9fa0 62656572 63677270 1021994 1cd1 1021994 19800202 1021994 1:3 1:5 1:7 5:0 0"
		for _, init := range inits {
			if got := output(t, h, "fakes-"+init, "images = ['demo', 'fakes:1']\ninit = '"+init+"'\n"+sh(look)); strings.Join(strings.Fields(got), " ") != want { // without an init each command writes lines of its own
				t.Errorf("init %s: got\n%s\nwant\n%s", init, got, want)
			}
		}
		// With a terminal /dev/console is bound, too.
		h.MustRun(t, `script -qec "cocker run -it --rm demo true" /dev/null </dev/null >/dev/null`)
		unchanged()
	})
}

// CVE-2021-30465, CVE-2024-45310: a volume that another container has mounted as well, and
// in which that one swaps the directory that is mounted on for a link, as fast as it can.
func TestMountsWhileLinksAreSwapped(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		unchanged := canary(t, h)
		h.MustRun(t, "mkdir -p /srv/data && echo data >/srv/data/f")
		start(t, h, "swapper", "image = 'demo'\nnetwork.mode = 'none'\nmount = [{ type = 'volume', source = 'swapped', target = '/v' }]\n"+
			sh("mkdir -p /v/dir /v/other; ln -sfn /srv/canary /v/link; while :; do rm -rf /v/other/d; mv -T /v/dir /v/other/d; mv -T /v/link /v/dir; mv -T /v/dir /v/link; mv -T /v/other/d /v/dir; [ -L /v/link ] || ln -s /srv/canary /v/link; done 2>/dev/null"))
		h.WaitFor(t, eventually, "the link", "[ -L /var/lib/cocker/volumes/swapped/data/link ] || [ -L /var/lib/cocker/volumes/swapped/data/dir ]")
		declare(t, h, map[string]string{"victim": `image = 'demo'
			command = ['true']
			network.mode = 'none'
			mount = [{ type = 'volume', source = 'swapped', target = '/v' }, { type = 'bind', source = '/srv/data', target = '/v/dir/bound' },
				{ type = 'tmpfs', target = '/v/dir/sub/tmp' }, { type = 'bind', source = '/srv/data/f', target = '/v/dir/file' }, { type = 'volume', source = 'second', target = '/v/dir/volume' }]
			`})
		started := h.MustRun(t, `n=0; for i in $(seq 40); do timeout 60 systemctl start --wait cocker@victim 2>/dev/null && n=$((n+1)); systemctl reset-failed cocker@victim 2>/dev/null; done; echo $n`)
		if started == "0" {
			t.Errorf("the test is not testing: no start succeeded\n%s", statusOf(t, h, "victim"))
		}
		unchanged()
		h.MustRun(t, `systemctl stop cocker@swapper; cocker rm -f swapper victim >/dev/null; cocker volume rm swapped second >/dev/null`)
	})
}

// cocker security tells what the kernel knows, of a container that runs, and what a start
// would make of one that does not.
func TestSecurityCommand(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /srv/data")
		start(t, h, "plain", "image = 'demo'\n"+sh("sleep 100000"))
		start(t, h, "loose", "image = 'demo'\nmount = [{ type = 'bind', source = '/srv/data', target = '/d' }]\nnetwork.mode = 'host'\n"+sh("sleep 100000"))
		declare(t, h, map[string]string{"asleep": "image = 'demo'\nuser = '33'\n" + sh("true")})
		const off = `cocker security --json "$1" | jq -r '.measures[] | select(.on | not).name'`
		report := func(name string) (off []string, exposure string) {
			return strings.Split(h.MustRun(t, `cocker security --json "$1" | jq -r '.measures[] | select(.on | not).name'`, name), "\n"),
				h.MustRun(t, `cocker security --json "$1" | jq -r .exposure`, name)
		}
		plain, exposure := report("plain")
		loose, looser := report("loose")
		if slices.Contains(plain, "own network") || slices.Contains(plain, "no writable path of the host") || slices.Contains(plain, "own user ids") {
			t.Errorf("plain: off are %q", plain)
		}
		if !slices.Contains(loose, "own network") || !slices.Contains(loose, "no writable path of the host") || len(looser) == 0 || looser <= exposure {
			t.Errorf("loose: %s, off are %q; plain: %s", looser, loose, exposure)
		}
		text := h.MustRun(t, "cocker security plain; cocker security asleep")
		for _, want := range []string{"Exposure of plain, as it runs now: ", "Exposure of asleep, by its file, as it does not run: ", "root is ", " of the host"} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
		// Whose file is gone, or is wrong, may have any path of the host.
		for _, change := range []string{`rm "$1"`, `echo 'x = 1' >"$1"`} {
			got := h.MustRun(t, `cp "$1" /root/loose.toml; `+change+`; cocker security loose | grep 'writable path'; mv /root/loose.toml "$1"`, "/etc/cocker/containers/loose.toml")
			if !strings.Contains(got, "not known") {
				t.Errorf("%s: %s", change, got)
			}
		}
		asleep := h.MustRun(t, off, "asleep")
		if strings.Contains(asleep, "user is not root") {
			t.Errorf("asleep: off are %q", asleep)
		}
		if r := h.Run(t, "cocker security nosuch"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "nosuch") {
			t.Errorf("one that is not there: %+v", r)
		}
	})
}
