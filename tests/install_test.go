package tests

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// What is installed can be read by everybody, whatever the umask of who installs
// it, and uninstalling leaves nothing but the place for container files.
func TestInstallAndUninstall(t *testing.T) {
	host.Shared(t, host.Trixie) // has built the programs, and they are not built again
	dir := t.TempDir()
	makeTarget(t, "install", dir)
	programs, others := installedFiles(t, dir)
	for _, want := range []string{"usr/bin/cocker", "usr/libexec/cocker/cocker-init", "usr/libexec/cocker/cocker-dns", "usr/libexec/cocker/cocker-launch", "usr/lib/systemd/system-generators/cocker-generator"} {
		if !programs[want] {
			t.Errorf("%s is no program", want)
		}
	}
	for _, want := range []string{
		"usr/lib/systemd/system/cocker@.service", "usr/lib/systemd/system/cocker-pull@.service", "usr/lib/systemd/system/cocker-dns@.service", "usr/lib/systemd/system/cocker-prune.timer", "usr/lib/systemd/system/cocker-oom.socket", "usr/lib/systemd/system-preset/80-cocker.preset", "usr/lib/tmpfiles.d/cocker.conf",
		"usr/lib/systemd/system/nftables.service.wants/cocker-network-rules.service", "usr/lib/systemd/network/00-cocker.network", "usr/lib/systemd/system/lxcfs.service.d/10-cocker.conf", "usr/lib/NetworkManager/conf.d/10-cocker.conf", "usr/lib/firewalld/zones/cocker.xml", "usr/share/bash-completion/completions/cocker",
		"usr/share/cocker/seccomp.json", "usr/share/man/man1/cocker-image-import.1", "usr/share/man/man5/cocker.toml.5", "usr/share/man/man7/cocker-polkit.7", "usr/share/man/man8/cocker-launch.8",
	} {
		if !others[want] {
			t.Errorf("%s is not installed", want)
		}
	}
	makeTarget(t, "uninstall", dir)
	if programs, others := installedFiles(t, dir); len(programs)+len(others) != 0 {
		t.Errorf("uninstall leaves %v %v", programs, others)
	}
	if _, err := os.Stat(filepath.Join(dir, "etc/cocker/containers")); err != nil {
		t.Error(err)
	}
}

func makeTarget(t *testing.T, target, dir string) {
	t.Helper()
	checkout, err := host.Checkout()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `umask 077; exec make "$1" GO=not-installed DESTDIR="$2" PREFIX=/usr`, "sh", target, dir)
	cmd.Dir = checkout
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "MAKE") && !strings.HasPrefix(variable, "MFLAGS") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v\n%s", target, err, out)
	}
}

// installedFiles lists the files below dir by their modes, and fails the test for
// other modes than 0755 and 0644.
func installedFiles(t *testing.T, dir string) (programs, others map[string]bool) {
	t.Helper()
	programs, others = map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch mode := info.Mode(); {
		case mode == 0o755:
			programs[name] = true
		case mode == 0o644 || mode&fs.ModeSymlink != 0:
			others[name] = true
		case mode != fs.ModeDir|0o755:
			t.Errorf("%s has the mode %v", name, mode)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return programs, others
}
