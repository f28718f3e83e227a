package units

import (
	"testing"

	"github.com/cocker/cocker/config"
)

func TestForContainer(t *testing.T) {
	for _, c := range []struct{ name, toml, want string }{
		{"nothing but an image", ``, `[Unit]
Description=Container web
SourcePath=/etc/cocker/containers/web.toml
Wants=cocker-network@cocker0.service
PartOf=cocker-network@cocker0.service
After=cocker-network@cocker0.service
After=network.target
`},
		{"no network", `
description = "50% off"
[network]
mode = "none"`, `[Unit]
Description=50%% off
SourcePath=/etc/cocker/containers/web.toml
`},
		{"two networks", `
[network]
name = "front"
[[network.join]]
name = "back"`, `[Unit]
Description=Container web
SourcePath=/etc/cocker/containers/web.toml
Wants=cocker-network@front.service
Wants=cocker-network@back.service
PartOf=cocker-network@front.service
PartOf=cocker-network@back.service
After=cocker-network@front.service
After=cocker-network@back.service
After=network.target
`},
		{"the network of another", `
[network]
mode = "container:db"`, `[Unit]
Description=Container web
SourcePath=/etc/cocker/containers/web.toml
After=network.target
Wants=cocker@db.service
PartOf=cocker@db.service
After=cocker@db.service
`},
		{"in a pod", `pod = "shop"`, `[Unit]
Description=Container web
SourcePath=/etc/cocker/containers/web.toml
After=network.target
Wants=cocker-pod@shop.service
PartOf=cocker-pod@shop.service
After=cocker-pod@shop.service
`},
		{"the stop signal is the init's to send", `stop_signal = "SIGQUIT"
[service]
ExecStopPost = "/bin/true %i"`, `[Unit]
Description=Container web
SourcePath=/etc/cocker/containers/web.toml
Wants=cocker-network@cocker0.service
PartOf=cocker-network@cocker0.service
After=cocker-network@cocker0.service
After=network.target

[Service]
ExecStopPost=/bin/true %i
`},
		{"templates", `reload_signal = "HUP"
[network]
mode = "none"
[[template]]
source = "/a.tpl"
target = "/a"
map = "/srv/a b%c"
[[template]]
host_source = "/srv/b.tpl"
target = "/b"
map = "/srv/a b%c"
[service]
ExecReload = "/bin/true %i"`, `[Unit]
Description=Container web
SourcePath=/etc/cocker/containers/web.toml
RequiresMountsFor="/srv/a b%%c"
RequiresMountsFor=/srv/b.tpl

[Service]
ExecReload=/usr/libexec/cocker/cocker-launch reload web
ExecReload=/bin/true %i
`},
		{"a machine", `init = "image"
[network]
mode = "none"
[service]
TimeoutStopSec = "10s"`, `[Unit]
Description=Container web
SourcePath=/etc/cocker/containers/web.toml

[Service]
KillSignal=SIGRTMIN+3
TimeoutStartSec=5min
TimeoutStopSec=2min
RestartForceExitStatus=SIGHUP
SuccessExitStatus=SIGRTMIN+3
TimeoutStopSec=10s
`},
		{"health", `network.mode = "none"
[health]
command = "true"
interval = "10s"
timeout = "1500ms"
start_period = "1min"
[service]
Restart = "always"`, `[Unit]
Description=Container web
SourcePath=/etc/cocker/containers/web.toml

[Service]
TimeoutStartSec=186
Restart=on-watchdog
WatchdogSignal=SIGTERM
Restart=always
`},
		{"health that is only reported", `network.mode = "none"
[health]
command = "true"
on_failure = "none"`, `[Unit]
Description=Container web
SourcePath=/etc/cocker/containers/web.toml

[Service]
TimeoutStartSec=300
WatchdogSignal=SIGTERM
`},
		{"devices", `network.mode = "none"
[[device]]
source = "/dev/fuse"
[[device]]
source = "/dev/a%b"
target = "/dev/c"
access = "r"
[[mount]]
type = "bind"
source = "/dev/snd"
target = "/snd"`, `[Unit]
Description=Container web
SourcePath=/etc/cocker/containers/web.toml
RequiresMountsFor=/dev/snd

[Service]
DeviceAllow=/dev/fuse rwm
DeviceAllow=/dev/a%%b rm
DeviceAllow=/dev/snd rw
`},
		{"privileged", `network.mode = "none"
security.privileged = true
[[device]]
source = "/dev/fuse"`, `[Unit]
Description=Container web
SourcePath=/etc/cocker/containers/web.toml

[Service]
DevicePolicy=auto
`},
		{"everything", `init = "none"
stop_signal = "SIGQUIT"
[network]
mode = "host"
[[mount]]
type = "bind"
source = "/srv/a b%c"
target = "/a"
[[mount]]
type = "tmpfs"
target = "/b"
[[mount]]
type = "bind"
source = "/srv/www"
target = "/c"
[resources]
memory_max = "50%"
memory_high = "1G"
cpu_quota = "50%"
cpu_weight = 10
cpus = "0-1"
tasks_max = 55
io_weight = 7
memory_low = "64M"
memory_min = "1%"
memory_swap_max = 0
memory_nodes = "0"
io_read_bandwidth_max = ["/dev/vda 10M", "/srv/a%c 1G"]
io_write_bandwidth_max = ["/srv/a%c 1.5K"]
io_read_iops_max = ["/dev/vda 100"]
io_write_iops_max = ["/dev/vda 1K"]
resource_view = true
[unit]
wants = ["a.service", "b@%i.service"]
after = ""
[service]
restart = "always"
nice = 5`, `[Unit]
Description=Container web
SourcePath=/etc/cocker/containers/web.toml
After=network.target
Wants=lxcfs.service
After=lxcfs.service
RequiresMountsFor="/srv/a b%%c"
RequiresMountsFor=/srv/www
RequiresMountsFor=/srv/a%%c
Wants=a.service
Wants=b@%i.service
After=

[Service]
KillSignal=SIGQUIT
MemoryMax=50%
MemoryHigh=1G
MemoryLow=64M
MemoryMin=1%
MemorySwapMax=0
AllowedMemoryNodes=0
CPUQuota=50%
CPUWeight=10
AllowedCPUs=0-1
TasksMax=55
IOWeight=7
IOReadBandwidthMax=/dev/vda 10M
IOReadBandwidthMax=/srv/a%%c 1G
IOWriteBandwidthMax=/srv/a%%c 1.5K
IOReadIOPSMax=/dev/vda 100
IOWriteIOPSMax=/dev/vda 1K
Restart=always
Nice=5
`},
		{"processes", "[process.a]\ncommand = ['x']\nstop_timeout = '45500ms'\n[network]\nmode = 'none'", "[Unit]\nDescription=Container web\nSourcePath=/etc/cocker/containers/web.toml\n\n" +
			"[Service]\nTimeoutStopSec=66\n"}, // that of main and what comes after, 10 s each
		{"quick processes", "[process.a]\ncommand = ['x']\n[network]\nmode = 'none'", "[Unit]\nDescription=Container web\nSourcePath=/etc/cocker/containers/web.toml\n"},
		{"patient processes", "[process.a]\ncommand = ['x']\nstop_timeout = 'infinity'\n[network]\nmode = 'none'\n[service]\nTimeoutStopSec = '5s'", "[Unit]\nDescription=Container web\nSourcePath=/etc/cocker/containers/web.toml\n\n" +
			"[Service]\nTimeoutStopSec=infinity\nTimeoutStopSec=5s\n"}, // the last one counts
	} {
		container, err := config.Parse("web", "/etc/cocker/containers/web.toml", "image = \"a\"\n"+c.toml)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got, err := ForContainer(container).Bytes()
		if want := "# " + header + "\n" + c.want; err != nil || string(got) != want {
			t.Errorf("%s: %v\ngot\n%s\nwant\n%s", c.name, err, got, want)
		}
	}
}
