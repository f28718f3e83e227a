package sshrepo

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/transfer"
)

// incompressible is a layer that does not fit into pipes.
func incompressible(t *testing.T) string {
	t.Helper()
	data := make([]byte, 4<<20)
	f, err := os.Open("/dev/urandom")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Read(data); err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// killFirst kills the shell of the first connections when a part of a layer has come
// through, with SIGKILL: none of its traps runs.
type killFirst struct {
	far    *far
	events *events
	kills  int
}

func (k *killFirst) tell(e transfer.Event) {
	k.events.tell(e)
	k.far.mu.Lock()
	defer k.far.mu.Unlock()
	if e.Kind == transfer.Moving && e.Done > 1<<20 && e.Done < e.Total && len(k.far.started) <= k.kills {
		cmd := k.far.started[len(k.far.started)-1]
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // it may be dead already
	}
}

func newKilled(t *testing.T, kills int) (*far, *Client, *events) {
	t.Helper()
	f := newFar(t)
	f.tamper = func(_ int, cmd *exec.Cmd) { cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true} }
	e := &events{}
	c := New(Config{Progress: (&killFirst{f, e, kills}).tell})
	c.command, c.wait = f.command, 0
	return f, c, e
}

// A connection that breaks off is made anew; a layer that was coming in goes on where it
// was, one that was going out starts over.
func TestBrokenConnections(t *testing.T) {
	store := newStore(t)
	large := incompressible(t)
	putImage(t, store, "a:1", "small", large)
	f, c, e := newKilled(t, 2)
	if _, err := c.Push(t.Context(), store, "a:1", "ssh://h/a:1"); err != nil {
		t.Fatal(err)
	}
	wantLayout(t, f.dir(), "a:1")
	if f.n != 3 || e.count(transfer.Note) != 2 {
		t.Errorf("%d connections, %d notes", f.n, e.count(transfer.Note))
	}

	home := f.home
	f, c, e = newKilled(t, 2)
	f.home = home
	other := newStore(t)
	img, err := c.Pull(t.Context(), other, "ssh://h/a:1", transfer.HostPlatform())
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, img, 1, large)
	if f.n != 3 || e.count(transfer.Started) != 2 {
		t.Errorf("%d connections, %d layers begun", f.n, e.count(transfer.Started))
	}
	for _, event := range e.all {
		if event.Kind == transfer.Note && !strings.Contains(event.Text, "trying again from byte ") {
			t.Errorf("note: %s", event.Text)
		}
	}
}

// One that breaks off each time is an error, and leaves nothing to be seen; the next push
// clears away what was left, and sends only what is not there.
func TestBrokenForGood(t *testing.T) {
	store := newStore(t)
	putImage(t, store, "a:1", "small", incompressible(t))
	f, c, _ := newKilled(t, 1000)
	if _, err := c.Push(t.Context(), store, "a:1", "ssh://h/a:1"); !errors.Is(err, errBroken) || f.n != tries {
		t.Errorf("%d connections, %v", f.n, err)
	}
	if list, err := c.List(t.Context(), image.Place{Host: "h"}); err != nil || len(list) > 0 {
		t.Errorf("an image to be seen: %v, %v", list, err)
	}
	left, err := filepath.Glob(filepath.Join(f.dir(), ".cocker", "session-*"))
	if err != nil || len(left) == 0 {
		t.Fatalf("the kill left nothing, so this test is none: %v", err)
	}
	home := f.home
	f = newFar(t)
	f.home = home
	c, e := newClient(f)
	if _, err := c.Push(t.Context(), store, "a:1", "ssh://h/a:1"); err != nil {
		t.Fatal(err)
	}
	wantLayout(t, f.dir(), "a:1")
	if e.count(transfer.Finished) != 1 || e.count(transfer.Present) != 1 {
		t.Errorf("%d layers sent, %d there", e.count(transfer.Finished), e.count(transfer.Present))
	}

	f, c, _ = newKilled(t, 1000)
	f.home = home
	other := newStore(t)
	if _, err := c.Pull(t.Context(), other, "ssh://h/a:1", transfer.HostPlatform()); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
	wantClean(t, other)
	if list, err := other.List(); err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// What a live session has staged stays, while others push.
func TestLiveSession(t *testing.T) {
	store, f := newStore(t), newFar(t)
	putImage(t, store, "a:1", "one")
	c, _ := newClient(f)
	r := &repository{client: c, place: image.Place{Host: "h"}}
	conn, err := r.connect(t.Context())
	if err == nil {
		err = conn.ask("begin")
	}
	if err == nil {
		err = conn.expect("ok")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Push(t.Context(), store, "a:1", "ssh://h/a:1"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(f.dir(), ".cocker", "session-"+conn.nonce)); err != nil {
		t.Error(err)
	}
	r.close()
	wantLayout(t, f.dir(), "a:1")
}

// A client that is told to end does, and the far side cleans up by itself.
func TestPushCancelled(t *testing.T) {
	store, f := newStore(t), newFar(t)
	putImage(t, store, "a:1", incompressible(t))
	ctx, cancel := context.WithCancelCause(t.Context())
	c := New(Config{Progress: func(e transfer.Event) {
		if e.Kind == transfer.Moving {
			cancel(errors.New("enough"))
		}
	}})
	c.command = func(_ context.Context, p image.Place, remote string) (*exec.Cmd, error) {
		return f.command(t.Context(), p, remote)
	}
	if _, err := c.Push(ctx, store, "a:1", "ssh://h/a:1"); err == nil || !strings.HasSuffix(err.Error(), ": enough") {
		t.Errorf("%v", err)
	}
	wantLayout(t, f.dir())
}

// fake is a far side that is whatever a script makes it.
func fake(t *testing.T, script string) *Client {
	t.Helper()
	c := New(Config{})
	c.wait = 0
	c.command = func(ctx context.Context, _ image.Place, _ string) (*exec.Cmd, error) {
		return exec.CommandContext(ctx, "sh", "-c", `IFS= read -r line; nonce=${line#nonce=\'}; nonce=${nonce%\'}
			printf '\ncocker-images-1 %s\n' "$nonce"; `+script), nil
	}
	return c
}

// A hostile far side is refused with a reason.
func TestHostile(t *testing.T) {
	hex := strings.Repeat("0", 64)
	for name, tt := range map[string]struct{ script, want string }{
		"endless index":   {`echo have; exec cat /dev/zero`, "its index is longer than 4194304 bytes"},
		"endless line":    {`cat /dev/zero | tr '\0' x`, "a line of more than 4096 bytes"},
		"nonsense":        {`echo "what?"; cat >/dev/null`, `it answered "what?"`},
		"an error":        {`printf 'error \033[2Jno space\n'; cat >/dev/null`, "there: ?[2Jno space"},
		"no JSON":         {`printf 'have\nnope\nend %s\n' "$nonce"; cat >/dev/null`, "its index.json is none of an OCI image layout"},
		"null":            {`printf 'have\nnull\nend %s\n' "$nonce"; cat >/dev/null`, "its index.json is none of an OCI image layout"},
		"dies":            {`echo oops >&2; exit 1`, "the connection broke off: oops"},
		"path as digest":  {`printf 'have\n{"manifests":[{"digest":"sha256:../../etc/passwd","annotations":{"org.opencontainers.image.ref.name":"a:1"}}]}\nend %s\n' "$nonce"; cat >/dev/null`, "is not sha256: and 64 hex digits"},
		"no manifest":     {indexScript(hex) + `echo none; cat >/dev/null`, "is not there: the image is incomplete"},
		"another digest":  {indexScript(hex) + `printf 'size 2\n{}\nend %s\n' "$nonce"; cat >/dev/null`, "another digest"},
		"endless blob":    {indexScript(hex) + `echo size 99999999999; exec cat /dev/zero`, "longer than 4194304 bytes"},
		"negative size":   {indexScript(hex) + `echo size -1; cat >/dev/null`, `it answered "size -1"`},
		"many, not ours":  {indexScript(hex) + `printf 'size 2\n{}oops and more than that is here and there and everywhere\n'; cat >/dev/null`, "another digest"},
		"wrong file size": {indexScript(image.DigestOf([]byte("{}"))[7:]) + `printf 'size 2\n{}oops and more than that is here and there and everywhere\n'; cat >/dev/null`, "a file there changed while it was read"},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(t)
			_, err := fake(t, tt.script).Pull(t.Context(), store, "ssh://h/a:1", transfer.HostPlatform())
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.ContainsRune(err.Error(), '\x1b') {
				t.Errorf("%v; want %s", err, tt.want)
			}
			if _, err := os.Lstat(store.OCI()); err == nil {
				wantClean(t, store)
			}
		})
	}
}

// indexScript answers with an index that names an image a:1.
func indexScript(hex string) string {
	return `printf 'have\n{"manifests":[{"mediaType":"` + image.MediaTypeManifest + `","digest":"sha256:` + hex +
		`","annotations":{"org.opencontainers.image.ref.name":"a:1"}}]}\nend %s\n' "$nonce"; read -r _; `
}

// A blob that is damaged there is refused, and sent again by a push if its size shows it.
func TestDamagedBlob(t *testing.T) {
	store, f := newStore(t), newFar(t)
	putImage(t, store, "a:1", strings.Repeat("x", 5000))
	c, _ := newClient(f)
	if _, err := c.Push(t.Context(), store, "a:1", "ssh://h/a:1"); err != nil {
		t.Fatal(err)
	}
	content, err := store.Open("a:1")
	if err != nil {
		t.Fatal(err)
	}
	layer := content.Layers[0].Digest
	if err := content.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(f.dir(), "blobs", "sha256", hexOf(layer))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct{ content, want string }{
		{string(data[:len(data)-1]) + "x", "another digest"}, {string(data[:20]), "by the manifest: push the image again"},
	} {
		if err := os.WriteFile(path, []byte(bad.content), 0o600); err != nil {
			t.Fatal(err)
		}
		other := newStore(t)
		if _, err := c.Pull(t.Context(), other, "ssh://h/a:1", transfer.HostPlatform()); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%v; want %s", err, bad.want)
		}
		wantClean(t, other)
	}
	if _, err := c.Push(t.Context(), store, "a:1", "ssh://h/a:1"); err != nil {
		t.Fatal(err)
	}
	wantLayout(t, f.dir(), "a:1")
}

// A directory that cannot be written into is an error that says so.
func TestReadOnly(t *testing.T) {
	store, f := newStore(t), newFar(t)
	putImage(t, store, "a:1", "x")
	if err := os.WriteFile(f.dir(), []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _ := newClient(f)
	if _, err := c.Push(t.Context(), store, "a:1", "ssh://h/a:1"); err == nil || !strings.Contains(err.Error(), "there: ") || !strings.Contains(err.Error(), f.dir()) {
		t.Errorf("%v", err)
	}
}

// A full disk there is told in its own words.
func TestFullDisk(t *testing.T) {
	store, f := newStore(t), newFar(t)
	putImage(t, store, "a:1", incompressible(t))
	if err := os.Mkdir(f.dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", f.dir(), "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(f.dir(), 0); err != nil {
			t.Error(err)
		}
	})
	c, _ := newClient(f)
	if _, err := c.Push(t.Context(), store, "a:1", "ssh://h/a:1"); err == nil || !strings.Contains(err.Error(), "No space left on device") {
		t.Errorf("%v", err)
	}
	wantLayout(t, f.dir())
}

// The names in the index of the far side that are none are passed over.
func TestListForeignNames(t *testing.T) {
	f := newFar(t)
	var idx struct {
		SchemaVersion int                `json:"schemaVersion"`
		Manifests     []image.Descriptor `json:"manifests"`
	}
	for _, name := range []string{"web:1.10", "web:1.9", "1.0", "../x:1", "a b:1", "\x1b[2J:1", "", "ssh:me@other/x:1", "web:1.9"} {
		idx.Manifests = append(idx.Manifests, image.Descriptor{Digest: image.DigestOf([]byte(name)), Annotations: map[string]string{"org.opencontainers.image.ref.name": name}})
	}
	data, err := json.Marshal(idx)
	if err == nil {
		err = os.Mkdir(f.dir(), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(f.dir(), "index.json"), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, _ := newClient(f)
	list, err := c.List(t.Context(), image.Place{Host: "h"})
	if err != nil || len(list) != 2 || list[0].Tag != "1.9" || list[1].Tag != "1.10" {
		t.Errorf("%+v, %v", list, err)
	}
}

// Who cannot be reached, or is no such machine, is told with what to do.
func TestRefused(t *testing.T) {
	for _, tt := range []struct{ script, want string }{
		{`echo 'Host key verification failed.' >&2; exit 255`, `log in once with "ssh -p 22 me@h"`},
		{`echo 'me@h: Permission denied (publickey).' >&2; exit 255`, `"ssh-copy-id" puts it into authorized_keys`},
		{`printf 'ssh: connect to host h port 22: Connection refused\r\n' >&2; exit 255`, "pull ssh://me@h:22/a:1: h: connect to host h port 22: Connection refused (no sshd listens there"},
		{`echo 'This service allows sftp connections only.'; exit 1`, "a shell is needed"},
		{`echo 'sh: head: not found' >&2; exit 127`, "coreutils"},
		{`printf '@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n@@@\nIT IS POSSIBLE\n' >&2; exit 255`, `HAS CHANGED, and somebody may be in between ("ssh -p 22 me@h" shows how`},
		{`echo 'This account is currently not available.'; exit 1`, "a shell is needed"},
		{`exit 1`, "exit status 1"},
		{`exec cat /dev/zero`, "a line of more than 4096 bytes"},
	} {
		c := New(Config{})
		c.command = func(ctx context.Context, _ image.Place, _ string) (*exec.Cmd, error) {
			return exec.CommandContext(ctx, "sh", "-c", tt.script), nil
		}
		_, err := c.Pull(t.Context(), image.Open(t.TempDir()), "ssh://me@h:22/a:1", transfer.HostPlatform())
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %s", tt.script, err, tt.want)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := New(Config{}).Pull(t.Context(), image.Open(t.TempDir()), "ssh://h/a:1", transfer.HostPlatform()); err == nil || !strings.Contains(err.Error(), "package openssh-client") {
		t.Errorf("%v", err)
	}
}
