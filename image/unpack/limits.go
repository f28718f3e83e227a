package unpack

import (
	"archive/tar"
	"fmt"

	"golang.org/x/sys/unix"
)

// Limits bound what a layer may ask of the host. Zero means the default.
type Limits struct {
	Entries int   // default 10 million
	Devices int   // device nodes; default 1024
	Bytes   int64 // content written; default 95 % of what is free on the file system
	Logical int64 // sum of the files' sizes, holes included; default 4 TiB
}

const (
	defaultEntries = 10_000_000
	defaultDevices = 1024
	defaultLogical = 4 << 40
	maxAttributes  = 128 // extended attributes of one entry
	maxID          = 65535
)

// budget is what is left of the limits.
type budget struct {
	entries, devices int
	bytes, logical   int64
	limits           Limits
}

func newBudget(l Limits, root int) (budget, error) {
	if l.Entries == 0 {
		l.Entries = defaultEntries
	}
	if l.Devices == 0 {
		l.Devices = defaultDevices
	}
	if l.Logical == 0 {
		l.Logical = defaultLogical
	}
	if l.Bytes == 0 {
		var st unix.Statfs_t
		if err := unix.Fstatfs(root, &st); err != nil {
			return budget{}, fmt.Errorf("free space: %w", err)
		}
		free := int64(st.Bavail) * st.Bsize
		l.Bytes = free - free/20
	}
	return budget{l.Entries, l.Devices, l.Bytes, l.Logical, l}, nil
}

// check charges an entry by its header, before anything of it is made.
func (b *budget) check(hdr *tar.Header) error {
	if b.entries--; b.entries < 0 {
		return fmt.Errorf("the layer has more than %d entries", b.limits.Entries)
	}
	if hdr.Typeflag == tar.TypeChar || hdr.Typeflag == tar.TypeBlock {
		if b.devices--; b.devices < 0 {
			return fmt.Errorf("the layer has more than %d devices", b.limits.Devices)
		}
	}
	if hdr.Size < 0 || hdr.Size > b.logical {
		return fmt.Errorf("the layer's files are larger than %d bytes", b.limits.Logical)
	}
	b.logical -= hdr.Size
	if hdr.Uid < 0 || hdr.Uid > maxID || hdr.Gid < 0 || hdr.Gid > maxID {
		return fmt.Errorf("owner %d:%d: a container has the ids 0 to %d only", hdr.Uid, hdr.Gid, maxID)
	}
	return nil
}

// write charges content before it is written.
func (b *budget) write(n int) error {
	if b.bytes -= int64(n); b.bytes < 0 {
		return fmt.Errorf("the layer needs more than the %d bytes it may take here: %w", b.limits.Bytes, unix.ENOSPC)
	}
	return nil
}
