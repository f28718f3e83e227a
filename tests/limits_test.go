package tests

import (
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// What [resources] says becomes the unit's properties: systemd itself tells. That
// the kernel keeps to them is TestVMLimits.
func TestLimitsReachTheUnit(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mknod /srv/disk b 7 0") // a limit needs a disk
		start(t, h, "limited", `image = 'demo'
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
			`)
		assertProperties(t, h, "limited", map[string]string{
			"MemoryMax": "268435456", "MemoryHigh": "209715200", "MemoryLow": "16777216", "MemoryMin": "8388608", "MemorySwapMax": "0",
			"AllowedMemoryNodes": "0", "CPUQuotaPerSecUSec": "400ms", "CPUWeight": "37", "AllowedCPUs": "0", "TasksMax": "64", "IOWeight": "77",
			"IOReadBandwidthMax": "/srv/disk 10000000", "IOWriteBandwidthMax": "/srv/disk 1500", "IOReadIOPSMax": "/srv/disk 300",
			"IOWriteIOPSMax": "/srv/disk 1000",
		})
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
