#!/bin/sh
# The power switch of a virtual machine: makes the outside end of its eth0, then
# becomes qemu. Arguments: those of qemu. Descriptor 3 is the network namespace that
# plays the outside world, 4 the connection to the agent.
set -eu
nsenter --net=/proc/self/fd/3 sh -ec '
	ip link set lo up
	ip link del eth0 2>/dev/null || :
	ip tuntap add dev eth0 mode tap
	ip addr add 192.0.2.2/24 dev eth0
	ip addr add 2001:db8:2::2/64 dev eth0 nodad
	ip link set eth0 up'
exec nsenter --net=/proc/self/fd/3 qemu-system-x86_64 "$@"
