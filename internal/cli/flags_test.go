package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
)

// parseFlags parses a command line as "create" does, with the flags of all keys.
func parseFlags(t *testing.T, args ...string) (*config.Container, error) {
	t.Helper()
	c := newContainer()
	command := &cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true, RunE: func(_ *cobra.Command, rest []string) error {
		setImage(c, rest[0])
		c.Command = commandOf(rest[1:])
		return nil
	}}
	bind(c, command, append(containerFlags(), installFlags()...))
	command.SetArgs(args)
	return c, command.Execute()
}

// Every key of the schema but template and process has a flag: with all flags set no field of the
// container is empty, and the file that is written says the same.
func TestEveryKeyHasAFlag(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("# comment\n\nFROM_FILE=a b=\"c\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := parseFlags(t, fullFlags(file)...)
	if err != nil {
		t.Fatal(err)
	}
	c.Name = "web"
	_, read, err := checked(c, "/etc/cocker/containers/web.toml")
	if err != nil {
		t.Fatal(err)
	}
	read.Templates, read.Processes = []config.Template{{}}, []config.Process{{}} // they are for files
	read.ReloadCommand = []string{"x"}                                           // it goes with no reload signal, see TestReloadCommandFlag
	read.Network.Target, read.Pod = "x", "x"                                     // they go without the other flags of the network, see TestNetworkFlag
	read.Health = healthOfFlags(t)                                               // it goes with another init
	assertNothingEmpty(t, reflect.ValueOf(*read), "")
	read.Templates, read.Processes, read.ReloadCommand = nil, nil, nil
	read.Network.Target = ""
	assertManualHas(t, read)
	if want := []string{"cmd", "-v", "arg"}; !reflect.DeepEqual(read.Command, want) {
		t.Errorf("command %q, want %q: flags behind the image are the command's", read.Command, want)
	}
	if want := []string{"img:1", "img:2"}; !reflect.DeepEqual(read.Images, want) {
		t.Errorf("images %q, want %q", read.Images, want)
	}
	want := []config.EnvironmentVariable{{Name: "A", Value: "2"}, {Name: "FROM_FILE", Value: `a b="c"`}}
	if !reflect.DeepEqual(read.Environment, want) {
		t.Errorf("environment %v, want %v", read.Environment, want)
	}
}

func TestReloadCommandFlag(t *testing.T) {
	c, err := parseFlags(t, "--reload-command=nginx -s reload", "img:1")
	if err != nil {
		t.Fatal(err)
	}
	c.Name = "web"
	_, read, err := checked(c, "/etc/cocker/containers/web.toml")
	if want := []string{"/bin/sh", "-c", "nginx -s reload"}; err != nil || !reflect.DeepEqual(read.ReloadCommand, want) {
		t.Errorf("%q, %v; want %q", read.ReloadCommand, err, want)
	}
}

func TestNetworkFlag(t *testing.T) {
	for flag, want := range map[string]config.Network{
		"--network=host":         {Mode: config.NetworkHost},
		"--network=custom":       {Mode: config.NetworkCustom},
		"--network=container:db": {Mode: config.NetworkContainer, Target: "db"},
		"--network=ns:/run/x":    {Mode: config.NetworkNamespace, Target: "/run/x"},
		"--network=bridge":       {Mode: config.NetworkBridge, Joins: []config.Join{{Name: "cocker0"}}},
		"--network=front":        {Mode: config.NetworkBridge, Joins: []config.Join{{Name: "front"}}},
		"--pod=shop":             {Mode: config.NetworkBridge},
	} {
		c, err := parseFlags(t, flag, "img:1")
		if err != nil {
			t.Fatal(err)
		}
		c.Name = "web"
		_, read, err := checked(c, "/etc/cocker/containers/web.toml")
		if err != nil || !reflect.DeepEqual(read.Network, want) || (read.Pod != "") != (flag == "--pod=shop") {
			t.Errorf("%s: %+v, %v", flag, read, err)
		}
	}
	for flag, want := range map[string]string{"--join=back,x=1": `unknown key "x"`, "--egress-max=fast": "is no rate", "--address6=x": "x", "-p80": "is missing"} {
		if _, err := parseFlags(t, flag, "img:1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

func healthOfFlags(t *testing.T) config.Health {
	t.Helper()
	c, err := parseFlags(t, "--health-cmd=true", "--health-user=1", "--health-interval=5s", "--health-timeout=1500ms", "--health-retries=2",
		"--health-start-period=1min 1s", "--health-start-interval=2", "--health-on-failure=none", "img")
	if err != nil {
		t.Fatal(err)
	}
	c.Name = "web"
	_, read, err := checked(c, "/etc/cocker/containers/web.toml")
	if err != nil {
		t.Fatal(err)
	}
	return read.Health
}

// fullFlags are a command line with every flag.
func fullFlags(envFile string) []string {
	return []string{"--description=d", "--pull=never", "--pull-timeout=5min", "--init=cocker", "--autologin=root", "--notify-ready", "--user=1:2", "--workdir=/w", "--hostname=h",
		"--entrypoint=/bin/e", "--entrypoint=-x", "--stop-signal=SIGINT", "--seccomp=/etc/x.json", "--no-new-privileges", "--reload-signal=HUP", "-eA=1", "-eA=2", "--env-file=" + envFile,
		"--network=front", "--address=10.1.0.9", "--address6=fd00::9", "--mac=02:00:00:00:00:01", "--alias=a", "--alias=b", "--interface=lan0",
		"--join=back,address=10.2.0.9,address6=fd00:2::9,mac=02:00:00:00:00:02,alias=c,alias=d,interface=lan1",
		"-p8080:80", "-p127.0.0.1:53:53/udp", "-p[::1]:8000-8003:80-83/sctp", "-p:90", "--egress-max=1M", "--ingress-max=2M",
		"-v/srv:/srv:ro", "--tmpfs=/tmp:10M", "--mount=type=bind,source=/a:b,target=/c,read_only",
		"-vdata:/data:ro", "--mount=type=volume,source=db,target=/db,disk_max=1G", "--mount=type=tmpfs,target=/t,mode=0755",
		"--memory=1G", "--memory-high=50%", "--memory-low=1M", "--memory-min=2M", "--memory-swap-max=0", "--memory-nodes=0",
		"--cpu-quota=50%", "--cpu-weight=5", "--cpus=0-1", "--tasks-max=99", "--io-weight=7",
		"--io-read-bandwidth-max=/dev/vda 10M", "--io-read-bandwidth-max=/srv 1M", "--io-write-bandwidth-max=/dev/vda 10M",
		"--io-read-iops-max=/dev/vda 100", "--io-write-iops-max=/dev/vda 1K", "--disk-max=10G", "--resource-view",
		"--cap-add=net_admin", "--cap-drop=CAP_NET_RAW", "--read-only", "--private-users=true", "--privileged", "--apparmor-profile=p",
		"--selinux-label=a:b:c", "--selinux-mount-label=a:b:c", "--device=/dev/fuse", "--sysctl=net.core.somaxconn=1",
		"--load-credential=pw:/etc/pw", "--load-credential-encrypted=key:/etc/key", "--unit=After=x.service", "--service=Restart=on-failure", "--wanted-by=a.target", "--required-by=b.target",
		"img:1,img:2", "cmd", "-v", "arg"}
}

// assertManualHas checks that cocker.toml(5) describes each key that a full
// container has.
func assertManualHas(t *testing.T, c *config.Container) {
	t.Helper()
	page, err := os.ReadFile("../../docs/man/cocker.toml.5")
	if err != nil {
		t.Fatal(err)
	}
	values, err := asMap(c)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range values {
		section, isTable := value.(map[string]any)
		switch {
		case isTable && !strings.Contains(string(page), ".SH ["+key+"]"):
			t.Errorf("no section [%s]", key)
		case !isTable && key != "mount" && key != "device" && !strings.Contains(string(page), ".BI "+key+" "):
			t.Errorf("no key %s", key)
		case key == "environment" || key == "credentials" || key == "sysctls" || key == "unit" || key == "service":
			section = nil // the keys are the user's
		}
		for inner := range section {
			if !strings.Contains(string(page), ".BI "+inner+" ") && !strings.Contains(string(page), "\n"+inner+"\t") {
				t.Errorf("no key %s.%s", key, inner)
			}
		}
	}
}

// The example of the manual page is a good file.
func TestExampleOfTheManual(t *testing.T) {
	page, err := os.ReadFile("../../docs/man/cocker.toml.5")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), ".SH EXAMPLE\n.nf\n")
	example, _, found := strings.Cut(example, ".fi\n")
	if !found {
		t.Fatal("no example")
	}
	if _, err := config.Parse("web", "cocker.toml.5", example); err != nil {
		t.Error(err)
	}
}

func assertNothingEmpty(t *testing.T, v reflect.Value, path string) {
	t.Helper()
	for i := range v.NumField() {
		name := path + v.Type().Field(i).Name
		field := v.Field(i)
		if field.Kind() == reflect.Struct && field.NumField() > 0 && field.Type().PkgPath() == v.Type().PkgPath() {
			assertNothingEmpty(t, field, name+".")
		} else if field.IsZero() {
			t.Errorf("%s is set by no flag", name)
		}
	}
}

func TestBindOptions(t *testing.T) {
	tests := []struct {
		flag     string
		readOnly bool
		idmap    string // "": not said
	}{
		{"-v/a:/b", false, ""}, {"-v/a:/b:ro", true, ""}, {"-v/a:/b:rw,idmap", false, "true"}, {"-v/a:/b:noidmap,ro", true, "false"},
		{"--mount=source=/a,target=/b,idmap", false, "true"}, {"--mount=source=/a,target=/b,idmap=false,read_only", true, "false"},
		{"--mount=source=/a,target=/b", false, ""},
	}
	for _, tt := range tests {
		c, err := parseFlags(t, tt.flag, "img")
		if err != nil {
			t.Errorf("%s: %v", tt.flag, err)
			continue
		}
		m, idmap := c.Mounts[0], ""
		if m.IDMap != nil {
			idmap = fmt.Sprint(*m.IDMap)
		}
		if m.Source != "/a" || m.Target != "/b" || m.ReadOnly != tt.readOnly || idmap != tt.idmap {
			t.Errorf("%s: got %+v, idmap %q", tt.flag, m, idmap)
		}
	}
}

// docker-run(1): a source without a slash is a volume.
func TestVolumeFlag(t *testing.T) {
	tests := map[string]config.Mount{
		"-vdb:/data":    {Type: config.MountVolume, Source: "db", Target: "/data"},
		"-vdb:/data:ro": {Type: config.MountVolume, Source: "db", Target: "/data", ReadOnly: true},
		"-v/db:/data":   {Type: config.MountBind, Source: "/db", Target: "/data"},
		"--mount=type=volume,source=db,target=/data,disk_max=2M": {Type: config.MountVolume, Source: "db", Target: "/data", DiskMax: 2 << 20},
		"--mount=type=tmpfs,target=/data,size=1M,mode=700":       {Type: config.MountTmpfs, Target: "/data", Size: 1 << 20, Mode: 0o700},
	}
	for flag, want := range tests {
		c, err := parseFlags(t, flag, "img")
		if err != nil || len(c.Mounts) != 1 || c.Mounts[0] != want {
			t.Errorf("%s: got %+v, %v, want %+v", flag, c.Mounts, err, want)
		}
	}
}

func TestFlagsRefuse(t *testing.T) {
	tests := []struct{ flag, want string }{
		{"--publish=80", "port"},
		{"--publish=70000:80", "65535"},
		{"--volume=/srv", "SOURCE:TARGET"},
		{"--volume=/srv:/x:rx", "not an option"},
		{"--mount=type=bind,src=/x", "unknown key"},
		{"--mount=type=tmpfs,target=/x,mode=9", "no mode"}, {"--mount=type=volume,source=a,target=/x,disk_max=x", "size"},
		{"--address=10.88", "10.88"},
		{"--cpu-weight=heavy", "1 to 10000"},
		{"--cpu-weight=0", "1 to 10000"},
		{"--unit=After", "KEY=VALUE"},
		{"--env=COCKER_TEST_UNSET", "not set here"},
		{"--env-file=/nonexistent", "no such file"},
		{"--tmpfs=/tmp:big", "size"},
		{"--health-timeout=0", "no time"},
		{"--health-retries=x", "invalid"},
	}
	for _, tt := range tests {
		if _, err := parseFlags(t, tt.flag, "img"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.flag, err, tt.want)
		}
	}
}

// What only the checks of the file find is reported without a file that does
// not exist yet, and all of it.
func TestCheckedReportsEverything(t *testing.T) {
	c, err := parseFlags(t, "--user=-1", "--cpus=9-1", "--service=ExecStart=/bin/x", "img")
	if err != nil {
		t.Fatal(err)
	}
	c.Name = "web"
	_, _, err = checked(c, "/etc/cocker/containers/web.toml")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"user", "cpus", "ExecStart"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), ".toml") {
		t.Errorf("names a file that does not exist: %v", err)
	}
}

func TestRelativeSourceIsBelowTheCurrentDirectory(t *testing.T) {
	c, err := parseFlags(t, "-v", "./x:/x", "img")
	if err != nil {
		t.Fatal(err)
	}
	wd, _ := os.Getwd()
	if want := filepath.Join(wd, "x"); c.Mounts[0].Source != want {
		t.Errorf("got %q, want %q", c.Mounts[0].Source, want)
	}
}
