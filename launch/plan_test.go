package launch

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/netsetup"
)

func container(change func(*config.Container)) *config.Container {
	c := &config.Container{
		Name: "web", Hostname: "web", Images: []string{"demo:1.0"}, Init: config.InitCocker,
		Sources: []string{"/etc/cocker/containers/web.toml"},
		Network: config.Network{Mode: config.NetworkBridge},
	}
	if change != nil {
		change(c)
	}
	return c
}

func images(configs ...image.Config) []*image.Image {
	var all []*image.Image
	for _, c := range configs {
		all = append(all, &image.Image{Config: c})
	}
	return all
}

func plan(t *testing.T, c *config.Container, all []*image.Image) *handoff.Plan {
	t.Helper()
	p, err := makePlan(c, all, false)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// As docker run and podman run do it: "docker run reference, Overriding image
// defaults".
func TestCommandLine(t *testing.T) {
	both := image.Config{Entrypoint: []string{"/entry"}, Command: []string{"serve"}}
	cases := []struct {
		name   string
		change func(*config.Container)
		image  image.Config
		want   []string
	}{
		{"image's", nil, both, []string{"/entry", "serve"}},
		{"command replaces the image's command", func(c *config.Container) { c.Command = []string{"a", "b"} }, both, []string{"/entry", "a", "b"}},
		{"entrypoint replaces both", func(c *config.Container) { c.Entrypoint = []string{"/mine"} }, both, []string{"/mine"}},
		{"empty entrypoint", func(c *config.Container) { c.Entrypoint, c.Command = []string{}, []string{"sh"} }, both, []string{"sh"}},
		{"no entrypoint", nil, image.Config{Command: []string{"sh"}}, []string{"sh"}},
	}
	for _, c := range cases {
		if got := plan(t, container(c.change), images(c.image)).Command; !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestNothingToRun(t *testing.T) {
	_, err := makePlan(container(nil), images(image.Config{}), false)
	if err == nil || !strings.Contains(err.Error(), "/etc/cocker/containers/web.toml") {
		t.Errorf("%v, want an error that names the file", err)
	}
}

func TestEnvironment(t *testing.T) {
	c := container(func(c *config.Container) {
		c.Environment = []config.EnvironmentVariable{{Name: "B", Value: "file"}, {Name: "D", Value: "x=y"}}
	})
	got := plan(t, c, images(
		image.Config{Environment: []string{"A=low", "B=low", "C=low", "PATH=/low"}},
		image.Config{Environment: []string{"C=high"}, Command: []string{"sh"}},
	)).Environment
	for _, want := range []string{"A=low", "B=file", "C=high", "D=x=y", "PATH=/low", "container=cocker"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is missing in %q", want, got)
		}
	}
	if !slices.IsSorted(got) {
		t.Errorf("not sorted: %q", got)
	}
}

// signal(7) for x86 and arm; the C library's SIGRTMIN is 34.
func TestStopSignal(t *testing.T) {
	for text, want := range map[string]int{"SIGTERM": 15, "QUIT": 3, "sigint": 2, "9": 9, "SIGRTMIN+3": 37, "RTMIN+0": 34} {
		if got, err := stopSignal(text); got != want || err != nil {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "SIGNOPE", "0", "65", "-1", "SIGRTMIN+31"} {
		if got, err := stopSignal(text); err == nil {
			t.Errorf("%q was taken for %d", text, got)
		}
	}
	p := plan(t, container(func(c *config.Container) { c.StopSignal = "SIGQUIT" }), images(image.Config{Command: []string{"x"}, StopSignal: "SIGUSR1"}))
	if p.StopSignal != 3 {
		t.Errorf("stop signal %d, want the file's, 3", p.StopSignal)
	}
}

// The inheritable set of a container that got Docker's defaults was CVE-2022-24769;
// what may never be in the set are capabilities over the kernel.
func TestCapabilities(t *testing.T) {
	set := capabilitiesOf(&config.Container{})
	for name, capability := range map[string]uint{"SYS_ADMIN": 21, "SYS_PTRACE": 19, "SYS_MODULE": 16, "NET_ADMIN": 12, "MKNOD": 27, "SYS_RAWIO": 17, "BPF": 39} {
		if set&(1<<capability) != 0 {
			t.Errorf("CAP_%s is granted", name)
		}
	}
}

// An init that boots runs as root whatever the image's command runs as, and is found in
// the container if nobody names one.
func TestPlanOfBoot(t *testing.T) {
	boots := container(func(c *config.Container) { c.Init = config.InitImage })
	p := plan(t, boots, images(image.Config{User: "app", WorkDir: "/srv"}))
	if !p.Boot || !p.Exec || p.User != "" || p.WorkDir != "/" || len(p.Command) != 0 {
		t.Errorf("%+v", p)
	}
	if !slices.Contains(p.Environment, "NOTIFY_SOCKET=/run/host/notify") || !slices.Contains(p.Environment, "container=cocker") {
		t.Errorf("environment %q", p.Environment)
	}
	if p := plan(t, boots, images(image.Config{Command: []string{"/sbin/openrc-init"}})); !slices.Equal(p.Command, []string{"/sbin/openrc-init"}) {
		t.Errorf("command %q", p.Command)
	}
	own, hosts := capabilitiesOf(boots), capabilitiesOf(container(func(c *config.Container) {
		c.Init, c.Network.Mode = config.InitImage, config.NetworkHost
	}))
	for name, capability := range map[string]uint{"SYS_MODULE": 16, "MKNOD": 27, "SYS_RAWIO": 17, "SYS_TIME": 25, "BPF": 39} {
		if own&(1<<capability) != 0 {
			t.Errorf("CAP_%s is granted", name)
		}
	}
	if bit := uint64(1) << 12; own&bit == 0 || hosts&bit != 0 {
		t.Error("CAP_NET_ADMIN is for a network of its own, and no other")
	}
}

func TestNetworkFiles(t *testing.T) {
	c := &connector{
		state: &Connection{Joins: []JoinState{
			{Interface: "eth0", Address: "10.88.0.5/16", Address6: "fd00:1::5/64"},
			{Interface: "back", Address: "10.89.0.5/24"},
		}},
		leases: []netsetup.Lease{
			{Gateway4: netip.MustParseAddr("10.88.0.1"), Gateway6: netip.MustParseAddr("fd00:1::1")},
			{Gateway4: netip.MustParseAddr("10.89.0.1")},
		},
	}
	files := networkFiles(c, []byte("search example.com\nnameserver 192.0.2.53\nnameserver 192.0.2.54\n"))
	wants := []string{
		"[Match]\nName=eth0\n\n[Network]\nAddress=10.88.0.5/16\nAddress=fd00:1::5/64\nGateway=10.88.0.1\nGateway=fd00:1::1\nLink",
		"[Match]\nName=back\n\n[Network]\nAddress=10.89.0.5/24\nLink",
		"[Resolve]\nDNS=192.0.2.53 192.0.2.54\n",
	}
	if len(files) != len(wants) {
		t.Fatalf("%d files", len(files))
	}
	for i, want := range wants {
		if got := string(files[i].Update(nil)); !strings.Contains(got, want) {
			t.Errorf("%s: %s", files[i].Path, got)
		}
	}
	if files := networkFiles(nil, nil); len(files) != 0 {
		t.Errorf("without a network: %v", files)
	}
}

func TestUpdateHosts(t *testing.T) {
	c := container(func(c *config.Container) { c.Hostname = "front.example.com" })
	first := updateHosts(nil, c, netip.MustParseAddr("10.88.0.5"))
	if want := "10.88.0.5 front.example.com front web\n"; !strings.Contains(string(first), want) {
		t.Errorf("%q is not in\n%s", want, first)
	}
	edited := append([]byte("192.0.2.1 db # mine\n"), first...)
	second := updateHosts(edited, c, netip.MustParseAddr("10.88.0.6"))
	if !strings.Contains(string(second), "192.0.2.1 db # mine\n") || strings.Contains(string(second), "10.88.0.5") {
		t.Errorf("after an edit and a new address:\n%s", second)
	}
	if third := updateHosts(second, c, netip.MustParseAddr("10.88.0.6")); !reflect.DeepEqual(second, third) {
		t.Errorf("a second start with the same address changed the file to\n%s", third)
	}
	broken := []byte(hostsBegin + "cut off")
	if got := updateHosts(broken, c, netip.Addr{}); !strings.Contains(string(got), "cut off") {
		t.Error("a block without its end was thrown away")
	}
}

// systemd-resolved(8): the stub listens on 127.0.0.53, out of a container's reach.
func TestWithoutLoopback(t *testing.T) {
	in := "# comment\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.53\nsearch example.com\nnameserver bad\n"
	content, servers := withoutLoopback([]byte(in))
	if want := "# comment\nnameserver 192.0.2.53\nsearch example.com\n"; string(content) != want || servers != 1 {
		t.Errorf("%d servers in\n%s", servers, content)
	}
}

// machine-id(5): 16 bytes, a valid version 4 UUID, not derivable from each other.
func TestMachineID(t *testing.T) {
	web, db := machineID("web"), machineID("db")
	if web == db || web != machineID("web") {
		t.Error("not unique for the container, or not stable")
	}
	if uuid := web.uuid(); len(uuid) != 36 || uuid[14] != '4' || !strings.ContainsRune("89ab", rune(uuid[19])) {
		t.Errorf("%s is no version 4 UUID", uuid)
	}
}

func TestReachable(t *testing.T) {
	joined := &State{Connection: Connection{
		Address: "10.88.0.5/16",
		Joins:   []JoinState{{Address: "10.88.0.5/16"}, {Address6: "fd00:1::5/64"}},
		Ports: []config.Port{
			{HostPort: 8080, ContainerPort: 80, Protocol: config.TCP},
			{HostAddress: netip.MustParseAddr("127.0.0.1"), HostPort: 53, ContainerPort: 53, Protocol: config.UDP},
		},
	}}
	tests := []struct {
		change func(*config.Container)
		state  *State
		want   string
	}{
		{func(*config.Container) {}, joined, "Running at 10.88.0.5, fd00:1::5; ports 8080:80, 127.0.0.1:53:53/udp"},
		{func(c *config.Container) { c.Pod = "shop" }, joined, "Running in pod shop at 10.88.0.5"},
		{func(c *config.Container) { c.Pod = "shop" }, &State{}, "Running in pod shop"},
		{func(c *config.Container) { c.Network.Mode = config.NetworkHost }, &State{}, "Running in the host's network"},
		{func(c *config.Container) { c.Network.Mode = config.NetworkNone }, &State{}, "Running without network"},
		{func(c *config.Container) { c.Network.Mode, c.Network.Target = config.NetworkContainer, "db" }, &State{}, "Running in the network of container db"},
	}
	for _, tt := range tests {
		if got := reachable(container(tt.change), tt.state); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
