package derive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/importer"
	"github.com/cocker/cocker/image/pack"
)

// What "docker commit --change" makes of an image's configuration; the Dockerfile
// reference says what the instructions mean.
func TestChanges(t *testing.T) {
	const base = `{"Cmd":["old","x"],"Entrypoint":["/e"],"Env":["A=1","B=2"],"Healthcheck":{"Test":["NONE"]},"Labels":{"k":"v"},"WorkingDir":"/srv"}`
	cases := []struct {
		changes []string
		want    string // the members that differ from the base; null: gone
	}{
		{[]string{`CMD ["a", "b c"]`}, `{"Cmd":["a","b c"]}`},
		{[]string{`cmd echo "$A" b`}, `{"Cmd":["/bin/sh","-c","echo \"$A\" b"]}`},
		{[]string{`CMD=["a"]`}, `{"Cmd":["a"]}`},
		{[]string{`CMD []`}, `{"Cmd":null}`},
		{[]string{`ENTRYPOINT ["/new"]`}, `{"Entrypoint":["/new"],"Cmd":null}`},
		{[]string{`CMD ["c"]`, `ENTRYPOINT ["/new"]`}, `{"Entrypoint":["/new"],"Cmd":["c"]}`},
		{[]string{`ENTRYPOINT []`, `CMD ["c"]`}, `{"Entrypoint":null,"Cmd":["c"]}`},
		{[]string{`ENV A=3 C="x y" D=a\ b`}, `{"Env":["A=3","B=2","C=x y","D=a b"]}`},
		{[]string{`ENV C x = y`}, `{"Env":["A=1","B=2","C=x = y"]}`},
		{[]string{`LABEL a=b "long key"='x y'`}, `{"Labels":{"k":"v","a":"b","long key":"x y"}}`},
		{[]string{`EXPOSE 80 53/udp`}, `{"ExposedPorts":{"80/tcp":{},"53/udp":{}}}`},
		{[]string{`VOLUME /a /b/`, `VOLUME ["/c d"]`}, `{"Volumes":{"/a":{},"/b":{},"/c d":{}}}`},
		{[]string{`USER www:www`, `STOPSIGNAL SIGQUIT`}, `{"User":"www:www","StopSignal":"SIGQUIT"}`},
		{[]string{`WORKDIR sub/../dir`}, `{"WorkingDir":"/srv/dir"}`},
		{[]string{`WORKDIR /a b`}, `{"WorkingDir":"/a b"}`},
	}
	for _, c := range cases {
		d, err := parse([]byte(`{"config":` + base + `}`))
		if err != nil {
			t.Fatal(err)
		}
		var changes []Change
		for _, text := range c.changes {
			change, err := ParseChange(text)
			if err != nil {
				t.Fatal(err)
			}
			changes = append(changes, change)
		}
		if err := apply(d, changes); err != nil {
			t.Fatal(err)
		}
		var want, diff map[string]any
		if err := errors.Join(json.Unmarshal([]byte(base), &want), json.Unmarshal([]byte(c.want), &diff)); err != nil {
			t.Fatal(err)
		}
		for key, value := range diff {
			if want[key] = value; value == nil {
				delete(want, key)
			}
		}
		got, _ := json.Marshal(d.config)
		if wanted, _ := json.Marshal(want); !sameJSON(t, got, wanted) {
			t.Errorf("%q:\n%s\nwant\n%s", c.changes, got, wanted)
		}
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
		t.Fatal(err)
	}
	a, _ = json.Marshal(x)
	b, _ = json.Marshal(y)
	return bytes.Equal(a, b)
}

func TestBadChanges(t *testing.T) {
	for _, text := range []string{"", "RUN true", "CMD", "ENV", "ENV A", "ENV A=1 B", "ENV =1", "LABEL", "EXPOSE", "EXPOSE 0", "EXPOSE 70000", "EXPOSE 80/icmp",
		"VOLUME", "VOLUME data", "USER", "USER a b", "STOPSIGNAL", "WORKDIR", `ENV A="x`, "FROM x", "CMDX y"} {
		if c, err := ParseChange(text); err == nil || !strings.Contains(err.Error(), strings.Fields(text + " change")[0]) {
			t.Errorf("%q: %v, %v", text, c, err)
		}
	}
}

// newStore has the images low:1 and high:1 of one layer each, with some of what
// cocker itself does not know in the configuration.
func newStore(t *testing.T) *image.Store {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("layers are unpacked by root")
	}
	store := image.Open(t.TempDir())
	for _, i := range []struct{ name, file, env string }{{"low:1", "a", "A=low"}, {"high:1", "b", "A=high"}} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range []*tar.Header{{Typeflag: tar.TypeDir, Name: "./", Mode: 0o751, Uid: 3}, {Name: "./" + i.file, Mode: 0o644}} {
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		o := importer.Options{Environment: []string{i.env, strings.ToUpper(i.file) + "X=" + i.file}, Command: []string{i.name}}
		if _, err := importer.Tar(t.Context(), store, &b, i.name, o); err != nil {
			t.Fatal(err)
		}
	}
	return store
}

func freely(context.Context) (func() error, error) { return func() error { return nil }, nil }

func written(t *testing.T, base *Base, files ...string) pack.Writable {
	t.Helper()
	l := pack.Writable{Upper: t.TempDir(), Below: base.Dirs}
	if err := os.Chown(l.Upper, 3, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(l.Upper, 0o751); err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(l.Upper, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func load(t *testing.T, store *image.Store, refs ...string) *Base {
	t.Helper()
	b, err := Load(store, refs)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func configOf(t *testing.T, store *image.Store, ref string) (file image.ConfigFile) {
	t.Helper()
	c, err := store.Open(ref)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := json.Unmarshal(c.Config, &file); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCommitOnStackedImages(t *testing.T) {
	store := newStore(t)
	base := load(t, store, "low:1", "high:1", "low:1")
	img, err := Commit(t.Context(), store, "new", base, written(t, base, "c"), freely, Options{Author: "me", Message: "why", CreatedBy: "test"})
	if err != nil {
		t.Fatal(err)
	}
	low, high := load(t, store, "low:1"), load(t, store, "high:1")
	if want := []string{low.Dirs[0], high.Dirs[0]}; img.Reference != "new:latest" || len(img.Layers) != 3 || !slices.Equal(img.Layers[:2], want) {
		t.Errorf("%+v, want layers %q and one more", img, want)
	}
	file := configOf(t, store, "new")
	// The topmost image is low:1 again, and the environment of all adds up.
	if got := strings.Join(file.Config.Env, " "); got != "A=low AX=a BX=b" || file.Config.Cmd[0] != "low:1" {
		t.Errorf("environment %q, command %q", got, file.Config.Cmd)
	}
	last := file.History[len(file.History)-1]
	if len(file.History) != 3 || last.Author != "me" || last.Comment != "why" || last.CreatedBy != "test" || file.Author != "me" || !last.Created.Equal(*file.Created) {
		t.Errorf("history %+v", file.History)
	}
}

func TestCommitOfNothing(t *testing.T) {
	store := newStore(t)
	base := load(t, store, "low:1")
	img, err := Commit(t.Context(), store, "same:1", base, written(t, base), freely, Options{})
	if err != nil || !slices.Equal(img.Layers, base.Dirs) {
		t.Fatalf("%+v, %v", img, err)
	}
	if file := configOf(t, store, "same:1"); len(file.History) != 2 || !file.History[1].EmptyLayer {
		t.Errorf("history %+v", file.History)
	}
	// Squashed, what is below is one layer all the same.
	base = load(t, store, "low:1", "high:1")
	if img, err = Commit(t.Context(), store, "flat:1", base, written(t, base), freely, Options{Squash: true}); err != nil || len(img.Layers) != 1 {
		t.Fatalf("%+v, %v", img, err)
	}
	for _, name := range []string{"a", "b"} {
		if _, err := os.Stat(filepath.Join(img.Layers[0], name)); err != nil {
			t.Error(err)
		}
	}
}

// Whatever goes wrong, the store is as it was.
func TestCommitThatFails(t *testing.T) {
	store := newStore(t)
	before := contents(t, store)
	wrong := errors.New("wrong")
	ctx, cancel := context.WithCancelCause(t.Context())
	for name, c := range map[string]struct {
		file string
		hold Hold
	}{
		"not held":            {"c", func(context.Context) (func() error, error) { return nil, wrong }},
		"not held to its end": {"c", func(context.Context) (func() error, error) { return func() error { return wrong }, nil }},
		"no image":            {".wh.c", freely},
		"cancelled": {"c", func(context.Context) (func() error, error) {
			cancel(wrong)
			return func() error { return nil }, nil
		}},
	} {
		base := load(t, store, "low:1")
		ctx := ctx
		if name != "cancelled" {
			ctx = t.Context()
		}
		if _, err := Commit(ctx, store, "new:1", base, written(t, base, c.file), c.hold, Options{Squash: true}); err == nil || (c.file == "c" && !errors.Is(err, wrong)) {
			t.Errorf("%s: %v", name, err)
		}
		if after := contents(t, store); after != before {
			t.Errorf("%s: the store has\n%s\nwant\n%s", name, after, before)
		}
	}
}

func contents(t *testing.T, store *image.Store) string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"oci/*", "oci/.s*", "oci/blobs/sha256/*", "layers/.s*", "layers/sha256/*", "names/*"} {
		found, err := filepath.Glob(filepath.Join(filepath.Dir(store.OCI()), pattern))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	return strings.Join(names, "\n")
}

// An image that loses its name to the one made of it stays: what runs on it is
// committed again.
func TestBaseStays(t *testing.T) {
	store := newStore(t)
	base := load(t, store, "low:1")
	digest := base.digests[0]
	for range 2 {
		base := load(t, store, digest)
		if img, err := Commit(t.Context(), store, "low:1", base, written(t, base, "c"), freely, Options{}); err != nil || len(img.Layers) != 2 {
			t.Fatalf("%+v, %v", img, err)
		}
	}
}

func TestTakeApart(t *testing.T) {
	store := newStore(t)
	base := load(t, store, "low:1")
	if _, err := Commit(t.Context(), store, "new:1", base, written(t, base, "c"), freely, Options{Changes: []Change{}}); err != nil {
		t.Fatal(err)
	}
	top := func(ref string) (name, dir string) {
		t.Helper()
		o, err := TakeApart(store, ref, "other")
		if err != nil {
			t.Fatal(err)
		}
		dir = t.TempDir()
		if err := o.CopyTop(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		name, _, err = o.AddBase(t.Context(), store)
		again, added, err2 := o.AddBase(t.Context(), store)
		if err = errors.Join(err, err2); err != nil || again != name || added {
			t.Errorf("%s, then %s, added %v, %v", name, again, added, err)
		}
		return name, dir
	}
	name, dir := top("new:1")
	if !strings.HasPrefix(name, "new@sha256:") {
		t.Errorf("the base is %q", name)
	}
	if got := load(t, store, name); !slices.Equal(got.Dirs, base.Dirs) || len(got.history) != 1 {
		t.Errorf("the base has layers %q, history %+v", got.Dirs, got.history)
	}
	if _, err := os.Stat(filepath.Join(dir, "c")); err != nil {
		t.Error(err)
	}
	// Of one layer an empty one is left, whose root is the same.
	name, _ = top("high:1")
	b := load(t, store, name)
	entries, err := os.ReadDir(b.Dirs[0])
	var st unix.Stat_t
	if err = errors.Join(err, unix.Stat(b.Dirs[0], &st)); err != nil || len(entries) > 0 || st.Mode&0o7777 != 0o751 || st.Uid != 3 {
		t.Errorf("%d entries in the empty layer, mode %o, owner %d, %v", len(entries), st.Mode, st.Uid, err)
	}
	// By its digest alone an image has no name.
	d := load(t, store, "new:1").digests[0]
	if err := store.Remove("new:1", nil); err == nil {
		if _, err := TakeApart(store, d, "Other"); !errors.Is(err, image.ErrNotFound) {
			t.Errorf("an image that is gone: %v", err)
		}
	}
}
