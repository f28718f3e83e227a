package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machinePackages are what a Debian that boots has beyond the essential packages, and
// what examples/rich needs where nothing boots.
func machinePackages() []string {
	return []string{"systemd-sysv", "dbus", "libpam-systemd", "login", "openssh-server", "busybox-static"}
}

// machineOptions make it small: nobody reads in it. The package's host keys would be the
// same in every container, and without them its unit would fail in one that boots.
func machineOptions() []string {
	options := []string{"--format=tar", `--customize-hook=rm "$1"/etc/ssh/ssh_host_*_key*`, `--customize-hook=chroot "$1" systemctl disable ssh.service`}
	for _, dir := range []string{"doc", "man", "locale", "zoneinfo"} {
		options = append(options, "--dpkgopt=path-exclude=/usr/share/"+dir+"/*")
	}
	return options
}

// BuildMachine returns the path of a tar with a Debian 13 that boots, for containers. The
// first call on a machine makes it from Debian's packages, in less than a minute.
func BuildMachine(ctx context.Context, progress io.Writer) (string, error) {
	sum := sha256.Sum256([]byte(strings.Join(append(machinePackages(), machineOptions()...), "\n")))
	const archive = "root.tar"
	dir, err := buildOnce("machines", string(Trixie)+"-"+hex.EncodeToString(sum[:])[:12], func(building string) error {
		fmt.Fprintln(progress, "making the Debian 13 that boots in containers (about 20 s, once)")
		if err := os.Mkdir(building, 0o755); err != nil {
			return err
		}
		return debootstrap(ctx, Trixie, filepath.Join(building, archive), machinePackages(), machineOptions(), progress)
	})
	return filepath.Join(dir, archive), err
}

// ImportMachine makes the image of BuildMachine known to the host's cocker.
func (h *Host) ImportMachine(t testing.TB, image string) {
	t.Helper()
	path, err := BuildMachine(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	ctx, cancel := context.WithTimeout(t.Context(), h.deadline(commandDeadline))
	defer cancel()
	if r, err := h.Command(ctx, "cocker", "image", "import", "-", image).Exec(archive); err != nil || r.ExitCode != 0 {
		t.Fatalf("import %s: %v, %+v", path, err, r)
	}
}
