package pid1

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// limitCapabilities leaves the capabilities in set, bit n for capability n, to
// this thread and to everything that it executes or starts: bounding, permitted
// and effective set. The inheritable set is empty, and so the ambient one, a part of it
// (CVE-2022-29162 was about a default that was not).
//
// The other threads keep theirs, and the container's root must not get hold of
// them: execve(2), which ends them, comes next.
func limitCapabilities(set uint64) error {
	if err := dropBounding(^set); err != nil {
		return err
	}
	return setCapabilities(set)
}

// dropBounding takes capabilities from the bounding set of this thread.
func dropBounding(set uint64) error {
	const all = 64 // a newer kernel has some that CAP_LAST_CAP does not know, and gives them to root
	for capability := uintptr(0); capability < all; capability++ {
		if set&(1<<capability) == 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
		if err == unix.EINVAL {
			break // that was the kernel's last one
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", capability, err)
		}
	}
	return nil
}

// setCapabilities sets the permitted and effective set of this thread, and empties the
// inheritable one. Of what the container's file adds the host itself may lack some.
func setCapabilities(set uint64) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	low, high := uint32(set)&data[0].Permitted, uint32(set>>32)&data[1].Permitted
	data = [2]unix.CapUserData{
		{Effective: low, Permitted: low},
		{Effective: high, Permitted: high},
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}
