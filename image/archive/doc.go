// Package archive moves images between the store and files: OCI archives (the tar of
// an OCI image layout, plain or compressed), layouts in directories, and the archives
// of "docker save" and "podman save". What is no such archive it leaves to package
// importer, as the tree of one image; such trees it writes, too.
//
// An archive is hostile. Nothing of it is unpacked but layers, into the store's
// staging area; names in it are looked up among its own entries or below its
// directory, and lead nowhere else. Every part is compared with its digest while it
// streams. Archives have their parts in any order, so one that comes through a pipe
// or a decompressor goes to a file without a name first: memory stays bounded.
//
// It may import packages image, importer, manifest, pack and unpack.
package archive
