package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// rounds is how often each access is tried.
const rounds = 500

// attackedRoot is a root in which dir, and a directory in it, are swapped for links that
// lead to a directory outside as fast as can be, until the test is over.
func attackedRoot(t *testing.T) (root *Root, dir, outside string) {
	t.Helper()
	root, dir, canary := hostileRoot(t, nil)
	outside = filepath.Join(filepath.Dir(canary), "outside")
	for _, name := range []string{outside, dir + "/dir", dir + "/dir/sub"} {
		if err := errors.Join(os.MkdirAll(name, 0o755), os.WriteFile(name+"/data", []byte("inside"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(outside+"/data", []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink(outside, dir+"/link"), os.Symlink("../../outside", dir+"/dir/link")); err != nil {
		t.Fatal(err)
	}
	var over atomic.Bool
	done := make(chan error, 1)
	go func() {
		for !over.Load() {
			for _, pair := range [][2]string{{"/dir/sub", "/dir/link"}, {"/dir", "/link"}, {"/dir", "/link"}} {
				err := unix.Renameat2(unix.AT_FDCWD, dir+pair[0], unix.AT_FDCWD, dir+pair[1], unix.RENAME_EXCHANGE)
				if err != nil {
					done <- fmt.Errorf("%v: %w", pair, err)
					return
				}
			}
		}
		done <- nil
	}()
	t.Cleanup(func() {
		over.Store(true)
		if err := <-done; err != nil {
			t.Errorf("the attacker: %v", err)
		}
		if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
			t.Errorf("outside there is %v (%v)", entries, err)
		}
		if content, err := os.ReadFile(outside + "/data"); err != nil || string(content) != "secret" {
			t.Errorf("the file outside says %q (%v)", content, err)
		}
	})
	return root, dir, outside
}

// CVE-2021-30465, CVE-2024-45310: a volume that a start mounts may be another container's
// as well, and that one swaps directories for links meanwhile. Nothing outside of the root
// is read, written or made, and no descriptor leads there. That a plain path is led astray
// shows that the attack is one.
func TestRootWhileLinksAreSwapped(t *testing.T) {
	root, dir, outside := attackedRoot(t)
	var there unix.Stat_t
	if err := unix.Stat(outside, &there); err != nil {
		t.Fatal(err)
	}
	astray, inside := 0, 0
	within := func(what string, fd int, err error) {
		if err != nil {
			return // something was just being swapped
		}
		defer unix.Close(fd)
		inside++
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Ino == there.Ino && st.Dev == there.Dev {
			t.Errorf("%s led outside (%v)", what, err)
		}
	}
	for i := range rounds {
		if content, _ := os.ReadFile(dir + "/dir/sub/data"); string(content) == "secret" {
			astray++
		}
		fd, err := root.Directory("/dir/sub", 0o755)
		within("Directory", fd, err)
		fd, err = root.Directory(fmt.Sprintf("/dir/sub/d%d/e", i), 0o755)
		within("a new Directory", fd, err)
		fd, err = root.Target(fmt.Sprintf("/dir/sub/f%d", i), false)
		within("Target", fd, err)
		fd, err = root.PlainDirectory("dir")
		within("PlainDirectory", fd, err)
		_ = root.UpdateFile("/dir/sub/data", 0o600, set(fmt.Sprint("update ", i)))
		_ = root.UpdateFile(fmt.Sprintf("/dir/u%d", i), 0o600, set("update"))
		_, _ = root.ReplaceFile("/dir/sub/data", fmt.Append(nil, "replace ", i), mine(0o600))
		if content, _, err := root.ReadFile("/dir/sub/data", 100); err == nil && string(content) == "secret" {
			t.Error("the file outside was read")
		}
		if content, err := root.content("/dir/sub"); err == nil && content != nil {
			fd, err := unix.Dup(int(content.Fd()))
			within("content", fd, errors.Join(err, content.Close()))
		}
		if t.Failed() {
			break
		}
	}
	if astray == 0 || inside == 0 {
		t.Errorf("the test is not testing: of %d, a plain path was led astray %d times, and %d accesses succeeded", rounds, astray, inside)
	}
}
