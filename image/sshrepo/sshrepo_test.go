package sshrepo

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/importer"
	"github.com/cocker/cocker/image/transfer"
)

// far is another machine, but for sshd: its shells run here.
type far struct {
	home    string
	shell   []string // that sshd would start, followed by -c and the command
	path    string
	tamper  func(n int, cmd *exec.Cmd) // may change the n-th connection
	mu      sync.Mutex
	n       int
	started []*exec.Cmd
}

func (f *far) command(ctx context.Context, _ image.Place, remote string) (*exec.Cmd, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	cmd := exec.CommandContext(ctx, f.shell[0], append(slices.Clone(f.shell[1:]), "-c", remote)...)
	cmd.Env = []string{"HOME=" + f.home, "PATH=" + f.path}
	cmd.Dir = f.home
	if f.n++; f.tamper != nil {
		f.tamper(f.n, cmd)
	}
	f.started = append(f.started, cmd)
	return cmd, nil
}

func (f *far) dir() string { return filepath.Join(f.home, DefaultDirectory) }

// fars are machines with different programs. What they have is all that is needed.
func fars(t *testing.T) map[string]*far {
	t.Helper()
	coreutils := []string{"sh", "head", "tail", "cat", "mkdir", "rm", "rmdir", "mv", "stat", "wc", "tr", "sync", "sha256sum", "date", "sleep"}
	all := map[string]*far{
		"dash":            {shell: []string{"dash"}, path: pathOf(t, append(coreutils, "flock")...)},
		"without flock":   {shell: []string{"dash"}, path: pathOf(t, coreutils...)},
		"bash, noisy":     {shell: []string{"bash", "--rcfile", "/dev/null"}, path: pathOf(t, append(coreutils, "flock")...)},
		"busybox":         {shell: []string{"busybox", "sh"}, path: busyboxPath(t)},
		"odd directories": {shell: []string{"dash"}, path: pathOf(t, coreutils...)},
	}
	for _, shell := range []string{"csh", "tcsh", "fish", "zsh", "mksh"} { // somebody's login shell
		if path, err := exec.LookPath(shell); err == nil {
			all[shell] = &far{shell: []string{path}, path: pathOf(t, coreutils...)}
		}
	}
	all["bash, noisy"].tamper = func(_ int, cmd *exec.Cmd) { // as a .bashrc that prints
		cmd.Args[len(cmd.Args)-1] = "echo 'Welcome!'; printf 'no newline'; " + cmd.Args[len(cmd.Args)-1]
	}
	for name, f := range all {
		if f.home = t.TempDir(); name == "odd directories" {
			f.home = filepath.Join(f.home, "it's a \"$(touch pwned)\" `touch pwned` \\ dir\nectory;*")
			if err := os.Mkdir(f.home, 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}

func newFar(t *testing.T) *far {
	t.Helper()
	return &far{home: t.TempDir(), shell: []string{"sh"}, path: os.Getenv("PATH")}
}

// pathOf is a directory with these programs only.
func pathOf(t *testing.T, programs ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range programs {
		path, err := exec.LookPath(p)
		if err == nil {
			err = os.Symlink(path, filepath.Join(dir, p))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func busyboxPath(t *testing.T) string {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("there is no busybox (package busybox or busybox-static)")
	}
	dir := t.TempDir()
	out, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, applet := range strings.Fields(string(out)) {
		if err := os.Symlink(busybox, filepath.Join(dir, applet)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// events are what a client tells.
type events struct {
	mu  sync.Mutex
	all []transfer.Event
}

func (e *events) tell(event transfer.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

func (e *events) count(kind transfer.Kind) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range e.all {
		if event.Kind == kind {
			n++
		}
	}
	return n
}

func newClient(f *far) (*Client, *events) {
	e := &events{}
	c := New(Config{Progress: e.tell})
	c.command, c.wait = f.command, 0
	return c, e
}

func newStore(t *testing.T) *image.Store {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a store has files of all owners: only root can make one")
	}
	return image.Open(t.TempDir())
}

// putImage puts an image with layers of one file each, "f", into a store.
func putImage(t *testing.T, store *image.Store, name string, contents ...string) {
	t.Helper()
	tx, err := store.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	m := image.Manifest{SchemaVersion: 2, MediaType: image.MediaTypeManifest}
	file := image.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: image.RootFS{Type: "layers"}}
	for _, content := range contents {
		layer, err1 := tx.CreateLayer()
		blob, err2 := tx.CreateBlob()
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		diff, err := importer.Packed(t.Context(), bytes.NewReader(packed(t, content)), blob, layer, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		d, err := blob.Seal(image.MediaTypeLayerGzip)
		if err == nil {
			err = layer.Seal(diff)
		}
		if err != nil {
			t.Fatal(err)
		}
		m.Layers, file.RootFS.DiffIDs = append(m.Layers, d), append(file.RootFS.DiffIDs, diff)
	}
	m.Config = putJSON(t, tx, image.MediaTypeConfig, file)
	if err := tx.Commit(name, putJSON(t, tx, image.MediaTypeManifest, m)); err != nil {
		t.Fatal(err)
	}
}

func putJSON(t *testing.T, tx *image.Transaction, mediaType string, value any) image.Descriptor {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := tx.CreateBlob()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blob.Write(data); err != nil {
		t.Fatal(err)
	}
	d, err := blob.Seal(mediaType)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func packed(t *testing.T, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "f", Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte(content))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// files are the regular files below a directory, by their paths in it.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir+"/")] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// wantLayout asserts that a directory is an OCI image layout and nothing else, with
// images of these names: every blob has the digest that is its name, and what the index
// names is there in full.
func wantLayout(t *testing.T, dir string, names ...string) {
	t.Helper()
	all := files(t, dir)
	for path, content := range all {
		hex, isBlob := strings.CutPrefix(path, "blobs/sha256/")
		switch {
		case isBlob && image.DigestOf([]byte(content)) != "sha256:"+hex:
			t.Errorf("blob %s is damaged", hex)
		case !isBlob && path != "index.json" && path != "oci-layout" && path != ".cocker/lock":
			t.Errorf("%s is left over", path)
		}
	}
	if len(names) == 0 {
		if _, found := all["index.json"]; found {
			t.Errorf("there is an index")
		}
		return
	}
	if all["oci-layout"] != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout: %q", all["oci-layout"])
	}
	var idx struct{ Manifests []image.Descriptor }
	if err := json.Unmarshal([]byte(all["index.json"]), &idx); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range idx.Manifests {
		got = append(got, d.Annotations["org.opencontainers.image.ref.name"])
		var m image.Manifest
		if err := json.Unmarshal([]byte(all["blobs/sha256/"+hexOf(d.Digest)]), &m); err != nil {
			t.Errorf("manifest of %s: %v", got[len(got)-1], err)
		}
		for _, part := range append(m.Layers, m.Config) {
			if int64(len(all["blobs/sha256/"+hexOf(part.Digest)])) != part.Size {
				t.Errorf("%s lacks the blob %s", got[len(got)-1], part.Digest)
			}
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, names) {
		t.Errorf("images %v, want %v", got, names)
	}
}

// wantClean asserts that a store has nothing that is under way.
func wantClean(t *testing.T, store *image.Store) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(store.OCI(), ".staging*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func wantFile(t *testing.T, img *image.Image, layer int, want string) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(img.Layers[layer], "f")); err != nil || string(got) != want {
		t.Errorf("layer %d: %.60q, %v; want %.60q", layer, got, err, want)
	}
}

func TestPushAndPull(t *testing.T) {
	for name, f := range fars(t) {
		t.Run(name, func(t *testing.T) {
			store := newStore(t)
			large := strings.Repeat("0123456789abcdef\n", 100_000)
			putImage(t, store, "web:1.9", "base", large)
			putImage(t, store, "web:1.10", "base", large, "new")
			c, e := newClient(f)
			if list, err := c.List(t.Context(), image.Place{Host: "h"}); err != nil || len(list) > 0 {
				t.Errorf("list of nothing: %v, %v", list, err)
			}
			if _, err := os.Lstat(f.dir()); err == nil {
				t.Error("a list made a directory")
			}
			p, err := c.Push(t.Context(), store, "web:1.9", "ssh://h/team/web:1.9")
			if err != nil || p.Reference != "ssh://h/team/web:1.9" {
				t.Fatalf("%+v, %v", p, err)
			}
			wantLayout(t, f.dir(), "team/web:1.9")
			if _, err := c.Push(t.Context(), store, "web:1.10", "ssh://h/team/web:1.10"); err != nil {
				t.Fatal(err)
			}
			if e.count(transfer.Finished) != 3 || e.count(transfer.Present) != 2 {
				t.Errorf("%d layers sent, %d were there; want 3 and 2", e.count(transfer.Finished), e.count(transfer.Present))
			}
			wantLayout(t, f.dir(), "team/web:1.10", "team/web:1.9")
			list, err := c.List(t.Context(), image.Place{User: "me", Host: "h"})
			if err != nil || len(list) != 2 || list[1].Reference() != "ssh://me@h/team/web:1.10" || list[1].Digest != digestOf(t, store, "web:1.10") {
				t.Errorf("%+v, %v", list, err)
			}

			other := newStore(t)
			c, e = newClient(f)
			img, err := c.Pull(t.Context(), other, "ssh://h/team/web:1.9", transfer.HostPlatform())
			if err != nil || img.Reference != "ssh://h/team/web:1.9" {
				t.Fatalf("%+v, %v", img, err)
			}
			wantFile(t, img, 1, large)
			if img, err = c.Pull(t.Context(), other, "ssh://h/team/web", transfer.HostPlatform()); err != nil || img.Reference != "ssh://h/team/web:1.10" {
				t.Fatalf("%+v, %v", img, err)
			}
			wantFile(t, img, 2, "new")
			if e.count(transfer.Finished) != 3 || e.count(transfer.Present) != 2 {
				t.Errorf("%d layers came, %d were here; want 3 and 2", e.count(transfer.Finished), e.count(transfer.Present))
			}
			if img, err := c.Pull(t.Context(), other, "ssh://h/team/web@"+p.Digest, transfer.HostPlatform()); err != nil || img.Digest != p.Digest {
				t.Errorf("by digest: %+v, %v", img, err)
			}
			wantClean(t, other)
			if leftover := files(t, f.home)["pwned"]; leftover != "" {
				t.Error("a shell has run what is in a name")
			}
		})
	}
}

func digestOf(t *testing.T, store *image.Store, ref string) string {
	t.Helper()
	img, err := store.Resolve(ref)
	if err != nil {
		t.Fatal(err)
	}
	return img.Digest
}

// A name is replaced; what other tools have written beside it stays as it is.
func TestPushReplaces(t *testing.T) {
	store, f := newStore(t), newFar(t)
	putImage(t, store, "a:1", "one")
	putImage(t, store, "b:1", "two")
	c, _ := newClient(f)
	for _, name := range []string{"a:1", "b:1"} {
		if _, err := c.Push(t.Context(), store, name, "ssh://h/x:1"); err != nil {
			t.Fatal(err)
		}
		wantLayout(t, f.dir(), "x:1")
		text := files(t, f.dir())["index.json"]
		text = strings.Replace(text, `{"`, `{"annotations":{"of":"another"},"`, 1)
		if err := os.WriteFile(filepath.Join(f.dir(), "index.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var idx struct{ Manifests []image.Descriptor }
	text := files(t, f.dir())["index.json"]
	if err := json.Unmarshal([]byte(text), &idx); err != nil || idx.Manifests[0].Digest != digestOf(t, store, "b:1") || !strings.Contains(text, `"of":"another"`) {
		t.Errorf("%s, %v", text, err)
	}
}

// Of many pushes at once none is lost.
func TestPushesAtOnce(t *testing.T) {
	for name, f := range fars(t) {
		t.Run(name, func(t *testing.T) {
			store := newStore(t)
			const n = 6
			var want []string
			var wg sync.WaitGroup
			for i := range n {
				putImage(t, store, fmt.Sprintf("i:%d", i), "common", fmt.Sprint(i))
				want = append(want, fmt.Sprintf("i:%d", i))
			}
			for i := range n {
				wg.Go(func() {
					c, _ := newClient(f)
					if _, err := c.Push(t.Context(), store, fmt.Sprintf("i:%d", i), fmt.Sprintf("ssh://h/i:%d", i)); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			wantLayout(t, f.dir(), want...)
		})
	}
}

// The directory of registries.toml is the one of a place, or of its host.
func TestDirectory(t *testing.T) {
	c := New(Config{Registries: &config.Registries{SSH: map[string]config.SSHRepository{
		"me@h:22": {Directory: "/a"}, "h": {Directory: "/b"}, "me@h": {},
	}}})
	for text, want := range map[string]string{"ssh://me@h:22": "/a", "ssh://h": "/b", "ssh://you@h": "/b", "ssh://me@h": "/b", "ssh://other": "cocker-images"} {
		p, err := image.ParsePlace(text)
		if got := c.directory(p); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, text := range []string{"", "a b", "'", "''", `\'`, "$(id)", "`id`", "a\nb", "-n", `"$HOME"`, "!!", "\x01\xff", strings.Repeat("'", 100)} {
		out, err := exec.Command("sh", "-c", "printf %s "+quote(text)).Output()
		if err != nil || string(out) != text {
			t.Errorf("%q: %q, %v", text, out, err)
		}
	}
}

// A place is the last but one argument, after what ends the options.
func TestSSHArguments(t *testing.T) {
	args := sshArguments(image.Place{User: "me", Host: "2001:db8::1", Port: 2222}, true, bootstrap(12))
	text := strings.Join(args, " ")
	if !strings.HasSuffix(text, ` -o BatchMode=yes -p 2222 -l me -- 2001:db8::1 sh -c 'eval "$(head -c 12)"'`) {
		t.Errorf("%s", text)
	}
	if text := strings.Join(sshArguments(image.Place{Host: "h"}, false, "x"), " "); strings.Contains(text, "BatchMode") || strings.Contains(text, "-p ") || strings.Contains(text, "-l ") {
		t.Errorf("%s", text)
	}
	// ssh itself reads them so: "ssh -G" prints what it would do.
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("there is no ssh")
	}
	out, err := exec.Command("ssh", append([]string{"-G", "-F", "/dev/null"}, args...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		got[key] = value
	}
	want := map[string]string{"user": "me", "hostname": "2001:db8::1", "port": "2222", "batchmode": "yes", "controlmaster": "false", "requesttty": "false",
		"forwardagent": "no", "forwardx11": "no", "permitlocalcommand": "no", "clearallforwardings": "yes"}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s is %q, want %q", key, got[key], value)
		}
	}
}
