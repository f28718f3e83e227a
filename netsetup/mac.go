package netsetup

import "github.com/cocker/cocker/config"

// MAC is the hardware address that Attach gives the container's link; "" if the one of
// the join is none.
func MAC(lease Lease, join config.Join) string {
	hardware, err := joinMAC(lease, join)
	if err != nil {
		return ""
	}
	return hardware.String()
}
