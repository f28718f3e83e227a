package archive

import (
	"archive/tar"
	"bytes"
	"io"
	"path"
	"regexp"
	"sync"
)

// maxSniffed is how much is read to tell what a tar is.
const maxSniffed = 8 << 20

var (
	// partName is what only an archive of images has at its top: layouts, "docker save"
	// (HEX.json, HEX/layer.tar), "podman save" (HEX.tar), and others who write such.
	partName = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^(oci-layout|blobs/sha(256|512)/[0-9a-f]+|(sha256:)?[0-9a-f]{64}(\.json|\.tar|\.tar\.gz|/.*)?)$`)
	})
	// openName says nothing yet: a tree may have it too.
	openName = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^(\.|blobs|blobs/sha(256|512)|index\.json|manifest\.json|repositories)$`)
	})
)

// sniff tells an archive of images from the tree of one by the names that come first,
// and returns a reader of all of it.
func sniff(source io.Reader) (isArchive bool, all io.Reader) {
	var head bytes.Buffer
	limited := io.LimitReader(source, maxSniffed)
	r := tar.NewReader(io.TeeReader(limited, &head))
	documents := false
	for {
		hdr, err := r.Next()
		if err != nil {
			// Its end, the limit or damage, which the one who reads it next will tell.
			return err == io.EOF && documents, io.MultiReader(&head, source)
		}
		if hdr.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		name := path.Clean(hdr.Name)
		if partName().MatchString(name) {
			return true, io.MultiReader(&head, source)
		}
		if !openName().MatchString(name) {
			return false, io.MultiReader(&head, source)
		}
		documents = documents || hdr.Typeflag == tar.TypeReg
	}
}
