// Package sshrepo moves images between the image store and a directory on another
// machine, over ssh(1). That machine needs sshd, a POSIX shell and coreutils, or busybox
// in their place, and nothing of cocker. The directory is a standard OCI image layout:
// there, "skopeo inspect oci:cocker-images:web:1.0" reads what was pushed.
//
// One connection carries everything. The client sends the program of server.sh, which
// the shell runs, and then asks it for one thing after the other; what it is to read in
// full, a blob or an index, is sent only after it has said that it is ready, because not
// every head(1) stops reading where it stops writing.
//
//   - A blob is written below .cocker/SESSION/, checked against its digest, synced and
//     then renamed into blobs/: so a push that breaks off leaves no part of one, and what
//     it had finished need not be sent again.
//   - index.json is replaced by a rename, under a lock, and only if it is still the one
//     that the new one was made from: so of two pushes at once none is lost.
//   - What a session that died has left is deleted by the next push.
//
// The other side is not trusted: what it sends is bounded and checked by digest, as of a
// registry, and its texts are shown without control characters. Nor are names: see
// [image.ParsePlace] for what may be an argument of ssh. Nothing else is part of a command
// line; what goes into the program is quoted.
package sshrepo
