package image

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

const digestPrefix = "sha256:"

// digestHex returns the 64 lower-case hex digits of a sha256 digest. Every path
// of a blob or layer is made from its result: nothing else can be in it.
func digestHex(digest string) (string, error) {
	digits, ok := strings.CutPrefix(digest, digestPrefix)
	if !ok || len(digits) != 2*sha256.Size {
		return "", fmt.Errorf("digest %q is not sha256: and 64 hex digits", digest)
	}
	for _, c := range []byte(digits) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("digest %q is not sha256: and 64 hex digits", digest)
		}
	}
	return digits, nil
}

// CheckDigest refuses what is no digest: one from elsewhere becomes part of paths
// and addresses.
func CheckDigest(digest string) error {
	_, err := digestHex(digest)
	return err
}

// DigestOf returns the digest of a small blob.
func DigestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return digestPrefix + hex.EncodeToString(sum[:])
}
