// Package image owns cocker's image store: a standard OCI image layout with the
// blobs, and beside it every layer unpacked once, ready to be an overlay's lower
// directory. It finds, lists and removes images, adds them in transactions,
// and checks and repairs what is there.
//
//	ROOT/oci/oci-layout, index.json      names and digests of the images
//	ROOT/oci/blobs/sha256/HEX            manifests, configurations, compressed layers
//	ROOT/oci/.lock                       flock: shared to read, exclusive to change
//	ROOT/oci/.staging-ID/                blobs of an import at work, locked by it
//	ROOT/layers/sha256/HEX/              an unpacked layer; HEX is its diff id
//	ROOT/layers/.staging-ID/             layers of an import at work
//	ROOT/names/NAME                      a marker for each name, see [Store.Mark]
//	ROOT/quarantine/HEX                  damaged blobs that [Store.Check] has put aside
//
// A name in oci/ or layers/ that is not a staging name is complete and on disk:
// see [Transaction.Commit] for the order. An image is named by the annotation
// org.opencontainers.image.ref.name, which holds the whole name with its tag, so
// that "skopeo inspect oci:/var/lib/cocker/oci:base:1.0" finds base:1.0; only
// ssh:// is written ssh: there.
//
// The package is on the start path of every container. It may import only the
// standard library's small packages, internal/linux and golang.org/x/sys/unix:
// compression belongs to its importer package.
package image
