package importer

import (
	"context"
	"io"
)

// Unpack writes what is in a layer's blob, compressed or not, below an empty directory,
// and returns the digest of its tar.
func Unpack(ctx context.Context, blob io.Reader, dir string) (diffID string, err error) {
	return unpackPacked(ctx, blob, dir, Options{})
}
