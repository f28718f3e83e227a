package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// image makes a root directory of symlinks that point at a canary outside.
func hostileRoot(t *testing.T, links map[string]string) (root *Root, dir, canary string) {
	t.Helper()
	base := t.TempDir()
	canary = filepath.Join(base, "canary")
	if err := os.WriteFile(canary, []byte("safe"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(base, "root")
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range links {
		target = strings.ReplaceAll(target, "CANARY", canary)
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, dir, canary
}

func set(content string) func([]byte) []byte {
	return func([]byte) []byte { return []byte(content) }
}

// Whatever symlinks the image has, the host's file must keep its content
// (CVE-2025-24965, the class of most CVEs of container engines).
func TestUpdateFileStaysInside(t *testing.T) {
	root, dir, canary := hostileRoot(t, map[string]string{
		"etc/hosts": "CANARY", "etc/hostname": "../../canary", "etc/resolv.conf": "../../../../../../../../../CANARY",
		"etc/machine-id": "/proc/self/cwd/x", "up": "..",
	})
	for _, name := range []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/machine-id", "/up/canary", "../canary"} {
		err := root.UpdateFile(name, 0o644, set("owned")) // an error is as good as a file inside
		if err != nil {
			t.Logf("%s: %v", name, err)
		}
	}
	if content, err := os.ReadFile(canary); err != nil || string(content) != "safe" {
		t.Errorf("the canary says %q (%v)", content, err)
	}
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(entries) != 2 {
		t.Errorf("files were made beside the root: %v (%v)", entries, err)
	}
}

// Debian's /etc/resolv.conf with systemd-resolved.
func TestUpdateFileThroughDanglingLink(t *testing.T) {
	root, dir, _ := hostileRoot(t, map[string]string{"etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf"})
	if err := root.UpdateFile("/etc/resolv.conf", 0o644, set("nameserver 192.0.2.1\n")); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "run/systemd/resolve/stub-resolv.conf"))
	if err != nil || string(content) != "nameserver 192.0.2.1\n" {
		t.Errorf("%q, %v", content, err)
	}
}

func TestUpdateFileRefusesWhatIsNoFile(t *testing.T) {
	root, dir, _ := hostileRoot(t, nil)
	if err := unix.Mkfifo(filepath.Join(dir, "etc/hosts"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := root.UpdateFile("/etc/hosts", 0o644, set("x")); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a fifo: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "etc/hostname"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := root.UpdateFile("/etc/hostname", 0o644, set("x")); err == nil {
		t.Error("a directory was written")
	}
}

// fifo(7): whoever opens one for reading waits for a writer.
func TestTargetDoesNotWaitForAFifo(t *testing.T) {
	root, dir, _ := hostileRoot(t, nil)
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := root.Target("/fifo", false)
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("a fifo: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits")
	}
}

func TestUpdateFileLeavesEqualContentAlone(t *testing.T) {
	root, dir, _ := hostileRoot(t, nil)
	path := filepath.Join(dir, "etc/hostname")
	if err := root.UpdateFile("/etc/hostname", 0o644, set("web\n")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	before := changeTime(t, path)
	if err := root.UpdateFile("/etc/hostname", 0o644, set("web\n")); err != nil {
		t.Fatal(err)
	}
	if after := changeTime(t, path); after != before {
		t.Error("the file was written although nothing has changed")
	}
}

func changeTime(t *testing.T, path string) unix.Timespec {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Ctim
}

// CVE-2023-27561, CVE-2026-41579: /proc or /dev of the image is a symlink.
func TestPlainDirectoryRefusesLinks(t *testing.T) {
	root, _, canary := hostileRoot(t, map[string]string{"proc": "CANARY", "sys": "etc", "dev": ".."})
	for _, name := range []string{"proc", "sys", "dev"} {
		fd, err := root.PlainDirectory(name)
		if err == nil {
			unix.Close(fd)
			t.Errorf("/%s was followed", name)
		} else if !strings.Contains(err.Error(), "/"+name) {
			t.Errorf("/%s: the error does not name it: %v", name, err)
		}
	}
	if fd, err := root.PlainDirectory("run"); err != nil {
		t.Errorf("a missing directory must be made: %v", err)
	} else {
		unix.Close(fd)
	}
	if _, err := os.Stat(canary); err != nil {
		t.Error(err)
	}
}

func TestTargetMakesWhatIsMissing(t *testing.T) {
	root, dir, _ := hostileRoot(t, map[string]string{"srv": "/data", "loop": "loop", "one": "two", "two": "one", "lock": "../../run/lock"})
	for name, directory := range map[string]bool{"/a/b/c": true, "/a/file": false, "/etc": true, "/lock/app": true, "/lock/app/socket": false} {
		fd, err := root.Target(name, directory)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		unix.Close(fd)
		made := strings.Replace(name, "/lock", "/run/lock", 1) // where the dangling link leads
		if info, err := os.Stat(filepath.Join(dir, made)); err != nil || info.IsDir() != directory {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	for _, name := range []string{"/loop/x", "/one/x", "/two"} {
		if _, err := root.Target(name, true); !errors.Is(err, unix.ELOOP) {
			t.Errorf("a loop: %s: %v", name, err)
		}
	}
}
