// Package treecopy copies files into and out of a container. A copy is a tar: one
// side sends it, the other receives it, and whoever has a tar of his own takes the
// place of one of them.
//
// The container is hostile, and may rename and link while it is copied (CVE-2018-15664,
// CVE-2019-14271 were `docker cp`). So its side is the work of an agent: this program
// once more, in a user namespace with the ids of the container, as the container's root,
// with five capabilities, and with a root directory in which there is nothing. It has
// the container's root as a descriptor and can do there what the container's root can do,
// no more: ids are as inside, quotas count, what is mounted read-only stays so. Every
// path begins at that descriptor (openat2(2), RESOLVE_IN_ROOT, no magic links); a node is
// looked at before it is opened, so that fifos and devices never are; and no program,
// library or configuration of the container is read.
//
// The host's side trusts the tar no more than the container: names stay below the
// destination, and no symbolic link there is followed.
//
// It may import internal/agent, internal/linux and image/unpack.
package treecopy
