package image

import (
	"path/filepath"
)

// Store is an image store on disk. It keeps no state, so that any number of
// processes may use the same one.
type Store struct {
	root   string
	limits Limits // of what is added
}

// Open returns the store below root (/var/lib/cocker). It touches nothing: a
// store that does not exist yet is an empty one, and [Store.Begin] makes it.
func Open(root string) *Store { return &Store{root: filepath.Clean(root)} }

// OCI is the absolute path of the OCI image layout.
func (s *Store) OCI() string { return filepath.Join(s.root, "oci") }

func (s *Store) layers() string   { return filepath.Join(s.root, "layers") }
func (s *Store) index() string    { return filepath.Join(s.OCI(), "index.json") }
func (s *Store) lockFile() string { return filepath.Join(s.OCI(), ".lock") }
func (s *Store) blobs() string    { return filepath.Join(s.OCI(), "blobs", "sha256") }
func (s *Store) unpacked() string { return filepath.Join(s.layers(), "sha256") }

// blob and layer take what digestHex returned, never a text from a manifest.
func (s *Store) blob(hex string) string  { return filepath.Join(s.blobs(), hex) }
func (s *Store) layer(hex string) string { return filepath.Join(s.unpacked(), hex) }
