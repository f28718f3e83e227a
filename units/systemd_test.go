package units

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocker/cocker/config"
)

// unitDir makes a unit directory with cocker's static units, their commands
// replaced by one that exists on any machine, as systemd-analyze looks for it.
func unitDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cocker-units-") // readable for another user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, kind := range []string{"*.service", "*.socket"} {
		found, err := filepath.Glob(kind)
		if err != nil || len(found) == 0 {
			t.Fatalf("static units: %v, %v", found, err)
		}
		names = append(names, found...)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, program := range []string{"/usr/libexec/cocker/cocker-launch", "/usr/bin/cocker"} {
			text = bytes.ReplaceAll(text, []byte(program), []byte("/bin/true"))
		}
		if err := Write(filepath.Join(dir, name), text); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// verify lets systemd-analyze judge units; it says nothing about a good one.
func verify(t *testing.T, dir string, names ...string) string {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("needs systemd-analyze, the judge of unit files")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"verify", "--man=no", "--recursive-errors=no"}, names...)...)
	cmd.Dir = dir // systemd-analyze searches the working directory first
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		return err.Error()
	}
	return string(out)
}

func TestStaticUnits(t *testing.T) {
	if got := verify(t, unitDir(t), Service("web"), Network("cocker0"), Cleanup("web"), Removal("web"), Pull("web"), "cocker-network-rules.service", "cocker-oom.socket", "cocker-oom.service"); got != "" {
		t.Error(got)
	}
}

// The judge must be able to find something, or the test above says nothing.
func TestVerifyFindsMistakes(t *testing.T) {
	dir := unitDir(t)
	if err := Write(filepath.Join(dir, DropIn(Service("web"))), []byte("[Service]\nMemoryMax=50%%\n")); err != nil {
		t.Fatal(err)
	}
	if got := verify(t, dir, Service("web")); !strings.Contains(got, "10-cocker.conf:2") {
		t.Errorf("got %q", got)
	}
}

// systemd in its test mode shows what it has made of a drop-in: the strange
// characters of a path and a description must arrive as they are.
func TestSystemdReadsValuesBack(t *testing.T) {
	c := &config.Container{
		Name: "web", Description: `100% "sure" 'x' \n $HOME`, Sources: []string{"/etc/cocker/containers/web.toml"},
		Network:   config.Network{Mode: config.NetworkBridge, Joins: []config.Join{{Name: config.DefaultNetwork}}},
		Mounts:    []config.Mount{{Type: config.MountBind, Source: `/srv/a b%c"d'e\`, Target: "/t"}},
		Resources: config.Resources{MemoryMax: "512M", CPUWeight: 77},
	}
	dir := unitDir(t)
	text, err := ForContainer(c).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, DropIn(Service("web"))), text); err != nil {
		t.Fatal(err)
	}
	if got := verify(t, dir, Service("web")); got != "" {
		t.Error(got)
	}
	shown := systemdTest(t, dir, Service("web"))
	for _, want := range []string{
		`Description: 100% "sure" 'x' \n $HOME`, "Source Path: /etc/cocker/containers/web.toml", "Slice: machine.slice",
		`RequiresMountsFor: /srv/a b%c"d'e\ (`, "RequiresMountsFor: /var/lib/cocker (", "MemoryMax: 536870912", "CPUWeight: 77",
		"Wants: cocker-network@cocker0.service (", "PartOf: cocker-network@cocker0.service (", "After: cocker-network@cocker0.service (",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("systemd does not show %s", want)
		}
	}
}

// systemdTest gives what "systemd --test" prints of one unit. It refuses to run
// as root, so root runs it as nobody.
func systemdTest(t *testing.T, dir, name string) string {
	t.Helper()
	const systemd = "/usr/lib/systemd/systemd"
	if _, err := os.Stat(systemd); err != nil {
		t.Skip("needs systemd, to read the unit back")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, systemd, "--test", "--system", "--unit="+name)
	cmd.Dir, cmd.Env = "/", []string{"SYSTEMD_UNIT_PATH=" + dir + ":"}
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.Output()
	_, unit, found := strings.Cut(string(out), "-> Unit "+name+":\n")
	if err != nil || !found {
		t.Skipf("systemd --test: %v", err)
	}
	unit, _, _ = strings.Cut(unit, "-> Unit ")
	return unit
}
