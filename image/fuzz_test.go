package image

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzReference looks for names of images that are more than a name: with an element that
// leads to another directory, or that reads otherwise when it is written again.
func FuzzReference(f *testing.F) {
	for _, text := range []string{"demo", "registry.example.com:5000/team/web:1.27", "web@sha256:" + strings.Repeat("a", 64), "ssh://user@host:22/srv/images/web:1", "../x", "a//b", "a:b:c"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if ref, err := ParseReference(text); err == nil && (ref.Name != "" || ref.Digest == "") { // or it is a digest alone
			for _, element := range strings.Split(strings.TrimPrefix(ref.Name, "ssh://"), "/") {
				if element == "" || element == "." || element == ".." {
					t.Errorf("%q: the name is %q", text, ref.Name)
				}
			}
			if strings.ContainsAny(ref.Name+ref.Tag+ref.Digest, "\x00\n\\ ") {
				t.Errorf("%q: %+v", text, ref)
			}
			if again, err := ParseReference(ref.String()); err != nil || again != ref {
				t.Errorf("%q is %+v, and %q is %+v (%v)", text, ref, ref.String(), again, err)
			}
		}
		_, _ = ParsePlace(text)
	})
}

// FuzzStore gives a store whose documents say whatever they like: what comes of it are
// directories below the store's own, or an error.
func FuzzStore(f *testing.F) {
	config := []byte(`{"os":"linux","architecture":"amd64","config":{"Cmd":["sh"],"Env":["A=b"],"ExposedPorts":{"80/tcp":{}}},"rootfs":{"type":"layers","diff_ids":["sha256:` + strings.Repeat("b", 64) + `"]}}`)
	manifest := []byte(`{"schemaVersion":2,"mediaType":"` + MediaTypeManifest + `","config":{"mediaType":"` + MediaTypeConfig + `","digest":"` + DigestOf(config) + `","size":` + "400" + `},"layers":[{"digest":"sha256:` + strings.Repeat("c", 64) + `","size":3}]}`)
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"`+MediaTypeManifest+`","digest":"`+DigestOf(manifest)+`","size":1,"annotations":{"org.opencontainers.image.ref.name":"x:1"}}]}`), manifest, config)
	f.Fuzz(func(t *testing.T, index, manifest, config []byte) {
		dir := t.TempDir()
		blobs := filepath.Join(dir, "oci", "blobs", "sha256")
		if err := os.MkdirAll(blobs, 0o755); err != nil {
			t.Fatal(err)
		}
		for path, content := range map[string][]byte{
			filepath.Join(dir, "oci", "index.json"):                                 index,
			filepath.Join(dir, "oci", "oci-layout"):                                 []byte(`{"imageLayoutVersion":"1.0.0"}`),
			filepath.Join(blobs, strings.TrimPrefix(DigestOf(manifest), "sha256:")): manifest,
			filepath.Join(blobs, strings.TrimPrefix(DigestOf(config), "sha256:")):   config,
		} {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		store := Open(dir)
		list, _ := store.List()
		for _, summary := range list {
			img, err := store.Resolve(summary.Reference)
			if err != nil {
				continue
			}
			for _, layer := range img.Layers {
				if !strings.HasPrefix(layer, dir+"/layers/") || strings.Contains(layer, "..") {
					t.Errorf("layer %q", layer)
				}
			}
		}
	})
}
