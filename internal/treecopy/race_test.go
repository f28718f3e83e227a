package treecopy

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// rounds is how often each race is run.
const rounds = 3000

// attack swaps the directory root/dir for a symbolic link to canary, and root/tree/sub
// likewise, as fast as it can, until the test is over. What is in dir and in the canary
// has the same names.
func attack(t *testing.T, dir string) {
	t.Helper()
	makeTree(t, dir, "canary", "canary/data=secret", "root/dir", "root/dir/data=inside", "root/tree", "root/tree/sub", "root/tree/sub/data=inside",
		"root/link -> "+dir+"/canary", "root/tree/link -> ../../canary")
	var over atomic.Bool
	done := make(chan error, 1)
	go func() {
		for !over.Load() {
			for _, in := range []string{dir + "/root/", dir + "/root/tree/"} {
				name := map[bool]string{true: "dir", false: "sub"}[in == dir+"/root/"]
				if err := unix.Renameat2(unix.AT_FDCWD, in+name, unix.AT_FDCWD, in+"link", unix.RENAME_EXCHANGE); err != nil {
					done <- err
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
		if got := listTree(t, dir+"/canary"); !slices.Equal(got, []string{"data=secret"}) {
			t.Errorf("the canary: %q", got)
		}
	})
}

// CVE-2018-15664: `docker cp` looked a path up and then opened it. The test counts that
// the attack is one: a path that is simply opened leads to the canary now and then.
func TestReadingWhileLinksAreSwapped(t *testing.T) {
	_, container, dir := sides(t)
	attack(t, dir)
	naive, inside := 0, 0
	for range rounds {
		if content, _ := os.ReadFile(dir + "/root/dir/data"); string(content) == "secret" {
			naive++
		}
		for _, path := range []string{"/dir/data", "/dir/.", "/tree", "/"} {
			var b bytes.Buffer
			name := Top
			if BaseName(path) == "" {
				name = ""
			}
			err := container.Send(t.Context(), &b, path, SendOptions{Name: name, Follow: true})
			if err == nil {
				inside++
			} else if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.EAGAIN) {
				t.Fatalf("%s: %v", path, err)
			}
			if strings.Contains(b.String(), "secret") {
				t.Fatalf("%s: the canary was read", path)
			}
		}
	}
	if naive == 0 || inside == 0 {
		t.Errorf("the test is not testing: of %d, a plain path was led astray %d times, and %d copies succeeded", rounds, naive, inside)
	}
}

func TestWritingWhileLinksAreSwapped(t *testing.T) {
	_, container, dir := sides(t)
	attack(t, dir)
	one := makeTar(t, entry(tar.TypeReg, "source", ""))
	tree := makeTar(t, entry(tar.TypeDir, "source/", ""), entry(tar.TypeDir, "source/sub/", ""), entry(tar.TypeReg, "source/sub/new", ""),
		entry(tar.TypeSymlink, "source/sub/data", "/etc/passwd"), entry(tar.TypeLink, "source/sub/hard", "source/sub/new"))
	succeeded := 0
	for i := range rounds {
		for _, c := range []struct {
			data []byte
			path string
			o    ReceiveOptions
		}{
			{data: one, path: "/dir/data"},
			{data: one, path: fmt.Sprintf("/dir/new%d", i)},
			{data: one, path: "/dir", o: ReceiveOptions{Name: "data", Archive: true}},
			{data: tree, path: "/", o: ReceiveOptions{Name: "tree"}},
			{data: tree, path: "/tree", o: ReceiveOptions{Archive: true}},
		} {
			if container.Receive(t.Context(), bytes.NewReader(c.data), c.path, c.o) == nil {
				succeeded++
			}
		}
	}
	if succeeded == 0 {
		t.Error("no copy succeeded")
	}
}

// The destination on the host may be a directory that somebody else can write to.
func TestReceivingWhileLinksAreSwapped(t *testing.T) {
	host, _, dir := sides(t)
	attack(t, dir)
	tree := makeTar(t, entry(tar.TypeDir, "source/", ""), entry(tar.TypeDir, "source/sub/", ""), entry(tar.TypeReg, "source/sub/data", ""),
		entry(tar.TypeReg, "source/sub/new", ""), entry(tar.TypeLink, "source/sub/hard", "source/sub/data"))
	succeeded := 0
	for range rounds {
		if host.Receive(t.Context(), bytes.NewReader(tree), dir+"/root", ReceiveOptions{Name: "tree"}) == nil {
			succeeded++
		}
	}
	if succeeded == 0 {
		t.Error("no copy succeeded")
	}
}
