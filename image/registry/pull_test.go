package registry

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/transfer"
)

func TestPullEveryType(t *testing.T) {
	for _, tt := range []struct {
		name   string
		docker bool
		types  []string
	}{
		{"oci", false, []string{image.MediaTypeLayerGzip, image.MediaTypeLayerZstd, image.MediaTypeLayer}},
		{"docker", true, []string{string(types.DockerLayer), "application/vnd.docker.image.rootfs.diff.tar.zstd", string(types.DockerUncompressedLayer)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store, s := image.Open(needRoot(t)), newServer(t)
			var layers []testLayer
			for i, mediaType := range tt.types {
				layers = append(layers, layerOf(t, map[string]string{"f": strings.Repeat("x", i+1)}, mediaType))
			}
			d := s.putImage(t, "team/web", "1.0", tt.docker, "", layers...)
			c, e := newClient(t, nil)
			ref := s.host() + "/team/web:1.0"
			img, err := c.Pull(t.Context(), store, ref, transfer.HostPlatform())
			if err != nil {
				t.Fatal(err)
			}
			if img.Reference != ref || len(img.Layers) != 3 {
				t.Errorf("%+v", img)
			}
			for i := range layers {
				wantFile(t, img, i, "f", strings.Repeat("x", i+1))
			}
			if e.count(Finished) != 3 {
				t.Errorf("%d layers finished", e.count(Finished))
			}
			if byDigest, err := store.Resolve(s.host() + "/team/web@" + d.Digest); err != nil || byDigest.Digest != img.Digest {
				t.Errorf("by the registry's digest: %v", err)
			}
			wantOCI(t, store, ref)
			wantClean(t, store, 1)
			s.misbehave(nil)
			if _, err := c.Pull(t.Context(), store, ref, transfer.HostPlatform()); err != nil || e.count(Started) != 3 {
				t.Errorf("again: %v, %d blobs", err, e.count(Started))
			}
		})
	}
}

// wantOCI asserts that manifest and layers have types that every OCI tool knows.
func wantOCI(t *testing.T, store *image.Store, ref string) {
	t.Helper()
	c, err := store.Open(ref)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if strings.Contains(string(c.Raw), "docker") {
		t.Errorf("not OCI: %s", c.Raw)
	}
}

func TestPullIndex(t *testing.T) {
	store, s := image.Open(needRoot(t)), newServer(t)
	var index struct {
		SchemaVersion int                `json:"schemaVersion"`
		MediaType     string             `json:"mediaType"`
		Manifests     []image.Descriptor `json:"manifests"`
	}
	index.SchemaVersion, index.MediaType = 2, image.MediaTypeIndex
	for _, p := range []string{"s390x", "arm/v6", "arm/v7", transfer.HostPlatform().Architecture} {
		if strings.Count(p, "/") == 1 {
			p = "linux/" + p
		}
		l := layerOf(t, map[string]string{"arch": p}, image.MediaTypeLayerGzip)
		index.Manifests = append(index.Manifests, s.putImage(t, "multi", strings.ReplaceAll(p, "/", "-"), false, p, l))
	}
	d := s.putJSON(t, "multi", "1", image.MediaTypeIndex, index)
	c, e := newClient(t, nil)
	pull := func(ref, platform string) (*image.Image, error) {
		p, err := transfer.ParsePlatform(platform)
		if err != nil {
			t.Fatal(err)
		}
		return c.Pull(t.Context(), store, s.host()+"/"+ref, p)
	}
	img, err := pull("multi:1", "")
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, img, 0, "arch", transfer.HostPlatform().Architecture)
	if img, err = pull("multi@"+d.Digest, ""); err != nil || img.Reference != s.host()+"/multi@"+d.Digest {
		t.Errorf("by the index's digest: %+v, %v", img, err)
	}
	if img, err = store.Resolve(s.host() + "/multi:other@" + d.Digest); err != nil {
		t.Errorf("with a tag beside the digest: %+v, %v", img, err)
	}
	if img, err = pull("multi:1", "linux/arm/v7"); err != nil {
		t.Fatal(err)
	}
	wantFile(t, img, 0, "arch", "linux/arm/v7")
	if _, err = pull("multi:1", "linux/riscv64"); err == nil || !strings.Contains(err.Error(), "no image for linux/riscv64, only for linux/") {
		t.Errorf("an absent platform: %v", err)
	}
	if _, err = pull("multi:s390x", "linux/arm64"); err == nil || !strings.Contains(err.Error(), "it is for linux/s390x, not for linux/arm64") {
		t.Errorf("no index, another platform: %v", err)
	}
	if strings.Contains(e.notes(), "emulator") {
		t.Errorf("notes: %s", e.notes())
	}
	if _, err = pull("multi:s390x", ""); err != nil || !strings.Contains(e.notes(), "for linux/s390x: this machine") {
		t.Errorf("no index, for an emulator: %v, %s", err, e.notes())
	}
}

func TestPullNoTag(t *testing.T) {
	store, s := image.Open(needRoot(t)), newServer(t)
	l := layerOf(t, map[string]string{"f": "x"}, image.MediaTypeLayerGzip)
	for _, tag := range []string{"1.9", "1.10", "1.10-rc1"} {
		s.putImage(t, "web", tag, false, "", l)
	}
	c, _ := newClient(t, nil)
	img, err := c.Pull(t.Context(), store, s.host()+"/web", transfer.HostPlatform())
	if err != nil || img.Reference != s.host()+"/web:1.10" {
		t.Fatalf("%+v, %v; want the highest version", img, err)
	}
	_, err = c.Pull(t.Context(), store, s.host()+"/web:2", transfer.HostPlatform())
	if err == nil || !strings.Contains(err.Error(), "no tag 2; of 3 tags the highest is 1.10") {
		t.Errorf("an absent tag: %v", err)
	}
	s.putImage(t, "web", "latest", false, "", l)
	if img, err = c.Pull(t.Context(), store, s.host()+"/web", transfer.HostPlatform()); err != nil || img.Reference != s.host()+"/web:latest" {
		t.Errorf("%+v, %v; want latest", img, err)
	}
	wantClean(t, store, 2)
}

// umoci 0.4 leaves the end mark of its tars out.
func TestNoEndMark(t *testing.T) {
	store, s := image.Open(needRoot(t)), newServer(t)
	l := layerOf(t, map[string]string{"f": strings.Repeat("x", 700)}, image.MediaTypeLayer)
	for name, cut := range map[string]int{"mark": 1024, "padding": 1024 + 300, "content": 1024 + 400} {
		data := l.plain[:len(l.plain)-cut]
		s.putImage(t, "a", name, false, "", testLayer{image.MediaTypeLayerGzip, data, pack(t, data, "gzip")})
		c, _ := newClient(t, nil)
		_, err := c.Pull(t.Context(), store, s.host()+"/a:"+name, transfer.HostPlatform())
		if (err == nil) != (name != "content") {
			t.Errorf("without its %s: %v", name, err)
		}
	}
}

func TestLayersThatAreHereAreNotFetched(t *testing.T) {
	store, s := image.Open(needRoot(t)), newServer(t)
	base := layerOf(t, map[string]string{"base": "1"}, image.MediaTypeLayerGzip)
	one := layerOf(t, map[string]string{"one": "1"}, image.MediaTypeLayerGzip)
	two := layerOf(t, map[string]string{"two": "1"}, image.MediaTypeLayerZstd)
	s.putImage(t, "a", "1", false, "", base, one)
	s.putImage(t, "a", "2", false, "", base, two, two) // one of them twice
	c, e := newClient(t, nil)
	if _, err := c.Pull(t.Context(), store, s.host()+"/a:1", transfer.HostPlatform()); err != nil {
		t.Fatal(err)
	}
	s.misbehave(nil)
	img, err := c.Pull(t.Context(), store, s.host()+"/a:2", transfer.HostPlatform())
	if err != nil || len(img.Layers) != 3 {
		t.Fatalf("%+v, %v", img, err)
	}
	if n := s.asked(image.DigestOf(base.packed)); n != 0 || e.count(Present) != 1 {
		t.Errorf("the common layer was asked for %d times, present: %d", n, e.count(Present))
	}
	if n := s.asked(image.DigestOf(two.packed)); n != 1 {
		t.Errorf("a layer that is there twice was asked for %d times", n)
	}
}

// An image whose configuration claims somebody else's layer as its own must not get
// it: that a blob is here, and a layer, does not make them the same.
func TestClaimedLayer(t *testing.T) {
	store, s := image.Open(needRoot(t)), newServer(t)
	secret := layerOf(t, map[string]string{"secret": "s"}, image.MediaTypeLayerGzip)
	public := layerOf(t, map[string]string{"public": "p"}, image.MediaTypeLayerGzip)
	s.putImage(t, "a", "secret", false, "", secret)
	s.putImage(t, "a", "public", false, "", public)
	claim := public
	claim.plain = secret.plain
	s.putImage(t, "a", "claim", false, "", claim)
	c, _ := newClient(t, nil)
	for _, tag := range []string{"secret", "public"} {
		if _, err := c.Pull(t.Context(), store, s.host()+"/a:"+tag, transfer.HostPlatform()); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.Pull(t.Context(), store, s.host()+"/a:claim", transfer.HostPlatform())
	if err == nil || !strings.Contains(err.Error(), "but the image's configuration says "+image.DigestOf(secret.plain)) {
		t.Errorf("Pull: %v", err)
	}
	wantClean(t, store, 2)
}

// Two pulls of images that share a layer, at once and many times, with removals.
func TestPullsAndRemovalsAtOnce(t *testing.T) {
	store, s := image.Open(needRoot(t)), newServer(t)
	base := layerOf(t, map[string]string{"base": strings.Repeat("1", 1<<20)}, image.MediaTypeLayerGzip)
	for _, tag := range []string{"1", "2"} {
		s.putImage(t, "a", tag, false, "", base, layerOf(t, map[string]string{"own": tag}, image.MediaTypeLayerGzip))
	}
	var wg sync.WaitGroup
	for _, tag := range []string{"1", "2", "1", "2"} {
		wg.Go(func() {
			c, _ := newClient(t, nil)
			for range 8 {
				img, err := c.Pull(t.Context(), store, s.host()+"/a:"+tag, transfer.HostPlatform())
				if err != nil && !errors.Is(err, image.ErrNotFound) && !errors.Is(err, image.ErrIncomplete) { // removed since
					t.Error(err)
				}
				if img != nil && len(img.Layers) != 2 {
					t.Errorf("%+v", img)
				}
				if err := store.Remove(s.host()+"/a:"+tag, nil); err != nil && !errors.Is(err, image.ErrNotFound) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantClean(t, store, 0)
}

func TestHostileImages(t *testing.T) {
	store, s := image.Open(needRoot(t)), newServer(t)
	good := layerOf(t, map[string]string{"f": "x"}, image.MediaTypeLayerGzip)
	escape := layerOf(t, map[string]string{"../escape": "x"}, image.MediaTypeLayerGzip)
	noTar := testLayer{image.MediaTypeLayerGzip, []byte("text"), pack(t, []byte(strings.Repeat("text", 1000)), "gzip")}
	s.putImage(t, "bad", "escape", false, "", good, escape)
	s.putImage(t, "bad", "notar", false, "", good, noTar)
	s.putImage(t, "bad", "types", false, "", testLayer{"application/x-squashfs", good.plain, good.packed})
	s.putImage(t, "bad", "foreign", true, "", testLayer{string(types.DockerForeignLayer), good.plain, good.packed})
	fewer := image.Manifest{SchemaVersion: 2, MediaType: image.MediaTypeManifest}
	fewer.Config = s.putBlob(t, "bad", image.MediaTypeConfig, []byte(`{"os":"linux","rootfs":{"diff_ids":["sha256:0"]}}`))
	s.putJSON(t, "bad", "fewer", image.MediaTypeManifest, fewer)
	fewer.Config = s.putBlob(t, "bad", image.MediaTypeConfig, []byte(`{"os":"windows"}`))
	s.putJSON(t, "bad", "windows", image.MediaTypeManifest, fewer)
	fewer.Config = s.putBlob(t, "bad", "application/vnd.cncf.helm.config.v1+json", []byte(`{}`))
	s.putJSON(t, "bad", "chart", image.MediaTypeManifest, fewer)
	c, _ := newClient(t, nil)
	for tag, want := range map[string]string{
		"escape": `entry "../escape"`, "notar": "no tar archive", "types": "does not know", "foreign": "for Windows",
		"fewer": "0 layers in its manifest, 1 in its configuration", "windows": "for windows", "chart": "no image that can be run",
	} {
		_, err := c.Pull(t.Context(), store, s.host()+"/bad:"+tag, transfer.HostPlatform())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", tag, err, want)
		}
	}
	wantClean(t, store, 0)
}

func TestCancelledPullLeavesNothing(t *testing.T) {
	store, s := image.Open(needRoot(t)), newServer(t)
	s.putImage(t, "a", "1", false, "", layerOf(t, map[string]string{"f": strings.Repeat("x", 1<<20)}, image.MediaTypeLayer))
	ctx, cancel := context.WithCancel(t.Context())
	c, e := newClient(t, nil)
	c.progress = func(v Event) {
		if e.add(v); v.Kind == Moving {
			cancel()
		}
	}
	if _, err := c.Pull(ctx, store, s.host()+"/a:1", transfer.HostPlatform()); !errors.Is(err, context.Canceled) {
		t.Errorf("Pull: %v", err)
	}
	wantClean(t, store, 0)
}

func TestPushAndPullBack(t *testing.T) {
	store, s, other := image.Open(needRoot(t)), newServer(t), newServer(t)
	one := layerOf(t, map[string]string{"one": "1"}, image.MediaTypeLayerZstd)
	two := layerOf(t, map[string]string{"two": "2"}, string(types.DockerLayer))
	d := s.putImage(t, "a", "1", false, "", one, two)
	c, e := newClient(t, nil)
	img, err := c.Pull(t.Context(), store, s.host()+"/a:1", transfer.HostPlatform())
	if err != nil {
		t.Fatal(err)
	}
	target := other.host() + "/deep/er/b:2"
	p, err := c.Push(t.Context(), store, s.host()+"/a:1", target)
	if err != nil || p.Digest != img.Digest || p.Reference != target {
		t.Fatalf("%+v, %v", p, err)
	}
	if img.Digest == d.Digest {
		t.Error("a Docker layer's type was kept")
	}
	started := e.count(Started)
	if _, err := c.Push(t.Context(), store, s.host()+"/a:1", target); err != nil || e.count(Started) != started {
		t.Errorf("again: %v, %d blobs sent", err, e.count(Started)-started)
	}
	back := image.Open(t.TempDir())
	if img, err = c.Pull(t.Context(), back, target, transfer.HostPlatform()); err != nil || img.Digest != p.Digest {
		t.Fatalf("%+v, %v", img, err)
	}
	wantFile(t, img, 0, "one", "1")
	wantFile(t, img, 1, "two", "2")
	if _, err := c.Push(t.Context(), store, "none:1", ""); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("an absent image: %v", err)
	}
	if _, err := c.Push(t.Context(), store, s.host()+"/a:1", target+"@"+d.Digest); !errors.Is(err, image.ErrBadReference) {
		t.Errorf("to a digest: %v", err)
	}
	wantClean(t, store, 1)
}

func TestPushRetries(t *testing.T) {
	store, s := image.Open(needRoot(t)), newServer(t)
	s.putImage(t, "a", "1", false, "", layerOf(t, map[string]string{"f": "x"}, image.MediaTypeLayerGzip))
	c, _ := newClient(t, nil)
	if _, err := c.Pull(t.Context(), store, s.host()+"/a:1", transfer.HostPlatform()); err != nil {
		t.Fatal(err)
	}
	s.misbehave(failing(2, 503, nil)) // each address twice
	if _, err := c.Push(t.Context(), store, s.host()+"/a:1", s.host()+"/b:1"); err != nil {
		t.Error(err)
	}
	s.misbehave(failing(1<<30, 507, nil))
	if _, err := c.Push(t.Context(), store, s.host()+"/a:1", s.host()+"/c:1"); err == nil || !strings.Contains(err.Error(), "507") {
		t.Errorf("a full registry: %v", err)
	}
}

func TestDamagedStoreIsMended(t *testing.T) {
	store, s := image.Open(needRoot(t)), newServer(t)
	l := layerOf(t, map[string]string{"f": "x"}, image.MediaTypeLayerGzip)
	s.putImage(t, "a", "1", false, "", l)
	c, _ := newClient(t, nil)
	img, err := c.Pull(t.Context(), store, s.host()+"/a:1", transfer.HostPlatform())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(img.Layers[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Pull(t.Context(), store, s.host()+"/a:1", transfer.HostPlatform()); err != nil {
		t.Error(err)
	}
	wantClean(t, store, 1)
	var index map[string]any
	data, err := os.ReadFile(filepath.Join(store.OCI(), "index.json"))
	if err = errors.Join(err, json.Unmarshal(data, &index)); err != nil {
		t.Error(err)
	}
}
