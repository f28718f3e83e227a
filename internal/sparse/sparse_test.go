package sparse

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func newFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func bytesOf(parts ...any) (content []byte) {
	for _, part := range parts {
		switch p := part.(type) {
		case int:
			content = append(content, make([]byte, p)...)
		case string:
			content = append(content, p...)
		}
	}
	return content
}

// What is read again is what was written, wherever its zeros are; st_blocks tells of the
// holes (stat(2): units of 512 bytes), and Write of the bytes that are no zeros.
func TestCopy(t *testing.T) {
	full := strings.Repeat("x", page)
	var w Writer
	charged := 0
	w.Write = func(n int) error { charged += n; return nil }
	for name, tt := range map[string]struct {
		content []byte
		written int
	}{
		"nothing":             {nil, 0},
		"a byte":              {bytesOf("x"), 1},
		"a zero":              {bytesOf(1), 0},
		"zeros":               {bytesOf(10 * bufferSize), 0},
		"a hole at the end":   {bytesOf(full, 3*bufferSize), page},
		"a hole at the start": {bytesOf(3*bufferSize, "x"), 1},
		"holes and pages":     {bytesOf(page, full, page, full, full, 2*page, "end"), 3*page + 3},
		"zeros in a page":     {bytesOf("x", page-2, "y", 7), page},
		"odd sizes":           {bytesOf(page+1, full, 5), page + 6}, // the pages that have a byte of it
	} {
		f := newFile(t)
		charged = 0
		if err := w.Copy(int(f.Fd()), int64(len(tt.content)), bytes.NewReader(tt.content)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := os.ReadFile(f.Name())
		if err != nil || !bytes.Equal(got, tt.content) {
			t.Errorf("%s: %d bytes that differ, or %v", name, len(got), err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Blocks*512 > int64(tt.written+2*page) || charged != tt.written {
			t.Errorf("%s: %d bytes on the disk, %d told, want %d; %v", name, st.Blocks*512, charged, tt.written, err)
		}
	}
}

// Content that ends early is an error, and so is what Begin and Write say.
func TestCopyFails(t *testing.T) {
	refused := errors.New("refused")
	refuse := func() error { return refused }
	for name, tt := range map[string]struct {
		w    Writer
		size int64
		want error
	}{
		"short":       {Writer{}, 3, io.ErrUnexpectedEOF},
		"not begun":   {Writer{Begin: refuse}, 2, refused},
		"not written": {Writer{Write: func(int) error { return refuse() }}, 2, refused},
	} {
		f := newFile(t)
		if err := tt.w.Copy(int(f.Fd()), tt.size, strings.NewReader("ab")); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f, err := os.Open(os.DevNull) // not for writing
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := new(Writer).Copy(int(f.Fd()), 1, bytes.NewReader(slices.Repeat([]byte{1}, 1))); !errors.Is(err, unix.EBADF) {
		t.Errorf("a file that is not open for writing: %v", err)
	}
}
