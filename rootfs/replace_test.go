package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func mine(mode uint32) Meta {
	return Meta{mode, uint32(os.Geteuid()), uint32(os.Getegid())}
}

func TestReplaceFileStaysInside(t *testing.T) {
	for name, links := range map[string]map[string]string{
		"absolute link":      {"app": "HOME"},
		"link with dots":     {"app": "../../../../../../../../..HOME"},
		"a chain":            {"app": "a", "a": "/b", "b": "HOME"},
		"the file is a link": {"etc/canary": "CANARY", "app": "etc"},
		"a relative one":     {"etc/canary": "../../../../../../../..CANARY", "app": "etc"},
	} {
		t.Run(name, func(t *testing.T) {
			root, dir, canary := hostileRoot(t, nil)
			for name, target := range links {
				target = strings.NewReplacer("CANARY", canary, "HOME", filepath.Dir(canary)).Replace(target)
				if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			changed, err := root.ReplaceFile("/app/canary", []byte("evil"), mine(0o640))
			if err != nil || !changed {
				t.Errorf("changed %v, %v", changed, err)
			}
			if got, err := os.ReadFile(canary); err != nil || string(got) != "safe" {
				t.Errorf("the canary: %q, %v", got, err)
			}
			if entries, _ := os.ReadDir(filepath.Dir(canary)); len(entries) != 2 {
				t.Errorf("something is new beside the canary and the root: %v", entries)
			}
			content, meta, err := root.ReadFile("/app/canary", 10)
			if err != nil || string(content) != "evil" || meta != mine(0o640) {
				t.Errorf("inside: %q, %+v, %v", content, meta, err)
			}
			_ = filepath.WalkDir(dir, func(path string, _ os.DirEntry, _ error) error {
				if strings.Contains(path, temporary) {
					t.Errorf("%s is left", path)
				}
				return nil
			})
		})
	}
}

func TestReadFileStaysInside(t *testing.T) {
	for _, to := range []string{"CANARY", "../../../../../../../..CANARY", "/proc/self/rootCANARY"} {
		root, _, _ := hostileRoot(t, map[string]string{"app.tpl": to})
		if content, _, err := root.ReadFile("/app.tpl", 100); !errors.Is(err, unix.ENOENT) {
			t.Errorf("link to %s: read %q, %v", to, content, err)
		}
	}
}

func TestReadFileRefuses(t *testing.T) {
	root, dir, _ := hostileRoot(t, map[string]string{"loop": "loop"})
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, 101), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sparse"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "sparse"), 1<<40); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/fifo": "no regular file", "/": "no regular file", "/big": "more than 100", "/sparse": "more than 100",
		"/loop": unix.ELOOP.Error(), "/none": unix.ENOENT.Error(),
	} {
		if _, _, err := root.ReadFile(name, 100); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestReplaceFileRefuses(t *testing.T) {
	root, dir, _ := hostileRoot(t, map[string]string{"loop": "loop2", "loop2": "loop", "top": "/"})
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/fifo", "/dir", "/loop", "/top", "/fifo/x"} {
		if changed, err := root.ReplaceFile(name, []byte("x"), mine(0o600)); err == nil || changed {
			t.Errorf("%s: changed %v, %v", name, changed, err)
		}
	}
}

func TestReplaceFileLeavesWhatIsSoAlone(t *testing.T) {
	root, dir, _ := hostileRoot(t, nil)
	path := filepath.Join(dir, "f")
	replace := func(content string, mode uint32) bool {
		t.Helper()
		changed, err := root.ReplaceFile("/f", []byte(content), mine(mode))
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	if !replace("a", 0o600) {
		t.Error("a new file is no change")
	}
	before := changeTime(t, path)
	if replace("a", 0o600) || changeTime(t, path) != before {
		t.Error("an equal file was written")
	}
	if !replace("a", 0o644) || !replace("b", 0o644) {
		t.Error("another mode or content is no change")
	}
	// What a killed process has left, a link to something else, is no hindrance.
	if err := os.Symlink("f", filepath.Join(dir, temporary)); err != nil {
		t.Fatal(err)
	}
	if !replace("c", 0o644) {
		t.Error("no change")
	}
	if _, err := os.Lstat(filepath.Join(dir, temporary)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is left: %v", err)
	}
	if err := os.WriteFile(path, make([]byte, maxFile+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if !replace("d", 0o644) {
		t.Error("a large file was not replaced")
	}
}

func TestReplaceFileDoesNotFollowMagicLinks(t *testing.T) {
	root, dir, canary := hostileRoot(t, nil)
	if err := os.Mkdir(filepath.Join(dir, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/proc", filepath.Join(dir, "proc"), "", unix.MS_BIND, ""); err != nil {
		t.Skip("needs to mount: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(dir, "proc"), unix.MNT_DETACH) })
	if changed, err := root.ReplaceFile("/proc/self/root"+canary, []byte("evil"), mine(0o600)); err == nil || changed {
		t.Errorf("changed %v, %v", changed, err)
	}
	if got, err := os.ReadFile(canary); err != nil || string(got) != "safe" {
		t.Errorf("the canary: %q, %v", got, err)
	}
}

func TestReplaceFileLeavesMountsAlone(t *testing.T) {
	root, dir, canary := hostileRoot(t, nil)
	mounted := filepath.Join(dir, "mounted")
	if err := os.WriteFile(mounted, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(canary, mounted, "", unix.MS_BIND, ""); err != nil {
		t.Skip("needs to mount: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mounted, unix.MNT_DETACH) })
	if changed, err := root.ReplaceFile("/mounted", []byte("evil"), mine(0o600)); err == nil || changed || !strings.Contains(err.Error(), "something is mounted") {
		t.Errorf("changed %v, %v", changed, err)
	}
	if got, err := os.ReadFile(mounted); err != nil || string(got) != "safe" {
		t.Errorf("the mount: %q, %v", got, err)
	}
}
