// Package host makes test hosts: a real systemd as process 1 of namespaces of its
// own, with a Debian root file system, on any Linux machine where the tests run as
// root. There are no test doubles for systemd.
//
// It owns the cached Debian roots, starting and stopping a host, running commands
// in it, and the snapshots that show what a test left behind. It imports no package
// of cocker: tests use cocker as a user does, through its installed programs.
//
// What a host is made of:
//   - a root that is an overlay: the cached Debian root below, a scratch directory above;
//   - /var/lib/cocker on the machine's own disk, because overlayfs cannot be stacked on overlayfs;
//   - mount, pid, network, uts, ipc and cgroup namespaces, nothing shared but the kernel;
//   - a cgroup2 tree of its own, below a fresh cgroup of the machine's;
//   - eth0, 192.0.2.1/24, whose other end, 192.0.2.2/24, is in a second network
//     namespace: the outside world.
//
// A host cannot outlive the program that started it, see reaper.sh. What its systemd
// changes beyond its namespaces is only what any systemd raises at its start: the
// kernel's limits fs.nr_open and fs.file-max.
package host
