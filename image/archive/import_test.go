package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/importer"
	"github.com/cocker/cocker/image/manifest"
)

func TestImport(t *testing.T) {
	lower, upper := layerOf(t, "lower"), layerOf(t, "upper")
	oci := layoutWith(t, "example.com/web:1.27", lower, upper).tar(t)
	docker := dockerWith(t).tar(t)
	for _, tt := range []struct {
		what, ref, only string
		source          []byte
		want            []string // names
		layers          []string // of the last
	}{
		{what: "an OCI archive", source: oci, want: []string{"example.com/web:1.27"}, layers: []string{"lower", "upper"}},
		{what: "a compressed one", source: gzipped(t, oci), want: []string{"example.com/web:1.27"}, layers: []string{"lower", "upper"}},
		{what: "zstd, another name", source: zstandard(t, oci), ref: "mine:2", want: []string{"mine:2"}, layers: []string{"lower", "upper"}},
		{what: "another name, its tag", source: oci, ref: "mine", want: []string{"mine:1.27"}, layers: []string{"lower", "upper"}},
		{what: "docker save", source: docker, want: []string{"web:1.0", "web:latest", "example.com/db:2"}, layers: []string{"lower", "upper"}},
		{what: "one of docker save", source: gzipped(t, docker), only: "web", want: []string{"web:1.0", "web:latest"}, layers: []string{"lower"}},
		{what: "one of docker save, renamed", source: docker, only: "example.com/db:2", ref: "db:3", want: []string{"db:3"}, layers: []string{"lower", "upper"}},
		{what: "all of docker save, renamed", source: docker, ref: "all", want: []string{"all:1.0", "all:latest", "all:2"}, layers: []string{"lower", "upper"}},
		{what: "a tree", source: lower, ref: "tree", want: []string{"tree:latest"}, layers: []string{"lower"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			for _, from := range []string{"file", "stdin"} {
				store, opts, source := newStore(t), Options{Image: tt.only}, "-"
				if from == "file" {
					source = write(t, tt.source)
				} else {
					opts.Stdin = bytes.NewReader(tt.source)
				}
				images, err := Import(t.Context(), store, source, tt.ref, opts)
				if err != nil || !slices.Equal(namesOf(images), tt.want) {
					t.Fatalf("%s: %v, %v; want %v", from, namesOf(images), err, tt.want)
				}
				if got := texts(t, store, tt.want[len(tt.want)-1]); !slices.Equal(got, tt.layers) {
					t.Errorf("%s: layers %v; want %v", from, got, tt.layers)
				}
			}
		})
	}
}

// What other tools write besides: "docker save" from 25 on, containerd, umoci, crane.
func TestImportDialects(t *testing.T) {
	layer := layerOf(t, "layer")
	docker25 := func() (e entries) { // a layout with manifest.json beside it
		d := e.image(t, layer)
		first, second := d.Named("1.0"), d.Named("latest")
		first.Annotations[annotationContainerd] = "docker.io/library/web:1.0"
		second.Annotations[annotationContainerd] = "docker.io/library/web:latest"
		e.json(t, savedName, []savedImage{{Config: "blobs/sha256/any", RepoTags: []string{"web:1.0", "web:latest"}}})
		e.index(t, first, second)
		return e
	}()
	containerd := func() (e entries) { // an index for several platforms, and an attestation
		other := image.Descriptor{MediaType: image.MediaTypeManifest, Digest: image.DigestOf([]byte("s390x")), Size: 5, Platform: &image.Platform{OS: "linux", Architecture: "s390x-not-this"}}
		unknown := image.Descriptor{MediaType: image.MediaTypeManifest, Digest: image.DigestOf([]byte("att")), Size: 3, Platform: &image.Platform{OS: "unknown", Architecture: "unknown"}}
		own := e.image(t, layer)
		own.Platform = &image.Platform{OS: "linux", Architecture: configOf().Architecture}
		d := e.jsonBlob(t, manifest.DockerIndex, map[string]any{"schemaVersion": 2, "mediaType": manifest.DockerIndex, "manifests": []image.Descriptor{other, unknown, own}}).Named("1.0")
		d.Annotations[annotationContainerd] = "docker.io/library/web:1.0"
		e.index(t, d)
		return e
	}()
	umoci := func() (e entries) {
		e.index(t, e.image(t, layer).Named("1.0"), e.image(t, layer).Named("stable"), e.image(t, layer, layerOf(t, "more")).Named("1.1"))
		return e
	}()
	crane := func() (e entries) { // compressed layers, configuration without .json
		packed := gzipped(t, layer)
		config := e.json(t, "x", configOf(layer))
		e = entries{}
		e.file("sha256:"+hexOf(image.DigestOf(config)), config)
		e.file(hexOf(image.DigestOf(packed))+".tar.gz", packed)
		e.json(t, savedName, []savedImage{{Config: image.DigestOf(config), RepoTags: []string{"web:1.0"}, Layers: []string{hexOf(image.DigestOf(packed)) + ".tar.gz"}}})
		return e
	}()
	// A layer of nothing, as "docker build" makes, and one without an end mark, as umoci does.
	odd := layoutWith(t, "web:1.0", layer[:len(layer)-1024], make([]byte, 1024))
	for _, tt := range []struct {
		what, ref string
		source    entries
		want      []string
	}{
		{"docker 25", "", docker25, []string{"web:1.0", "web:latest"}},
		{"containerd", "", containerd, []string{"docker.io/library/web:1.0"}},
		{"umoci", "web", umoci, []string{"web:1.0", "web:stable", "web:1.1"}},
		{"crane", "", crane, []string{"web:1.0"}},
		{"odd layers", "", odd, []string{"web:1.0"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			store := newStore(t)
			images, err := Import(t.Context(), store, write(t, tt.source.tar(t)), tt.ref, Options{})
			if err != nil || !slices.Equal(namesOf(images), tt.want) {
				t.Fatalf("%v, %v; want %v", namesOf(images), err, tt.want)
			}
			if tt.what == "containerd" { // found by the digest of the index too
				if _, err := store.Resolve("docker.io/library/web@" + digestsOf(t, store)[tt.want[0]]); err != nil {
					t.Error(err)
				}
			}
			if tt.what != "docker 25" && tt.what != "containerd" {
				return
			}
			if got := texts(t, store, tt.want[0]); !slices.Equal(got, []string{"layer"}) {
				t.Errorf("layers %v", got)
			}
		})
	}
	t.Run("directory", func(t *testing.T) {
		store := newStore(t)
		images, err := Import(t.Context(), store, umoci.unpacked(t), "web", Options{Image: "1.1"})
		if err != nil || !slices.Equal(namesOf(images), []string{"web:1.1"}) {
			t.Fatalf("%v, %v", namesOf(images), err)
		}
		if got := texts(t, store, "web"); !slices.Equal(got, []string{"layer", "more"}) {
			t.Errorf("layers %v", got)
		}
	})
}

// TestHostile: each archive is refused with a reason, and nothing of it is left.
func TestHostile(t *testing.T) {
	layer, other := layerOf(t, "layer"), layerOf(t, "other")
	saved := func(layers ...string) (e entries) {
		config := e.json(t, "config", configOf(layer))
		name := hexOf(image.DigestOf(config)) + ".json"
		e = entries{}
		e.file(name, config)
		e.json(t, savedName, []savedImage{{Config: name, RepoTags: []string{"web:1"}, Layers: layers}})
		return e
	}
	with := func(e entries, add func(*entries)) entries {
		e = slices.Clone(e)
		add(&e)
		return e
	}
	good := layoutWith(t, "web:1", layer)
	gz := blobPath(image.DigestOf(gzipped(t, layer)))
	replace := func(name string, data []byte) entries {
		return with(good, func(e *entries) {
			i := slices.IndexFunc(*e, func(h tar.Header) bool { return h.Name == name })
			*e = slices.Delete(*e, i, i+1)
			if data != nil {
				e.file(name, data)
			}
		})
	}
	damaged := gzipped(t, layer)
	damaged[len(damaged)/2] ^= 1
	for _, tt := range []struct {
		what   string
		source []byte
		want   string
	}{
		{"a layer above the archive", saved("../../etc/passwd").tar(t), "leads out of the archive"},
		{"an absolute layer", saved("/etc/passwd").tar(t), "leads out of the archive"},
		{"a configuration above it", func() []byte {
			var e entries
			e.file(strings.Repeat("a", 64)+".json", nil)
			e.json(t, savedName, []savedImage{{Config: "../../etc/shadow", RepoTags: []string{"web:1"}}})
			return e.tar(t)
		}(), "leads out of the archive"},
		{"an entry above it", with(saved("l.tar"), func(e *entries) { e.file("../l.tar", layer) }).tar(t), "leads out of the archive"},
		{"a link out of it", with(saved("a/layer.tar"), func(e *entries) { e.link(tar.TypeSymlink, "a/layer.tar", "../../../etc/passwd") }).tar(t), "leads out of the archive"},
		{"an absolute link", with(saved("a/layer.tar"), func(e *entries) { e.link(tar.TypeSymlink, "a/layer.tar", "/etc/passwd") }).tar(t), "leads out of the archive"},
		{"a hard link out of it", with(saved("a/layer.tar"), func(e *entries) { e.link(tar.TypeLink, "a/layer.tar", "../x") }).tar(t), "leads out of the archive"},
		{"links in a circle", with(saved("a"), func(e *entries) {
			e.link(tar.TypeSymlink, "a", "b")
			e.link(tar.TypeSymlink, "b", "a")
		}).tar(t), "links that lead to each other"},
		{"a link to nothing", with(saved("a/layer.tar"), func(e *entries) { e.link(tar.TypeSymlink, "a/layer.tar", "../b/layer.tar") }).tar(t), "b/layer.tar is not in the archive"},
		{"a device", with(saved("a"), func(e *entries) { *e = append(*e, tar.Header{Typeflag: tar.TypeBlock, Name: "a"}) }).tar(t), "neither a file nor a directory"},
		{"a missing layer of docker save", saved("a").tar(t), "a is not in the archive"},
		{"another layer", with(saved("a"), func(e *entries) { e.file("a", other) }).tar(t), importer.ErrDiffID.Error()},
		{"another layer, compressed", with(saved("a"), func(e *entries) { e.file("a", gzipped(t, other)) }).tar(t), importer.ErrDiffID.Error()},
		{"too few layers", saved().tar(t), "0 layers in its manifest, 1 in its configuration"},
		{"a file twice", with(saved("a"), func(e *entries) { e.file("a", layer); e.file("./a", other) }).tar(t), "in the archive twice"},
		{"a configuration with another name", func() []byte {
			var e entries
			name := strings.Repeat("a", 64) + ".json"
			e.json(t, name, configOf())
			e.json(t, savedName, []savedImage{{Config: name, RepoTags: []string{"web:1"}}})
			return e.tar(t)
		}(), errDigest.Error()},
		{"no names", func() []byte {
			var e entries
			e.json(t, savedName, []savedImage{{Config: "x"}})
			return e.tar(t)
		}(), "no name for it"},
		{"a missing blob", replace(gz, nil).tar(t), gz + " is not in the archive"},
		{"a damaged blob", replace(gz, damaged).tar(t), errDigest.Error()},
		{"another blob", replace(gz, gzipped(t, other)).tar(t), errDigest.Error()},
		{"a longer blob", replace(gz, append(gzipped(t, layer), 0)).tar(t), "bytes instead of"},
		{"a name that means another image", layoutWith(t, "web@"+image.DigestOf(nil), layer).tar(t), "which it is not"},
		{"a name that is none", layoutWith(t, "../../web:1", layer).tar(t), image.ErrBadReference.Error()},
		{"an index that is a manifest", with(entries{}, func(e *entries) {
			e.file("oci-layout", nil)
			e.file("index.json", []byte(`{"schemaVersion":2,"manifests":[],"layers":[]}`))
		}).tar(t), "an image and an index at once"},
		{"a digest that is a path", with(entries{}, func(e *entries) {
			e.index(t, image.Descriptor{MediaType: image.MediaTypeManifest, Digest: "sha256:../../../etc/passwd"}.Named("web:1"))
		}).tar(t), "is not sha256:"},
		{"an endless manifest", with(entries{}, func(e *entries) {
			e.file("oci-layout", nil)
			e.file("index.json", make([]byte, manifest.MaxSize+1))
		}).tar(t), "longer than"},
		{"two images of one name", with(entries{}, func(e *entries) {
			e.file("oci-layout", nil)
			a, b := e.image(t, layer).Named("web:1"), e.image(t, other).Named("web")
			b.Annotations[annotationContainerd] = "web:1"
			e.json(t, "index.json", layoutIndex{2, image.MediaTypeIndex, []image.Descriptor{a, b}})
		}).tar(t), "two images of it would be web:1"},
		{"no documents", with(entries{}, func(e *entries) { e.file("oci-layout", nil) }).tar(t), "index.json is not in the archive"},
		{"only layers", with(entries{}, func(e *entries) { e.file(strings.Repeat("a", 64)+".tar", layer) }).tar(t), "neither oci-layout nor manifest.json"},
		{"cut short in a blob", good.tar(t)[:1024], "cut short"},
		{"cut short, compressed", gzipped(t, good.tar(t))[:600], "unexpected EOF"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			for _, from := range []string{"file", "stdin"} {
				store, source := newStore(t), "-"
				if from == "file" {
					source = write(t, tt.source)
				}
				_, err := Import(t.Context(), store, source, "", Options{Options: importer.Options{Stdin: bytes.NewReader(tt.source)}})
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s: %v; want %q", from, err, tt.want)
				}
				if _, err := os.Stat(store.OCI()); err == nil {
					assertEmpty(t, store)
				}
			}
		})
	}
}

// A layout in a directory whose blobs are symbolic links to elsewhere, or fifos.
func TestHostileDirectory(t *testing.T) {
	good := layoutWith(t, "web:1", layerOf(t, "layer"))
	gz := blobPath(image.DigestOf(gzipped(t, layerOf(t, "layer"))))
	for what, hurt := range map[string]func(dir string) error{
		"escapes":    func(dir string) error { return os.Rename(filepath.Join(dir, gz), dir+"-outside") },
		"not a file": func(dir string) error { return os.Mkdir(filepath.Join(dir, gz), 0o700) },
	} {
		dir, store := good.unpacked(t), newStore(t)
		if what == "not a file" {
			if err := os.Remove(filepath.Join(dir, gz)); err != nil {
				t.Fatal(err)
			}
		}
		if err := hurt(dir); err != nil {
			t.Fatal(err)
		}
		if what == "escapes" {
			if err := os.Symlink(dir+"-outside", filepath.Join(dir, gz)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Import(t.Context(), store, dir, "", Options{}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v; want %q", err, what)
		}
		assertEmpty(t, store)
	}
}

// A store of another host, in which an image has lost its name.
func TestNamelessIsLeftOut(t *testing.T) {
	store := newStore(t)
	var e entries
	nameless := e.image(t, layerOf(t, "nameless"))
	e.index(t, e.image(t, layerOf(t, "named")).Named("web:1"), nameless)
	path, notes := write(t, e.tar(t)), []string{}
	opts := Options{Options: importer.Options{Note: func(text string) { notes = append(notes, text) }}}
	images, err := Import(t.Context(), store, path, "", opts)
	if err != nil || !slices.Equal(namesOf(images), []string{"web:1"}) || len(notes) != 1 || !strings.Contains(notes[0], nameless.Digest) {
		t.Errorf("%v, %v, %q", namesOf(images), err, notes)
	}
	opts.Image = nameless.Digest
	if _, err := Import(t.Context(), store, path, "found:1", opts); err != nil {
		t.Fatal(err)
	}
	if got := texts(t, store, "found:1"); !slices.Equal(got, []string{"nameless"}) {
		t.Errorf("layers %v", got)
	}
}

func TestImportRefusals(t *testing.T) {
	store := newStore(t)
	oci := write(t, layoutWith(t, "web:1", layerOf(t, "layer")).tar(t))
	tree := write(t, layerOf(t, "layer"))
	docker := write(t, dockerWith(t).tar(t))
	var transport entries
	transport.file("version", []byte("Directory Transport Version: 1.1\n"))
	transport.file("manifest.json", []byte("{}"))
	command := Options{Options: importer.Options{Command: []string{"sh"}}}
	for _, tt := range []struct {
		source, ref string
		opts        Options
		want        string
	}{
		{oci, "web:1", command, "leave out the command"},
		{oci, "", Options{Image: "none"}, `no image "none"`},
		{tree, "", Options{}, "give it a name"},
		{tree, "x", Options{Image: "none"}, "no archive of images"},
		{filepath.Dir(tree), "", Options{}, "give it a name"},
		{transport.unpacked(t), "x", Options{}, "oci-archive:FILE:NAME"},
		{docker, "", Options{Image: "none"}, "what it has: web:1.0, web:latest; example.com/db:2"},
		{docker, "x:1", Options{}, "2 images, say which one is to be x:1"},
		{oci, "x@" + image.DigestOf(nil), Options{}, "without a digest"},
		{"machine:../etc", "x", Options{}, "no name of a machine"},
		{"machine:no-such-machine", "x", Options{}, "machinectl list-images"},
		{tree + ".none", "x", Options{}, "no such file"},
	} {
		if _, err := Import(t.Context(), store, tt.source, tt.ref, tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s: %v; want %q", tt.source, tt.ref, err, tt.want)
		}
	}
	if _, err := os.Stat(store.OCI()); err == nil {
		assertEmpty(t, store)
	}
}

// What is here already is not unpacked again.
func TestImportKeepsLayers(t *testing.T) {
	store, lower := newStore(t), layerOf(t, "lower")
	first, err := Import(t.Context(), store, write(t, layoutWith(t, "web:1", lower).tar(t)), "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	// The blob of the lower layer is not even in the second archive.
	gz := blobPath(image.DigestOf(gzipped(t, lower)))
	e := slices.DeleteFunc(layoutWith(t, "web:2", lower, layerOf(t, "upper")), func(h tar.Header) bool { return h.Name == gz })
	second, err := Import(t.Context(), store, write(t, e.tar(t)), "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if first[0].Layers[0] != second[0].Layers[0] || len(second[0].Layers) != 2 {
		t.Errorf("layers %v and %v", first[0].Layers, second[0].Layers)
	}
}

func TestCancelledImportLeavesNothing(t *testing.T) {
	big := layerOf(t, strings.Repeat("x", 4<<20))
	for what, source := range map[string][]byte{"file": layoutWith(t, "web:1", big).tar(t), "stdin": gzipped(t, dockerWith(t).tar(t))} {
		store := newStore(t)
		ctx, cancel := context.WithCancel(t.Context())
		opts := Options{Options: importer.Options{Stdin: bytes.NewReader(source), Progress: func(int64) { cancel() }}}
		path := "-"
		if what == "file" {
			path = write(t, source)
		}
		if _, err := Import(ctx, store, path, "", opts); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
		assertEmpty(t, store)
	}
}

// A bomb ends at the limit, compressed in the archive or around it.
func TestBombs(t *testing.T) {
	zeros := strings.Repeat("\x00", spoolRoom+4<<20)
	for what, source := range map[string][]byte{
		"a layer":     layoutWith(t, "web:1", layerOf(t, zeros)).tar(t),
		"the archive": gzipped(t, func() []byte { var e entries; e.file("oci-layout", []byte(zeros)); return e.tar(t) }()),
	} {
		store := newStore(t)
		_, err := Import(t.Context(), store.Limit(image.Limits{Size: 1 << 20}), write(t, source), "", Options{})
		if !errors.Is(err, image.ErrTooLarge) {
			t.Errorf("%s: %v", what, err)
		}
		assertEmpty(t, store)
	}
}

func TestSniff(t *testing.T) {
	hex := strings.Repeat("a", 64)
	for _, tt := range []struct {
		names []string
		want  bool
	}{
		{[]string{"oci-layout"}, true},
		{[]string{"./", "./index.json", "./oci-layout"}, true},
		{[]string{"blobs/", "blobs/sha256/", "blobs/sha256/" + hex}, true},
		{[]string{hex + "/", hex + "/VERSION"}, true},
		{[]string{hex + ".json"}, true},
		{[]string{"sha256:" + hex}, true},
		{[]string{"manifest.json"}, true},
		{[]string{"manifest.json", "bin/sh"}, false},
		{[]string{"./", "./bin/", "./oci-layout"}, false},
		{[]string{"./"}, false},
		{nil, false},
	} {
		var e entries
		for _, name := range tt.names {
			if strings.HasSuffix(name, "/") {
				e = append(e, tar.Header{Typeflag: tar.TypeDir, Name: name})
			} else {
				e.file(name, []byte("{}"))
			}
		}
		data := e.tar(t)
		got, all := sniff(bytes.NewReader(data))
		if again, err := io.ReadAll(all); got != tt.want || err != nil || !bytes.Equal(again, data) {
			t.Errorf("%v: %v, want %v; %d bytes of %d, %v", tt.names, got, tt.want, len(again), len(data), err)
		}
	}
}
