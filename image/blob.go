package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
)

// maxDocument bounds manifests and configurations, which are read into memory;
// registries refuse manifests above 4 MiB too.
const maxDocument = 4 << 20

// readBlob reads a small blob and checks its size and digest.
func (s *Store) readBlob(d Descriptor) ([]byte, error) {
	hex, err := digestHex(d.Digest)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(s.blob(hex))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s is missing: %w", d.Digest, ErrIncomplete)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d.Digest, err)
	}
	if len(data) > maxDocument {
		return nil, fmt.Errorf("blob %s is longer than %d bytes", d.Digest, maxDocument)
	}
	if DigestOf(data) != d.Digest {
		return nil, fmt.Errorf("blob %s is damaged, its content has another digest: %w", d.Digest, ErrIncomplete)
	}
	return data, nil
}

func (s *Store) readDocument(d Descriptor, into any) error {
	data, err := s.readBlob(d)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("decode %s: %w", d.Digest, err)
	}
	return nil
}

// maxNesting bounds indexes within indexes.
const maxNesting = 4

// manifest follows indexes to the manifest for this machine.
func (s *Store) manifest(d Descriptor) (*Manifest, Descriptor, error) {
	for range maxNesting {
		if d.MediaType != MediaTypeIndex && d.MediaType != mediaTypeDockerList {
			var m Manifest
			err := s.readDocument(d, &m)
			return &m, d, err
		}
		var nested index
		if err := s.readDocument(d, &nested); err != nil {
			return nil, d, err
		}
		next, err := nested.forPlatform("linux", runtime.GOARCH)
		if err != nil {
			return nil, d, fmt.Errorf("index %s: %w", d.Digest, err)
		}
		d = next
	}
	return nil, d, fmt.Errorf("index %s: more than %d indexes within each other", d.Digest, maxNesting)
}

// forPlatform returns the first manifest for a platform. The order of an index
// is its author's preference: that also settles variants such as arm v7 and v6.
func (idx *index) forPlatform(os, arch string) (Descriptor, error) {
	for _, d := range idx.Manifests {
		if d.Platform != nil && d.Platform.OS == os && d.Platform.Architecture == arch {
			return d, nil
		}
	}
	return Descriptor{}, fmt.Errorf("no image for %s/%s in it", os, arch)
}
