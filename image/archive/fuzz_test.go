package archive

import (
	"bytes"
	"io"
	"testing"
)

// FuzzSniff: whatever a file is taken for, none of it is lost by looking.
func FuzzSniff(f *testing.F) {
	f.Add([]byte("no tar"))
	f.Add(make([]byte, 1024))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, all := sniff(bytes.NewReader(data))
		if got, err := io.ReadAll(all); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
		}
		if name, err := inside(string(data)); err == nil && (name == ".." || bytes.HasPrefix([]byte(name), []byte("../")) || bytes.HasPrefix([]byte(name), []byte("/"))) {
			t.Errorf("%q is %q", data, name)
		}
		digestIn(string(data))
	})
}
