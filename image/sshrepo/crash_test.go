package sshrepo

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image"
)

// wrapped makes the programs of a far side run a script first, which has the program's
// name in $program and its arguments.
func (f *far) wrapped(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	for _, program := range []string{"head", "tail", "cat", "mkdir", "rm", "mv", "stat", "sync", "sha256sum", "flock"} {
		path, err := exec.LookPath(program)
		if err == nil {
			text := "#!/bin/sh\nprogram=" + program + "\n" + script + "\nexec " + path + ` "$@"` + "\n"
			err = os.WriteFile(filepath.Join(dir, program), []byte(text), 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	f.path = dir + ":" + f.path
	f.tamper = func(_ int, cmd *exec.Cmd) { cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true} }
}

// Nothing gets its final name before it is on disk, and the index comes last: syncs and
// renames are in this order.
func TestOrderOfSyncs(t *testing.T) {
	store, f := newStore(t), newFar(t)
	putImage(t, store, "a:1", "one")
	log := filepath.Join(t.TempDir(), "log")
	f.wrapped(t, `case $program in sync | mv) echo "$program $*" >>`+log+`;; esac`)
	c, _ := newClient(f)
	p, err := c.Push(t.Context(), store, "a:1", "ssh://h/a:1")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	var got []string
	for _, line := range lines {
		line = strings.ReplaceAll(line, f.dir(), "DIR")
		for field := range strings.FieldsSeq(line) {
			if hex := filepath.Base(field); strings.Contains(field, "session-") {
				line = strings.Replace(line, field, "TMP/"+hex, 1)
			}
		}
		got = append(got, line)
	}
	var want []string
	content, err := store.Open("a:1")
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	for _, digest := range []string{content.Layers[0].Digest, image.DigestOf(content.Config), p.Digest} {
		hex := hexOf(digest)
		want = append(want, "sync TMP/"+hex, "mv -f TMP/"+hex+" DIR/blobs/sha256/"+hex)
	}
	want = append(want, "sync TMP/index.json TMP/oci-layout DIR/blobs/sha256", "mv -f TMP/oci-layout DIR/oci-layout",
		"mv -f TMP/index.json DIR/index.json", "sync DIR")
	if !slices.Equal(got, want) {
		t.Errorf("it did\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The far side is killed, with all that it runs, before the first of its programs, before
// the second, and so on until none is left: each time what can be seen is either there in
// full or not at all, and the next push puts all in order.
func TestKilledAnywhere(t *testing.T) {
	store := newStore(t)
	putImage(t, store, "a:1", "one", "two")
	putImage(t, store, "a:2", "one", "three")
	first := newFar(t)
	c, _ := newClient(first)
	if _, err := c.Push(t.Context(), store, "a:1", "ssh://h/a:1"); err != nil {
		t.Fatal(err)
	}
	for k := 1; ; k++ {
		f, good := newFar(t), newFar(t)
		if err := os.CopyFS(f.dir(), os.DirFS(first.dir())); err != nil {
			t.Fatal(err)
		}
		good.home = f.home
		count := filepath.Join(t.TempDir(), "count")
		f.wrapped(t, fmt.Sprintf(`echo >>%s; [ "$(wc -l <%[1]s)" != %d ] || kill -KILL 0`, count, k))
		c, _ = newClient(f)
		_, failed := c.Push(t.Context(), store, "a:2", "ssh://h/a:2")
		commands, err := os.ReadFile(count)
		if err != nil {
			t.Fatal(err)
		}

		killed := len(commands) >= k
		// The last of all cleans up, when the client has all that it wants.
		if killed && failed == nil && f.n != 2 && len(commands) > k {
			t.Errorf("killed at %d: %d connections", k, f.n)
		}

		c, _ = newClient(good)
		list, err := c.List(t.Context(), image.Place{Host: "h"})
		if err != nil || len(list) < 1 || failed == nil && len(list) != 2 {
			t.Fatalf("killed at %d: %v; %+v, %v", k, failed, list, err)
		}
		for _, l := range list {
			wantImage(t, f.dir(), l.Digest)
		}
		if _, err := c.Push(t.Context(), store, "a:2", "ssh://h/a:2"); err != nil {
			t.Fatalf("killed at %d, then: %v", k, err)
		}
		wantLayout(t, f.dir(), "a:1", "a:2")
		if !killed {
			if k < 15 {
				t.Errorf("only %d programs ran", k)
			}
			return
		}
	}
}

// wantImage asserts that an image is there in full.
func wantImage(t *testing.T, dir, digest string) {
	t.Helper()
	out, err := exec.Command("sh", "-c", `cd "$1/blobs/sha256" && grep -o 'sha256:[0-9a-f]*' "$2" | cut -d: -f2 | while read -r hex; do
		[ "$(sha256sum <"$hex" | cut -c1-64)" = "$hex" ] || exit 1; done`, "sh", dir, hexOf(digest)).CombinedOutput()
	if err != nil {
		t.Errorf("image %s: %v %s", digest, err, out)
	}
}
