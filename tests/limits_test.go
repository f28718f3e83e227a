package tests

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// What [resources] says becomes the unit's properties: systemd itself tells. That
// the kernel keeps to them is TestVMLimits.
func TestLimitsReachTheUnit(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mknod /srv/disk b 7 0") // a limit needs a disk
		toml := `image = 'demo'
			command = ['sleep', '100000']
			[resources]
			memory_max = '256M'
			memory_high = '200M'
			memory_low = '16M'
			memory_min = '8M'
			memory_swap_max = 0
			memory_nodes = '0'
			cpu_quota = '40%'
			cpu_weight = 37
			cpus = '0'
			tasks_max = 64
			io_weight = 77
			io_read_bandwidth_max = ['/srv/disk 10M']
			io_write_bandwidth_max = ['/srv/disk 1.5K']
			io_read_iops_max = ['/srv/disk 300']
			io_write_iops_max = ['/srv/disk 1K']
			`
		want := map[string]string{
			"MemoryMax": "268435456", "MemoryHigh": "209715200", "MemoryLow": "16777216", "MemoryMin": "8388608", "MemorySwapMax": "0",
			"AllowedMemoryNodes": "0", "CPUQuotaPerSecUSec": "400ms", "CPUWeight": "37", "AllowedCPUs": "0", "TasksMax": "64", "IOWeight": "77",
			"IOReadBandwidthMax": "/srv/disk 10000000", "IOWriteBandwidthMax": "/srv/disk 1500", "IOReadIOPSMax": "/srv/disk 300",
			"IOWriteIOPSMax": "/srv/disk 1000",
		}
		start(t, h, "limited", toml)
		assertProperties(t, h, "limited", want)

		// "cocker run" gives them to a service, or in the foreground to a scope.
		arguments := []string{"--memory=256M", "--memory-high=200M", "--memory-low=16M", "--memory-min=8M", "--memory-swap-max=0",
			"--memory-nodes=0", "--cpu-quota=40%", "--cpu-weight=37", "--cpus=0", "--tasks-max=64", "--io-weight=77",
			"--io-read-bandwidth-max=/srv/disk 10M", "--io-write-bandwidth-max=/srv/disk 1.5K", "--io-read-iops-max=/srv/disk 300",
			"--io-write-iops-max=/srv/disk 1K", "demo", "sleep", "100000"}
		h.MustRun(t, `cocker run -d --name "$@" >/dev/null`, append([]string{"behind"}, arguments...)...)
		front := inForeground(t, h, append([]string{"--name", "front"}, arguments...)...)
		h.WaitFor(t, eventually, "the scope", "cocker exec front true")
		for _, unit := range []string{"cocker-behind.service", "cocker-front.scope"} {
			if got := propertiesOf(t, h, unit, slices.Collect(maps.Keys(want))...); !maps.Equal(got, want) {
				t.Errorf("%s: got %v, want %v", unit, got, want)
			}
		}
		h.MustRun(t, "cocker rm -f behind front")
		_ = front.Wait() // it was killed
	})
}

// systemctl set-property counts before the file: after a daemon-reload, a restart
// and, without --runtime, for good; "cocker rm" takes it away.
func TestSetPropertyCountsBeforeTheFile(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const toml = "image = 'demo'\n[resources]\nmemory_max = '256M'\ntasks_max = 64\n"
		start(t, h, "limited", toml)
		h.MustRun(t, "systemctl set-property --runtime cocker@limited MemoryMax=128M && systemctl set-property cocker@limited TasksMax=99")
		want := map[string]string{"MemoryMax": "134217728", "TasksMax": "99"}
		for _, script := range []string{":", "systemctl daemon-reload", "systemctl restart cocker@limited"} {
			h.MustRun(t, script)
			assertProperties(t, h, "limited", want)
		}
		h.MustRun(t, "cocker rm --force limited && ! find /etc/systemd/system.control /run/systemd/system.control -name '*cocker@limited*' | grep .")
		start(t, h, "limited", toml)
		assertProperties(t, h, "limited", map[string]string{"MemoryMax": "268435456", "TasksMax": "64"})
	})
}

// systemd starts a unit whose limit is for no disk, and only warns. A container
// does not start then.
func TestLimitsWithoutADisk(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mknod /srv/one b 7 0 && mknod /srv/two b 7 0")
		tests := []struct{ limits, reason string }{
			{"io_read_iops_max = ['/dev/nosuchdisk 10']", "/dev/nosuchdisk: no such file or directory"},
			{"io_write_bandwidth_max = ['/proc/self 10M']", "/proc/self is neither a block device nor on one"},
			{"io_write_bandwidth_max = ['/dev/null 10M']", "/dev/null is neither a block device nor on one"},
			{"io_read_bandwidth_max = ['/srv/one 10M']\nio_write_bandwidth_max = ['/srv/two 10M']", "/srv/one and /srv/two are for the same disk"},
		}
		for _, tt := range tests {
			refused(t, h, "limited", "image = 'demo'\n[resources]\n"+tt.limits+"\n", tt.reason, "/etc/cocker/containers/limited.toml")
			r := h.Run(t, `cocker run --rm $(sed -n "s/^io/--io/; s/_/-/g; s/ = \['/=/; s/'\]//; s/ /\\\\ /p" /etc/cocker/containers/limited.toml) demo true`)
			if r.ExitCode == 0 {
				t.Errorf("cocker run with %s: exit status 0", tt.limits)
			}
		}
		if !strings.Contains(h.MustRun(t, "cocker check"), "fine") { // it asks no disk: the file may be for another host
			t.Error("cocker check")
		}
	})
}

// within runs a script as one of the container's processes: in its namespaces, as
// inside does, and in its cgroup, so that its limits count.
func within(t *testing.T, h *host.Host, name, script string) string {
	t.Helper()
	return h.MustRun(t, `echo $$ >"/sys/fs/cgroup$(systemctl show -P ControlGroup cocker@"$1")/cgroup.procs" &&
		exec nsenter --all --target "$(systemctl show -P MainPID cocker@"$1")" /bin/sh -c "$2"`, name, script)
}

// assertWithin asserts what files of the container's own /sys/fs/cgroup say.
func assertWithin(t *testing.T, h *host.Host, name string, want map[string]string) {
	t.Helper()
	for line := range strings.Lines(within(t, h, name, `cd /sys/fs/cgroup; for f in *.max *.min *.low *.high *.weight *.effective; do echo "$f=$(echo $(cat $f))"; done`)) {
		file, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if wanted, ok := want[file]; ok && value != wanted {
			t.Errorf("%s: %s is %q, want %q", name, file, value, wanted)
		} else if ok {
			delete(want, file)
		}
	}
	if len(want) > 0 {
		t.Errorf("%s: not seen inside: %v", name, want)
	}
}

// The kernel keeps to every limit: seen from inside, by a process that goes beyond it.
func TestVMLimits(t *testing.T) {
	onVirtualHost(t, func(t *testing.T, h *host.Host) {
		disk := h.MustRun(t, `findmnt -n -o SOURCE /var/lib/cocker || findmnt -n -o SOURCE /`)
		number := h.MustRun(t, `lsblk -d -n -o MAJ:MIN "$1" | xargs`, disk)
		start(t, h, "limited", fmt.Sprintf(`image = 'demo'
			command = ['sleep', '100000']
			[resources]
			memory_max = '64M'
			memory_high = '48M'
			memory_low = '16M'
			memory_min = '8M'
			memory_swap_max = 0
			memory_nodes = '0'
			cpu_quota = '40%%'
			cpu_weight = 37
			cpus = '1'
			tasks_max = 40
			io_weight = 77
			io_read_bandwidth_max = ['%[1]s 900M']
			io_write_bandwidth_max = ['%[1]s 1M']
			io_read_iops_max = ['%[1]s 3K']
			io_write_iops_max = ['%[1]s 4K']
			`, disk))
		assertWithin(t, h, "limited", map[string]string{
			"memory.max": "67108864", "memory.high": "50331648", "memory.low": "16777216", "memory.min": "8388608", "memory.swap.max": "0",
			"cpuset.mems.effective": "0", "cpu.max": "40000 100000", "cpu.weight": "37", "cpuset.cpus.effective": "1", "pids.max": "40",
			"io.weight": "default 77", "io.max": number + " rbps=900000000 wbps=1000000 riops=3000 wiops=4000",
		})
		if got := within(t, h, "limited", "nproc"); got != "1" {
			t.Errorf("AllowedCPUs=1: nproc says %s", got)
		}

		// One buffer of dd is memory of one process. The last byte of the file in the page
		// cache is written within the limit, or fsync(2) would not return.
		const counter = `counter() { sed -n "s/^$1 //p" "/sys/fs/cgroup/$2"; }; `
		if got := within(t, h, "limited", counter+`dd if=/dev/zero of=/dev/null bs=56M count=1 2>/dev/null; echo $? $(($(counter high memory.events) > 0)) $(counter oom_kill memory.events)`); got != "0 1 0" {
			t.Errorf("MemoryHigh=48M: 56M give exit status, throttled, killed: %s", got)
		}
		if got := within(t, h, "limited", counter+`dd if=/dev/zero of=/dev/null bs=100M count=1 2>/dev/null; echo $? $(counter oom_kill memory.events)`); got != "137 1" {
			t.Errorf("MemoryMax=64M: 100M give exit status, killed: %s", got)
		}
		within(t, h, "limited", counter+`end=$(($(date +%s) + 120)); until [ "$(counter nr_throttled cpu.stat)" -ge 5 ]; do [ "$(date +%s)" -lt $end ] || exit 1; done`)
		within(t, h, "limited", `set -e; begin=$(date +%s); dd if=/dev/zero of=/file bs=1M count=4 conv=fsync 2>/dev/null
			took=$(($(date +%s) - begin)); [ $took -ge 2 ] || { echo "4M were written in ${took}s: $(cat /sys/fs/cgroup/io.stat)" >&2; exit 1; }`)

		// Limits change while it runs; what is set by hand stays when systemd reads its
		// files again, and applies the limits again because of another one.
		h.MustRun(t, `systemctl set-property --runtime cocker@limited MemoryMax=96M CPUQuota=60% TasksMax=50 AllowedCPUs=0-1 && systemctl daemon-reload &&
			systemctl set-property --runtime cocker@limited IOWeight=50 "IOWriteBandwidthMax=$1 2M"`, disk)
		assertWithin(t, h, "limited", map[string]string{
			"memory.max": "100663296", "cpu.max": "60000 100000", "pids.max": "50", "cpuset.cpus.effective": "0-1", "io.weight": "default 50",
			"io.max": number + " rbps=900000000 wbps=2000000 riops=3000 wiops=4000", "cpu.weight": "37",
		})

		// The last one, as it leaves no room for another process.
		r := h.Run(t, `echo $$ >"/sys/fs/cgroup$(systemctl show -P ControlGroup cocker@limited)/cgroup.procs" &&
			exec nsenter --all --target "$(systemctl show -P MainPID cocker@limited)" /bin/sh -c 'for i in $(seq 100); do sleep 100000 >/dev/null 2>&1 & done'`)
		if r.ExitCode == 0 || !strings.Contains(r.Stderr, "Resource temporarily unavailable") { // EAGAIN, fork(2)
			t.Errorf("TasksMax=50: exit status %d, %s", r.ExitCode, r.Stderr)
		}
		h.MustRun(t, `[ "$(sed -n 's/^max //p' "/sys/fs/cgroup$(systemctl show -P ControlGroup cocker@limited)/pids.events")" -gt 0 ]`)
		h.MustRun(t, "cocker rm --force limited") // with what set-property has set
	})
}

// A process that the kernel kills because memory ran out is named, with its
// container, wherever somebody looks.
func TestVMOutOfMemory(t *testing.T) {
	const (
		limits = "[resources]\nmemory_max = '64M'\nmemory_swap_max = 0\n[network]\nports = ['8095:80']\n"
		hog    = "dd if=/dev/zero of=/dev/null bs=100M count=1"
	)
	onVirtualHost(t, func(t *testing.T, h *host.Host) {
		for _, init := range inits { // the command, which is PID 1 or not
			e := runJob(t, h, "hungry", "image = 'demo'\ninit = '"+init+"'\ncommand = ['"+strings.ReplaceAll(hog, " ", "', '")+"']\n"+limits)
			want := map[string]string{"cocker": "exit-code 137", "none": "signal 9"}[init]
			if got := e.Result + " " + e.Status; got != want || !e.startFailed {
				t.Errorf("init %s: %+v, want %s", init, e, want)
			}
			what := "out of memory (memory_max 64M): " + lastKilled(t, h)
			if status := statusOf(t, h, "hungry"); strings.Count(status, "Killed by the kernel: "+what) != 2 { // "Status:" and the journal
				t.Errorf("init %s: %q is not in the status:\n%s", init, what, status)
			}
			assertKilledShown(t, h, "hungry", "failed", what)
			h.MustRun(t, "systemctl reset-failed cocker@hungry")
		}

		// A child, and the container goes on.
		start(t, h, "hungry", "image = 'demo'\n"+sh(hog+"; touch /done; exec sleep 100000")+limits)
		h.WaitFor(t, eventually, "the end of the child", "test -e /var/lib/cocker/containers/hungry/upper/done")
		what := "out of memory (memory_max 64M): " + lastKilled(t, h)
		assertKilledShown(t, h, "hungry", "running", what)
		h.MustRun(t, "systemctl stop cocker@hungry")
		if status := statusOf(t, h, "hungry"); strings.Count(status, "The kernel killed a process of container hungry: "+what) != 1 {
			t.Errorf("%q is not in the status, or twice:\n%s", what, status)
		}

		// Another end of the same container is none of memory's.
		start(t, h, "hungry", "image = 'demo'\n"+limits)
		h.MustRun(t, `kill -9 "$1"`, mainPID(t, h, "hungry"))
		h.WaitFor(t, eventually, "its end", "systemctl is-failed cocker@hungry")
		if p := properties(t, h, "hungry", "StatusText"); strings.Contains(p["StatusText"], "memory") {
			t.Errorf("after kill -9: %v", p)
		}
		h.MustRun(t, `cocker ps | grep -q '^hungry .*failed (signal)' && systemctl reset-failed cocker@hungry`)

		r := h.Run(t, "cocker run --rm --memory 64M --memory-swap-max 0 demo "+hog)
		if want := "cocker: run: killed by the kernel: out of memory (memory_max 64M): " + lastKilled(t, h); r.ExitCode != 137 || !strings.Contains(r.Stderr, want) {
			t.Errorf("cocker run: exit status %d, %s, want %s", r.ExitCode, r.Stderr, want)
		}
	})
}

// Of a container that goes on, systemctl status names each process that was killed, once,
// whoever asks for it how often.
func TestVMKilledWhileItRuns(t *testing.T) {
	const (
		limits = "[resources]\nmemory_max = '64M'\nmemory_swap_max = 0\n"
		// A grandchild of init, for each signal.
		waiting = "trap '(dd if=/dev/zero of=/dev/null bs=100M count=1; echo over)' USR1; echo ready; while :; do sleep 100000 & wait $!; kill $!; done"
		asked   = "pipe=/run/cocker-oom; [ -p $pipe ] && [ $(stat -c %a:%u $pipe) = 600:0 ] && systemctl is-active -q cocker-oom.socket"
	)
	onVirtualHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "greedy", "image = 'demo'\n"+sh(waiting)+limits)
		start(t, h, "other", "image = 'demo'\n"+limits)
		pid := mainPID(t, h, "greedy")
		h.WaitFor(t, eventually, "its trap", "journalctl -q -o cat -u cocker@greedy | grep -qx ready")
		h.MustRun(t, asked)
		var all []string
		for range 2 {
			all = append(all, killedOnRequest(t, h, "greedy"))
		}
		if all[0] == all[1] {
			t.Errorf("twice the same process: %v", all)
		}

		// Whoever has the other end of the pipe can have it looked, and nothing else: no line more,
		// the unit does not give up, and it hears of the next one.
		h.MustRun(t, `set -e; end=$(($(date +%s) + 20)); fd=$(find /proc/$1/fd -lname /run/cocker-oom)
			grep -q '^flags:.*1$' /proc/$1/fdinfo/${fd##*/}
			while [ "$(date +%s)" -lt $end ]; do timeout 1 dd if=/dev/zero of=/run/cocker-oom bs=4k count=1 oflag=nonblock 2>/dev/null || :; done
			journalctl --sync; n=$(journalctl -q -o cat -u cocker-oom.service | grep -c '^Finished')
			[ "$n" -gt 6 ] || { echo "it ran $n times only" >&2; exit 1; }; `+asked, pid)
		all = append(all, killedOnRequest(t, h, "greedy"))
		h.MustRun(t, "systemctl start cocker-oom.service") // by hand: there is nothing new
		assertKilledLines(t, h, "greedy", all...)
		assertKilledLines(t, h, "other")
		h.MustRun(t, `[ "$(systemctl is-active cocker@greedy)" = active ] && ! systemctl is-failed cocker-oom.socket cocker-oom.service`)
		if got := mainPID(t, h, "greedy"); got != pid {
			t.Error("it was restarted")
		}

		// What nobody has heard of is told at the end, and only that.
		h.MustRun(t, "systemctl stop cocker-oom.socket; systemctl stop cocker-oom.service")
		h.MustRun(t, `kill -USR1 "$1"`, pid)
		h.WaitFor(t, eventually, "another kill", "grep -qx 'oom_kill 4' /sys/fs/cgroup/machine.slice/cocker@greedy.service/memory.events")
		h.WaitFor(t, eventually, "its line in the kernel's log", "[ $(dmesg | grep -c 'Memory cgroup out of memory: Killed process') -ge 4 ]")
		all = append(all, lastKilled(t, h))
		h.MustRun(t, "systemctl stop cocker@greedy cocker@other")
		assertKilledLines(t, h, "greedy", all...)
		h.WaitFor(t, eventually, "nothing is left", `! [ -e /run/cocker-oom ] && ! systemctl list-units --all --plain --no-legend 'cocker-oom*' | grep .`)
		// With a restart of the only container it stays.
		h.MustRun(t, `set -e; systemctl start cocker@greedy; id=$(systemctl show -P InvocationID cocker-oom.socket); systemctl restart cocker@greedy
			[ "$(systemctl show -P InvocationID cocker-oom.socket)" = "$id" ]
			find /proc/"$(systemctl show -P MainPID cocker@greedy)"/fd -lname /run/cocker-oom | grep -q .; systemctl stop cocker@greedy`)
		// Without the socket it starts, too.
		h.MustRun(t, `systemctl mask --runtime -q cocker-oom.socket; systemctl start cocker@greedy; s=$?; systemctl stop cocker@greedy; systemctl unmask --runtime -q cocker-oom.socket; exit $s`)
	})
}

// killedOnRequest has a process of a container killed that waits for that, and returns which
// one it was when systemctl status says so.
func killedOnRequest(t *testing.T, h *host.Host, name string) string {
	t.Helper()
	before := h.Run(t, "dmesg | grep -c 'Killed process'").Stdout
	h.MustRun(t, `kill -USR1 "$1"`, mainPID(t, h, name))
	h.WaitFor(t, eventually, "a kill", `[ "$(dmesg | grep -c 'Killed process')" != "$1" ]`, strings.TrimSpace(before))
	killed := lastKilled(t, h)
	line := "The kernel killed a process of container " + name + ": out of memory (memory_max 64M): " + killed
	h.WaitFor(t, eventually, "the line "+line, `systemctl status --no-pager --full cocker@"$1" | grep -F "$2"`, name, line)
	return killed
}

// assertKilledLines compares what the log of a container that runs, or has just ended, has of
// killed processes.
func assertKilledLines(t *testing.T, h *host.Host, name string, want ...string) {
	t.Helper()
	got := h.MustRun(t, `journalctl --sync; journalctl -q -o cat -u cocker@"$1" --grep 'The kernel killed a process of' | sed 's/.*(memory_max 64M): //'`, name)
	if got != strings.Join(want, "\n") {
		t.Errorf("%s: the log has\n%s\nwant\n%s", name, got, strings.Join(want, "\n"))
	}
}

// lastKilled is the process that the kernel has killed last, as its own log has it.
func lastKilled(t *testing.T, h *host.Host) string {
	t.Helper()
	return h.MustRun(t, `dmesg | sed -n 's/.*Killed process \([0-9]*\) (\([^)]*\)).*/process \2 (pid \1)/p' | tail -n 1 | grep .`)
}

func assertKilledShown(t *testing.T, h *host.Host, name, state, what string) {
	t.Helper()
	if got := psCells(t, h, name); !strings.HasPrefix(got, "demo|"+state+" ("+what+")|") {
		t.Errorf("cocker ps: %s, want %s (%s)", got, state, what)
	}
	for _, script := range []string{`cocker ps --json | jq -r '.[]|select(.name == "'$1'").oom'`, `cocker inspect --json "$1" | jq -r .oom`} {
		if got := h.MustRun(t, script, name); got != what {
			t.Errorf("%s: %s, want %s", script, got, what)
		}
	}
}
