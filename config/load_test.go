package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

const full = `description = "Front-end web server"
images  = ["base:1.0", "registry.example.com:5000/team/web:1.27"]
pull = "always"
pull_timeout = "1h 30min"
command = ["nginx", "-g", "daemon off;\n"]
init = "none"
notify_ready = true
user = "www-data:33"
workdir = "/srv"
hostname = "www"
stop_signal = "QUIT"
reload_signal = "SIGHUP"

[environment]
TZ = "Asia/Shanghai"
EMPTY = ""
A = 1
B = true

[network]
mode    = "bridge"
address = "10.88.0.10"
ports   = ["8080:80", "127.0.0.1:5353:53/udp", "0.0.0.0:81:81/tcp", "[fd00::2]:1-3:11-13/sctp", ":90", "127.0.0.1::91"]
egress_max = "1.5M"
ingress_max = "1G"

[[network.join]]
name = "back"
address = "10.1.0.9"
address6 = "FD00:0:1::9"
mac = "02:00:5E:00:53:01"
aliases = ["db", "DB.example.com"]
interface = "back0"

[[network.join]]
name = "third"

[[mount]]
type = "bind"
source = "/srv/www"
target = "/usr/share/nginx/html"
read_only = true

[[mount]]
type = "tmpfs"
target = "/tmp"
size = "1.5M"
mode = "0750"

[[mount]]
type = "volume"
source = "data_1.x-y"
target = "/data"
disk_max = "1G"

[[template]]
source = "/etc/app.tpl"
target = "/etc/app.conf"
map = "/srv/web.map"
values = { "${PORT}" = 8080, "a.b-c" = "x", ON = true }
credentials = { PW = "db-password" }
mode = "0640"
owner = "33"

[[template]]
host_source = "/srv/b.tpl"
target = "/run/b"

[credentials]
z = { set = "a\nb\u0000\"%i\"" }
"tls.key" = { load = "/etc/a%i" }
host = { load = "host.name" }
db = { encrypted = "/etc/db.cred" }
[credentials.own]
set_encrypted = """
AA+/
  Bb==
"""

[resources]
memory_max = "512M"
memory_high = 1048576
cpu_quota  = "50%"
cpu_weight = 200
cpus       = "0-1,4"
tasks_max  = 512
io_weight  = 10
memory_low = "10%"
memory_min = "1M"
memory_swap_max = 0
memory_nodes = "0,2-3"
io_read_bandwidth_max = ["/dev/vda 10M", "/srv  1.5K"]
io_write_bandwidth_max = ["/srv/a%b 1G"]
io_read_iops_max = ["/dev/vda 100"]
io_write_iops_max = ["/dev/vda 1K"]
disk_max = 10485760
resource_view = true

[security]
no_new_privileges = true
seccomp = "none"
add_capabilities = ["net_admin", "CAP_SYS_NICE"]
drop_capabilities = ["Cap_Net_Raw"]
read_only = true
private_users = true
privileged = true
apparmor_profile = "cocker-web"
selinux_label = "system_u:system_r:container_t:s0:c1,c2"
selinux_mount_label = "system_u:object_r:container_file_t:s0:c1,c2"

[sysctls]
"net.core.somaxconn" = 1024
net.ipv4.ping_group_range = "0 1"
kernel.shm_rmid_forced = 1

[[device]]
source = "/dev/fuse"

[[device]]
source = "/dev/net/tun"
target = "/dev/tun"
access = "r"
mode = "0600"
owner = "33:44"

[unit]
after = ["cocker-db.service", "b.service"]
ConditionPathExists = "!/etc/no%i"
[service]
Restart = "on-failure"
timeout_stop_sec = 5
cpu_accounting = true
restart_prevent_exit_status = []
[install]
wanted_by = ["multi-user.target"]
required_by = ["app@1.service"]
`

func fullContainer() *Container {
	local, private := netip.MustParseAddr("127.0.0.1"), true
	return &Container{
		Name: "web", Sources: []string{"/e/web.toml"}, Description: "Front-end web server",
		Images: []string{"base:1.0", "registry.example.com:5000/team/web:1.27"}, Pull: PullAlways, PullTimeout: "1h 30min",
		Command: []string{"nginx", "-g", "daemon off;\n"}, Init: InitNone, NotifyReady: true,
		User: "www-data:33", WorkDir: "/srv", Hostname: "www", StopSignal: "SIGQUIT", ReloadSignal: "SIGHUP", Seccomp: SeccompNone, NoNewPrivileges: true,
		Environment: []EnvironmentVariable{{"A", "1"}, {"B", "true"}, {"EMPTY", ""}, {"TZ", "Asia/Shanghai"}},
		Network: Network{
			Mode: NetworkBridge, Joins: []Join{
				{Name: DefaultNetwork, Address: netip.MustParseAddr("10.88.0.10")},
				{
					Name: "back", Address: netip.MustParseAddr("10.1.0.9"), Address6: netip.MustParseAddr("fd00:0:1::9"),
					MAC: "02:00:5e:00:53:01", Aliases: []string{"db", "db.example.com"}, Interface: "back0",
				},
				{Name: "third"},
			},
			EgressMax: 1_500_000, IngressMax: 1_000_000_000,
			Ports: []Port{
				{HostPort: 8080, ContainerPort: 80, Protocol: TCP},
				{HostAddress: local, HostPort: 5353, ContainerPort: 53, Protocol: UDP},
				{HostPort: 81, ContainerPort: 81, Protocol: TCP},
				{HostAddress: netip.MustParseAddr("fd00::2"), HostPort: 1, ContainerPort: 11, Protocol: SCTP},
				{HostAddress: netip.MustParseAddr("fd00::2"), HostPort: 2, ContainerPort: 12, Protocol: SCTP},
				{HostAddress: netip.MustParseAddr("fd00::2"), HostPort: 3, ContainerPort: 13, Protocol: SCTP},
				{ContainerPort: 90, Protocol: TCP},
				{HostAddress: local, ContainerPort: 91, Protocol: TCP},
			},
		},
		Mounts: []Mount{
			{Type: MountBind, Source: "/srv/www", Target: "/usr/share/nginx/html", ReadOnly: true},
			{Type: MountTmpfs, Target: "/tmp", Size: 3 << 19, Mode: 0o750},
			{Type: MountVolume, Source: "data_1.x-y", Target: "/data", DiskMax: 1 << 30},
		},
		Templates: []Template{
			{
				Source: "/etc/app.tpl", Target: "/etc/app.conf", Map: "/srv/web.map", Mode: 0o640, Owner: &Owner{33, 33},
				Values:      []TemplateValue{{"ON", "true"}, {"PORT", "8080"}, {"a.b-c", "x"}},
				Credentials: []TemplateValue{{"PW", "db-password"}},
			},
			{HostSource: "/srv/b.tpl", Target: "/run/b"},
		},
		Credentials: []Credential{
			{"db", CredentialEncrypted, "/etc/db.cred"}, {"host", CredentialLoad, "host.name"}, {"own", CredentialSetEncrypted, "AA+/Bb=="},
			{"tls.key", CredentialLoad, "/etc/a%i"}, {"z", CredentialSet, "a\nb\x00\"%i\""},
		},
		Resources: Resources{
			MemoryMax: "512M", MemoryHigh: "1048576", CPUQuota: "50%", CPUWeight: 200,
			CPUs: "0-1,4", TasksMax: "512", IOWeight: 10,
			MemoryLow: "10%", MemoryMin: "1M", MemorySwapMax: "0", MemoryNodes: "0,2-3",
			IOReadBandwidthMax: []DeviceLimit{{"/dev/vda", "10M"}, {"/srv", "1.5K"}}, IOWriteBandwidthMax: []DeviceLimit{{"/srv/a%b", "1G"}},
			IOReadIOPSMax: []DeviceLimit{{"/dev/vda", "100"}}, IOWriteIOPSMax: []DeviceLimit{{"/dev/vda", "1K"}},
			DiskMax: 10 << 20, View: true,
		},
		Security: Security{
			AddCapabilities: []string{"CAP_NET_ADMIN", "CAP_SYS_NICE"}, DropCapabilities: []string{"CAP_NET_RAW"}, ReadOnly: true,
			PrivateUsers: &private, Privileged: true, AppArmorProfile: "cocker-web",
			SELinuxLabel: "system_u:system_r:container_t:s0:c1,c2", SELinuxMount: "system_u:object_r:container_file_t:s0:c1,c2",
		},
		Sysctls: []Sysctl{{"kernel.shm_rmid_forced", "1"}, {"net.core.somaxconn", "1024"}, {"net.ipv4.ping_group_range", "0 1"}},
		Devices: []Device{{Source: "/dev/fuse", Target: "/dev/fuse", Access: "rw"},
			{Source: "/dev/net/tun", Target: "/dev/tun", Access: "r", Mode: 0o600, Owner: &Owner{33, 44}}},
		Unit:    []Directive{{"After", "cocker-db.service"}, {"After", "b.service"}, {"ConditionPathExists", "!/etc/no%i"}},
		Service: []Directive{{"Restart", "on-failure"}, {"TimeoutStopSec", "5"}, {"CPUAccounting", "true"}},
		Install: Install{WantedBy: []string{"multi-user.target"}, RequiredBy: []string{"app@1.service"}},
	}
}

func TestEveryKey(t *testing.T) {
	c, err := Parse("web", "/e/web.toml", full)
	if err != nil {
		t.Fatal(err)
	}
	if want := fullContainer(); !reflect.DeepEqual(c, want) {
		t.Errorf(" got %+v\nwant %+v", c, want)
	}
}

func TestDefaults(t *testing.T) {
	c, err := Parse("web", "/e/web.toml", `image = "a"`)
	want := &Container{
		Name: "web", Sources: []string{"/e/web.toml"}, Images: []string{"a"}, Pull: PullMissing, Init: InitCocker,
		Hostname: "web", Network: Network{Mode: NetworkBridge, Joins: []Join{{Name: "cocker0"}}},
	}
	if err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestSearchAndDropIns(t *testing.T) {
	root := tree(t, map[string]string{
		"etc/containers/web.toml": "image = \"a\"\ncommand = [\"x\"]\n[network]\nports = [\"1:1\"]\naddress = \"10.88.0.9\"\n[unit]\nAfter = \"a.service\"\n[service]\nNice = 1\n",
		"usr/containers/web.toml": "image = \"never\"\n",
		// In the order of their names, whatever their directory.
		"usr/containers/web.toml.d/10-a.toml": "command = [\"usr10\"]\ndescription = \"usr10\"\n",
		"etc/containers/web.toml.d/20-b.toml": "description = \"etc20\"\n[network]\nports = [\"2:2\"]\n[unit]\nafter = [\"b.service\", \"c.service\"]\nwants = \"w.service\"\n",
		"usr/containers/web.toml.d/20-b.toml": "this is not read",
		"usr/containers/web.toml.d/30-c.toml": "images = [\"b\", \"c\"]\n[service]\nnice = []\n",
		"usr/containers/web.toml.d/40-d.toml": "description = \"hidden\"",
		"etc/containers/web.toml.d/40-d.toml": "-> /dev/null",
		"usr/containers/web.toml.d/notes.txt": "not read either",
	})
	etc, usr := filepath.Join(root, "etc"), filepath.Join(root, "usr")
	c, err := Load([]string{etc, filepath.Join(root, "run"), usr}, "web")
	if err != nil {
		t.Fatal(err)
	}
	want := &Container{
		Name: "web", Description: "etc20", Images: []string{"b", "c"}, Pull: PullMissing, Command: []string{"usr10"}, Init: InitCocker, Hostname: "web",
		Sources: []string{
			etc + "/containers/web.toml", usr + "/containers/web.toml.d/10-a.toml",
			etc + "/containers/web.toml.d/20-b.toml", usr + "/containers/web.toml.d/30-c.toml",
		},
		Network: Network{
			Mode: NetworkBridge, Joins: []Join{{Name: DefaultNetwork, Address: netip.MustParseAddr("10.88.0.9")}},
			Ports: []Port{{HostPort: 2, ContainerPort: 2, Protocol: TCP}},
		},
		Unit: []Directive{{"After", "b.service"}, {"After", "c.service"}, {"Wants", "w.service"}},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf(" got %+v\nwant %+v", c, want)
	}
}

func TestProblemInDropInNamesItsLine(t *testing.T) {
	root := tree(t, map[string]string{
		"containers/web.toml":             "image = \"a\"\n[network]\nmode = \"host\"\n",
		"containers/web.toml.d/1.toml":    "# a comment\n[network]\n\nports = [\"1:1\"]\n",
		"containers/web.toml.d/2.toml":    "descriptoin = \"\"\n",
		"containers/web.toml.d/3-x.toml":  "[service]\nKillMode = \"x\"\n",
		"containers/other.toml":           "image = \"a\"",
		"containers/other.toml.d/ignored": "[",
	})
	_, err := Load([]string{root}, "web")
	dir := root + "/containers/web.toml.d/"
	want := []string{dir + "1.toml:4: network.ports: ", dir + "2.toml:1: unknown key", dir + "3-x.toml:2: service.KillMode: "}
	problems := Problems(err)
	if len(problems) != len(want) {
		t.Fatalf("got %v", err)
	}
	for i, p := range problems {
		if !strings.HasPrefix(p.Error(), want[i]) {
			t.Errorf("got %s, want %s...", p, want[i])
		}
	}
}

func TestNotFound(t *testing.T) {
	root := tree(t, map[string]string{
		"etc/containers/web.toml": "-> /dev/null", "usr/containers/web.toml": "image = \"a\"",
	})
	dirs := []string{filepath.Join(root, "etc"), filepath.Join(root, "usr")}
	for name, want := range map[string]string{
		"db":  `no such container as "db": no db.toml in ` + root + "/etc/containers, " + root + "/usr/containers",
		"web": `no such container as "web": ` + root + "/etc/containers/web.toml is a link to /dev/null, which hides it",
	} {
		_, err := Load(dirs, name)
		if !errors.Is(err, ErrNotFound) || err.Error() != want {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
	if _, err := Load(dirs, "../etc"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("a bad name: %v", err)
	}
	if names, err := List(dirs); err != nil || len(names) != 0 {
		t.Errorf("List = %v, %v", names, err)
	}
}

func TestOddFiles(t *testing.T) {
	root := tree(t, map[string]string{"containers/dir.toml/x": "", "containers/loop.toml": "-> loop.toml", "containers/gone.toml": "-> nowhere"})
	big := filepath.Join(root, "containers/big.toml")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, 10<<20); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(root, "containers/fifo.toml"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"big": "10485760 bytes; a container file may have 1048576", "fifo": "not a regular file",
		"dir": "not a regular file", "loop": "too many levels of symbolic links", "gone": "no such file",
	} {
		_, err := Load([]string{root}, name)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name+".toml: ") || len(Problems(err)) != 1 {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
}

func TestList(t *testing.T) {
	root := tree(t, map[string]string{
		"a/containers/web.toml": "", "a/containers/bad.toml": "[", "a/containers/no_name.toml": "",
		"b/containers/web.toml": "", "b/containers/db.toml": "", "b/containers/README": "",
		"b/containers/only-dropin.toml.d/x.toml": "",
	})
	names, err := List([]string{root + "/a", root + "/missing", root + "/b"})
	if want := []string{"bad", "db", "no_name", "web"}; err != nil || !reflect.DeepEqual(names, want) {
		t.Errorf("got %v, %v, want %v", names, err, want)
	}
}

func TestCheck(t *testing.T) {
	root := tree(t, map[string]string{
		"containers/a.toml":   "image = \"a\"\n[network]\naddress = \"10.88.0.9\"\nports = [\"80:80\"]\n",
		"containers/b.toml":   "image = \"a\"\n[network]\naddress = \"10.88.0.9\"\nports = [\n\"80:1/udp\",\n\"80:1\"]\n",
		"containers/c_d.toml": "image = \"a\"\n",
		"containers/e.toml":   "imag = \"a\"\n",
	})
	good, err := Check([]string{root})
	dir := root + "/containers/"
	want := []string{
		dir + "b.toml:3: network.address: the address 10.88.0.9 in cocker0 is taken by " + dir + "a.toml:3",
		dir + "b.toml:6: network.ports[1]: tcp port 80 of every address is taken by " + dir + "a.toml:4",
		dir + `c_d.toml: "c_d" is no valid container name`,
		dir + "e.toml: no image", dir + "e.toml:1: unknown key \"imag\"",
	}
	problems := Problems(err)
	if len(good) != 2 || len(problems) != len(want) {
		t.Fatalf("good: %d, problems: %v", len(good), err)
	}
	for i, p := range problems {
		if !strings.HasPrefix(p.Error(), want[i]) {
			t.Errorf("got  %s\nwant %s", p, want[i])
		}
	}
}

// The same limit twice is one limit; another one would win or lose by who starts last.
func TestCheckVolumeLimits(t *testing.T) {
	mount := func(limit string) string {
		return "image = \"a\"\n[[mount]]\ntype = \"volume\"\nsource = \"db\"\ntarget = \"/a\"\n" + limit
	}
	root := tree(t, map[string]string{
		"containers/a.toml": mount("disk_max = \"1G\"\n"), "containers/b.toml": mount("disk_max = \"1024M\"\n"),
		"containers/c.toml": mount(""), "containers/d.toml": mount("disk_max = \"2G\"\n"),
	})
	_, err := Check([]string{root})
	dir := root + "/containers/"
	want := dir + "d.toml:6: mount[0].disk_max: the volume db has another limit in " + dir + "a.toml:6, 1G; give it one"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
