#!/bin/sh
# The first program of a test host: process 1 of new mount, pid, network, uts, ipc
# and cgroup namespaces. It builds the file system that systemd expects and then
# becomes systemd. Arguments: the host's scratch directory, its root (the lower
# layer), its console (a pseudo-terminal of the machine), its name. Descriptor 3
# is the network namespace that plays the outside world.
set -eu
scratch=$1 lower=$2 console=$3 name=$4

# Nothing that is mounted from here on may reach the machine.
mount --make-rprivate /

mount -t overlay host -o "lowerdir=$lower,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
cd "$scratch/root"
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o nosuid,nodev,noexec sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o nosuid,mode=755,size=16m devtmpfs dev
mount -t tmpfs -o nosuid,nodev,mode=755,size=256m tmpfs run
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs tmp

# systemd would mount these itself, but it looks at no more than five changes of the
# mount table in a second: each one that it need not make shortens the boot.
mkdir -p dev/mqueue run/lock
mount -t mqueue -o nosuid,nodev,noexec mqueue dev/mqueue
mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size=5m tmpfs run/lock

mkdir -p dev/pts dev/shm dev/net
mount -t devpts -o newinstance,nosuid,noexec,gid=5,mode=620,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
device() {
	mknod -m 666 "dev/$1" c "$2" "$3"
}
device null 1 3
device zero 1 5
device full 1 7
device random 1 8
device urandom 1 9
device tty 5 0
device fuse 10 229
device net/tun 10 200

# The kernel log belongs to the machine: reading it would show other hosts, writing
# would flood it. kmsg is a pipe whose other end writes to this host's journal.
: >dev/kmsg
mount --bind "$scratch/kmsg" dev/kmsg
: >dev/console
mount --bind "$console" dev/console

# overlayfs cannot have its upper directory on another overlayfs.
mkdir -p var/lib/cocker
mount --bind "$scratch/state" var/lib/cocker

mkdir -p run/host
: >run/host/notify
mount --bind "$scratch/notify" run/host/notify

pivot_root . mnt
cd /
umount -l /mnt
# systemd does this itself only where it is not in a container; it is what real hosts have.
mount --make-rshared /

hostname "$name"
ip link set lo up
# What an earlier boot left there goes away on its own, but not at once.
nsenter --net=/proc/self/fd/3 ip link del eth0 2>/dev/null || :
ip link add eth0 type veth peer name eth0 netns /proc/self/fd/3
ip link set eth0 up
ip addr add 192.0.2.1/24 dev eth0
ip addr add 2001:db8:2::1/64 dev eth0 nodad
nsenter --net=/proc/self/fd/3 sh -ec '
	ip link set lo up
	ip link set eth0 up
	ip addr add 192.0.2.2/24 dev eth0
	ip addr add 2001:db8:2::2/64 dev eth0 nodad'
ip route add default via 192.0.2.2
ip -6 route add default via 2001:db8:2::2
exec 3>&-

exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	TERM=vt220 container=cocker-test NOTIFY_SOCKET=/run/host/notify \
	/usr/lib/systemd/systemd --system
