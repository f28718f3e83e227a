// Package registry moves images between registries and the image store: OCI and
// Docker registries of version 2, their mirrors, with the credentials that other
// tools have stored. Authentication, references and uploads are go-containerregistry's;
// downloads are this package's own, because they go on where they broke off and
// are unpacked while they come in.
//
// A registry is not trusted. What it sends is bounded; every blob must have the
// digest by which it was asked for, and a tag is the only thing it may decide; a
// layer is unpacked by package unpack with its limits. Nothing but HTTPS with a
// certificate that holds is spoken, save with this machine and where
// registries.toml says so. Credentials go to the registry they were stored for,
// and to the token server that it names.
//
// The package links an HTTP client and belongs to the command line; nothing on a
// container's start path may import it.
package registry
