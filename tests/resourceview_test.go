package tests

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// viewed are the files that a container has of lxcfs.
var viewed = []string{"/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/slabinfo", "/proc/stat", "/proc/swaps", "/proc/uptime", "/sys/devices/system/cpu/online"}

// withLxcfs gives a host Debian's lxcfs; what it returns takes it away again. It is not among the packages
// of all hosts; those of a root that has it are copied, but for the links at the top, /lib
// and /bin, that the packages of Debian 12 go through.
func withLxcfs(t *testing.T, h *host.Host) (remove func()) {
	t.Helper()
	root, err := host.BuildRoot(t.Context(), h.Release, host.Extra{Packages: []string{"lxcfs", "fuse3"}}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	var archive, complaints bytes.Buffer
	cmd := exec.Command("/bin/sh", "-ec", `cd "$1"; cat var/lib/dpkg/info/lxcfs.list var/lib/dpkg/info/libfuse3-*.list var/lib/dpkg/info/fuse3.list |
		grep -v /share/ | grep -v '^/etc' | grep -v -x '/[^/]*' | sed 's|^/||' | while read -r f; do [ -d "$f" ] && ! [ -h "$f" ] || echo "$f"; done | tar -c -T -`, "sh", root)
	cmd.Stdout, cmd.Stderr = &archive, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("pack lxcfs: %v, %s", err, complaints.String())
	}
	h.WriteFile(t, "/srv/lxcfs.tar", archive.String(), 0o644)
	// --keep-directory-symlink: /lib is a link. The unit is not for containers, which a host of
	// namespaces is.
	h.MustRun(t, `mv /srv/lxcfs.tar /root && mkdir -p /var/lib/lxcfs /run/systemd/system/lxcfs.service.d && tar -x --keep-directory-symlink -C / -f /root/lxcfs.tar && ldconfig &&
		printf '[Unit]\nConditionVirtualization=\n' >/run/systemd/system/lxcfs.service.d/90-test.conf && systemctl daemon-reload`)
	return func() {
		h.MustRun(t, `systemctl stop lxcfs; cd / && tar -t -f /root/lxcfs.tar | xargs rm -f
			rm -rf /root/lxcfs.tar /run/systemd/system/lxcfs.service.d /var/lib/lxcfs; systemctl daemon-reload; systemctl reset-failed lxcfs 2>/dev/null || :`)
	}
}

// assertViewed asserts which of the files are those of lxcfs, and that all can be read.
func assertViewed(t *testing.T, h *host.Host, name string, want bool) {
	t.Helper()
	got := h.MustRun(t, `cocker exec "$1" sh -c 'for f; do [ -e "$f" ] || continue; case $f in */slabinfo) ;; *) cat "$f" >/dev/null || echo "$f cannot be read";; esac; done
		grep -c " fuse.lxcfs " /proc/self/mountinfo || :' sh $2`, name, strings.Join(viewed, " "))
	expected := "0"
	if want {
		expected = h.MustRun(t, `cd /var/lib/lxcfs && n=0; for f in $1; do [ ! -e "/var/lib/lxcfs$f" ] || [ ! -e "$f" ] || n=$((n+1)); done; echo $n`, strings.Join(viewed, " "))
		if expected == "0" {
			t.Error("lxcfs has none of the files")
		}
	}
	if got != expected {
		t.Errorf("%s: of lxcfs are %s, want %s", name, got, expected)
	}
}

const viewedTOML = "image = 'demo'\ncommand = ['sleep', '100000']\n[resources]\nresource_view = true\n"

// Without lxcfs the container does not start, and its status says what is missing.
func TestResourceViewNeedsLxcfs(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		refused(t, h, "viewed", viewedTOML, "resource_view: lxcfs is not installed, there is no /var/lib/lxcfs; install the package lxcfs")
		h.MustRun(t, "mkdir /var/lib/lxcfs")
		refused(t, h, "viewed", viewedTOML, `resource_view: lxcfs is not mounted at /var/lib/lxcfs; is the package lxcfs installed, and what does "systemctl status lxcfs.service" say?`)
		h.MustRun(t, "rmdir /var/lib/lxcfs")
		if r := h.Run(t, "cocker run --rm --resource-view demo true"); r.ExitCode != 125 || !strings.Contains(r.Stderr, "install the package lxcfs") {
			t.Errorf("cocker run: exit status %d, %s", r.ExitCode, r.Stderr)
		}
	})
}

// The files are lxcfs' own in every kind of container; they outlive its restart, its stop and
// its death, and a stop gives the kernel's back.
func TestResourceView(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer withLxcfs(t, h)()
		names := []string{"viewed", "alone", "hosted"}
		start(t, h, "viewed", viewedTOML) // and starts lxcfs
		start(t, h, "alone", "image = 'demo'\ninit = 'none'\n"+sh(`trap "exit 0" TERM; while :; do sleep 0.1; done`)+"[resources]\nresource_view = true\n")
		start(t, h, "hosted", viewedTOML+"[network]\nmode = 'host'\n")
		start(t, h, "plain", "image = 'demo'\ncommand = ['sleep', '100000']\n")
		all := func(when string, want bool) {
			t.Helper()
			for _, name := range names {
				if name == "alone" { // no sessions
					continue
				}
				assertViewed(t, h, name, want)
			}
			assertViewed(t, h, "plain", false)
			if n := inside(t, h, "alone", "grep -c ' fuse.lxcfs ' /proc/self/mountinfo || :"); (n != "0") != want {
				t.Errorf("%s: init none has %s files", when, n)
			}
			if n := h.MustRun(t, "grep -c '/var/lib/lxcfs ' /proc/self/mountinfo || :"); n != map[bool]string{true: "1", false: "0"}[want] {
				t.Errorf("%s: the host has %s mounts", when, n)
			}
		}
		all("after the start", true)
		h.MustRun(t, "systemctl restart lxcfs")
		all("after a restart", true)
		h.MustRun(t, "systemctl reload lxcfs")
		all("after a reload", true)
		h.MustRun(t, `p=$(systemctl show -P MainPID lxcfs); kill -9 $p; while [ -e /proc/$p ]; do sleep 0.05; done`) // Restart=on-failure
		h.WaitFor(t, eventually, "lxcfs again", `[ "$(systemctl show -P NRestarts lxcfs)" = 1 ] && systemctl is-active --quiet lxcfs`)
		all("after kill -9", true)
		h.MustRun(t, "systemctl stop lxcfs")
		all("after a stop", false)
		h.MustRun(t, "systemctl start lxcfs")
		all("after a start", true)
		h.MustRun(t, "for i in 1 2 3 4 5; do systemctl reset-failed lxcfs; systemctl restart lxcfs; done")
		all("after five restarts", true)
		h.MustRun(t, "/usr/libexec/cocker/cocker-launch views attach") // it may be repeated
		all("after all", true)
		if log := h.MustRun(t, "journalctl --sync; journalctl -q -b -u lxcfs -t cocker-launch -o cat"); log != "" {
			t.Errorf("the drop-in complains:\n%s", log)
		}
	})
}

// What the container does with its own mounts reaches nothing else, and does not keep lxcfs
// from starting.
func TestResourceViewOfAHostileContainer(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer withLxcfs(t, h)()
		start(t, h, "viewed", viewedTOML)
		start(t, h, "evil", viewedTOML)
		// As root in the container's namespaces, with all of its capabilities, which a command has not.
		h.MustRun(t, `echo canary >/srv/canary; chmod 644 /srv/canary`)
		for _, script := range []string{
			"mount --bind /etc/passwd /proc/uptime",
			"mount -t tmpfs none /sys/devices/system/cpu",
			"mount -t tmpfs none /proc; touch /proc/meminfo; ln -s /etc/passwd /proc/cpuinfo; mkdir /proc/stat",
		} {
			inside(t, h, "evil", script)
			h.MustRun(t, "systemctl reset-failed lxcfs; systemctl restart lxcfs")
			assertViewed(t, h, "viewed", true)
		}
		if n := inside(t, h, "evil", "find /proc -mindepth 1 | sort | xargs"); n != "/proc/cpuinfo /proc/meminfo /proc/stat" {
			t.Errorf("its own /proc has %s", n)
		}
		h.MustRun(t, `[ "$(cat /srv/canary)" = canary ]`)
	})
}

// What lxcfs says are the container's limits, also after its restart.
func TestVMResourceView(t *testing.T) {
	onVirtualHost(t, func(t *testing.T, h *host.Host) {
		defer withLxcfs(t, h)()
		start(t, h, "viewed", viewedTOML+"memory_max = '64M'\nmemory_swap_max = 0\ncpus = '1'\n")
		start(t, h, "pinned", "image = 'demo'\ncommand = ['sleep', '100000']\n[resources]\ncpus = '1'\n")
		assertLimits := func(when string) {
			t.Helper()
			got := h.MustRun(t, `cocker exec viewed sh -c 'sed -n "s/^MemTotal: *//p" /proc/meminfo; grep -c ^processor /proc/cpuinfo; grep -c "^cpu[0-9]" /proc/stat; cat /sys/devices/system/cpu/online' | xargs`)
			if got != "65536 kB 1 1 1" { // the last is the list of those online: the second CPU
				t.Errorf("%s: the container sees %s", when, got)
			}
			if h.MustRun(t, "[ $(cut -d. -f1 /proc/uptime) -gt $(($(cocker exec viewed cut -d. -f1 /proc/uptime) + 10)) ] || echo same") != "" {
				t.Errorf("%s: its uptime is the host's", when)
			}
		}
		assertLimits("after the start")
		h.MustRun(t, "systemctl set-property --runtime cocker@viewed MemoryMax=96M")
		if got := h.MustRun(t, `cocker exec viewed sed -n "s/^MemTotal: *//p" /proc/meminfo`); got != "98304 kB" {
			t.Errorf("after set-property: %s", got)
		}
		h.MustRun(t, "systemctl set-property --runtime cocker@viewed MemoryMax=64M; systemctl restart lxcfs")
		assertLimits("after a restart of lxcfs")
		// By cpus alone: what a program may run on, but not what the machine has.
		if got := h.MustRun(t, "cocker exec pinned sh -c 'nproc; grep -c ^processor /proc/cpuinfo' | xargs"); got != "1 2" {
			t.Errorf("without lxcfs: %s", got)
		}
		h.MustRun(t, "cocker rm --force viewed") // with what set-property has set
	})
}

// All controllers: memory without what only the page cache has, disks, pressure, limits.
func TestVMStats(t *testing.T) {
	onVirtualHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "busy", "image = 'demo'\n"+burner+"[resources]\ncpu_quota = '10%'\nmemory_max = '64M'\nmemory_swap_max = 0\ntasks_max = 99\n")
		one := statsOf(t, h, "busy")[0]
		assertControllers(t, h, one)
		if one.Memory == nil || one.Pids == nil || one.IOWrite == nil {
			t.Fatalf("%+v", one)
		}
		// A new file is in the inactive part of the cache, which is charged but not counted.
		h.MustRun(t, "cocker exec busy dd if=/dev/zero of=/file bs=1M count=20 conv=fsync 2>/dev/null")
		two := statsOf(t, h, "busy")[0]
		if grown := int64(*two.MemoryCurrent) - int64(*one.MemoryCurrent); grown < 18<<20 {
			t.Errorf("memory.current has grown by %d after 20 MiB of files", grown)
		}
		if grown := int64(*two.Memory) - int64(*one.Memory); grown > 6<<20 {
			t.Errorf("memory has grown by %d after files", grown)
		}
		if written := *two.IOWrite - *one.IOWrite; written < 20<<20 {
			t.Errorf("%d bytes were written, want 20 MiB", written)
		}
		h.WaitFor(t, eventually, "pressure", `cocker stats --no-stream --json --interval 200ms busy | jq -e '.cpu_pressure > 20 and .cpu_percent < 30'`)
		h.MustRun(t, `[ "$(cocker stats --no-stream --sort pressure | awk 'NR == 2 { print $1, $4, $13 }')" = "busy 64M 99" ]`)
		h.MustRun(t, "cocker set busy --memory-max 80M --tasks-max 88")
		h.MustRun(t, `cocker stats --no-stream --json busy | jq -e '.memory_max_bytes == 83886080 and .pids_max == 88' && grep -q 80M /etc/cocker/containers/busy.toml`)
	})
}
