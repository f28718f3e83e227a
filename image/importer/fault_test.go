package importer

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/internal/helper"
)

func TestMain(m *testing.M) { helper.Main(m, runHelper) }

// runHelper imports standard input, or prunes the store. It prints a line when the import
// has begun to take in data.
func runHelper(root string, words []string) error {
	if len(words) > 0 {
		return pruneAllButKeep(root)
	}
	var once sync.Once
	opts := Options{Progress: func(n int64) {
		if n > 0 {
			once.Do(func() { _, _ = io.WriteString(os.Stdout, "started\n") })
		}
	}}
	_, err := Import(context.Background(), image.Open(root), "-", "a:1", opts)
	return err
}

func TestBadArchives(t *testing.T) {
	plain := smallTar(t)
	packed := gzipped(t, plain)
	badSum := bytes.Clone(packed)
	badSum[len(badSum)-8] ^= 1 // the checksum is in the last 8 bytes
	empty := make([]byte, 10240)
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "empty"},
		{"empty tar", empty, "nothing in the archive"},
		{"text", bytes.Repeat([]byte("hello "), 500), "no tar archive"},
		{"cut tar", plain[:len(plain)/2], "cut short"},
		{"cut gzip", packed[:len(packed)/2], "cut short"},
		{"gzip without its checksum", packed[:len(packed)-8], "after the end of the tar"},
		{"wrong checksum", badSum, "checksum"},
		{"garbage after gzip", append(slices.Clone(packed), "garbage"...), "gzip"},
		{"only magic", []byte("\x1f\x8b"), "gzip"},
		{"cut zstd", []byte("\x28\xb5\x2f\xfd"), "cut short"},
		{"cut xz", []byte("\xfd7zXZ\x00"), "xz"},
		{"cut bzip2", []byte("BZh9"), "cut short"},
		{"zip", []byte("PK\x03\x04aaaaaaaa"), "zip: not supported"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			store := image.Open(needRoot(t))
			_, err := Import(t.Context(), store, "-", "a:1", Options{Stdin: bytes.NewReader(tt.data)})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Import: %v; want %q", err, tt.want)
			}
			wantEmpty(t, store)
		})
	}
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestTruncatedAnywhere(t *testing.T) {
	plain := smallTar(t)
	store := image.Open(needRoot(t))
	entries := bytes.LastIndexByte(bytes.TrimRight(plain, "\x00"), 'f') // whatever is cut, it is before the end mark
	for size := 1; size < entries; size += 7919 {
		for name, data := range map[string][]byte{"tar": plain[:size], "gzip": gzipped(t, plain[:size])} {
			if _, err := Import(t.Context(), store, "-", "a:1", Options{Stdin: bytes.NewReader(data)}); err == nil {
				t.Errorf("%s of the first %d bytes was taken", name, size)
			}
		}
	}
	packed := gzipped(t, plain)
	for size := 1; size < len(packed); size += len(packed)/50 + 1 {
		if _, err := Import(t.Context(), store, "-", "a:1", Options{Stdin: bytes.NewReader(packed[:size])}); err == nil {
			t.Errorf("the first %d of %d bytes of gzip were taken", size, len(packed))
		}
	}
	wantEmpty(t, store)
}

func TestBadSources(t *testing.T) {
	work := needRoot(t)
	store := image.Open(filepath.Join(work, "store"))
	tree := filepath.Join(work, "tree")
	reserved := filepath.Join(work, "reserved")
	owner := filepath.Join(work, "owner")
	for _, dir := range []string{tree, reserved, owner} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(reserved, ".wh.x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(owner, "f"), nil, 0o600), os.Chown(filepath.Join(owner, "f"), 70000, 0)); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, source, ref, want string }{
		{"missing", filepath.Join(work, "none"), "a:1", "no such file"},
		{"store inside", work, "a:1", "the image store"},
		{"reserved name", reserved, "a:1", "kept for whiteouts"},
		{"owner", owner, "a:1", `"./f": owner 70000:0`},
		{"bad name", tree, "A:1", "not an image name"},
		{"digest as name", tree, "a@sha256:" + strings.Repeat("0", 64), "without a digest"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Import(t.Context(), store, tt.source, tt.ref, Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Import: %v; want %q", err, tt.want)
			}
			wantEmpty(t, store)
		})
	}
}

// A small tmpfs in a mount namespace of its own fills up.
func TestDiskFull(t *testing.T) {
	needTool(t, "unshare")
	for _, files := range []int{1, 3000} { // one large file; so many that the inodes run out
		data := manyFiles(t, files)
		mnt := needRoot(t)
		script := `mount -t tmpfs -o size=4m,nr_inodes=1000 none "$0" && { "$@"; code=$?; find "$0" -name ".staging*" -o -path "*/sha256/*"; exit $code; }`
		cmd := helper.Command(t, filepath.Join(mnt, "store"), nil, "unshare", "-m", "sh", "-c", script, mnt)
		cmd.Stdin = bytes.NewReader(data)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		if err == nil || !strings.Contains(errs.String(), "no space left on device") {
			t.Errorf("%d files: %v, %s; want: no space left", files, err, errs.String())
		}
		if left := strings.TrimSpace(strings.Replace(out.String(), "started", "", 1)); left != "" {
			t.Errorf("%d files: left over:\n%s", files, left)
		}
	}
}

func manyFiles(t *testing.T, n int) []byte {
	t.Helper()
	dir := t.TempDir()
	text := bytes.Repeat([]byte("incompressible? no matter"), 6<<20/25/n)
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, "f"+strings.Repeat("x", i%100)+string(rune('a'+i/100))), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	needTool(t, "tar")
	out, err := exec.Command("tar", "-C", dir, "-cf", "-", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestConcurrentImports(t *testing.T) {
	store := image.Open(needRoot(t))
	data := smallTar(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if _, err := Import(t.Context(), store, "-", "a:1", Options{Stdin: bytes.NewReader(data), Created: fixedTime()}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if list, err := store.List(); err != nil || len(list) != 1 || list[0].Problem != nil {
		t.Errorf("List: %+v, %v; want one image", list, err)
	}
	if err := store.Remove("a:1", nil); err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, store)
}

func TestReadOnly(t *testing.T) {
	needTool(t, "unshare")
	mnt := needRoot(t)
	cmd := helper.Command(t, filepath.Join(mnt, "store"), nil, "unshare", "-m", "sh", "-c", `mount -t tmpfs -o ro none "$0" && exec "$@"`, mnt)
	cmd.Stdin = bytes.NewReader(smallTar(t))
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "read-only file system") {
		t.Errorf("%v, %s; want: read-only file system", err, out)
	}
}

func TestDeviceNodesStayClosed(t *testing.T) {
	// Packing and unpacking must not open a device: opening some of them acts.
	needTool(t, "strace")
	root, tree := needRoot(t), t.TempDir()
	if err := unix.Mknod(filepath.Join(tree, "watchdog"), unix.S_IFCHR|0o600, int(unix.Mkdev(10, 130))); err != nil {
		t.Fatal(err)
	}
	archive, err := exec.Command("tar", "-C", tree, "-cf", "-", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := helper.Command(t, root, nil, "strace", "-f", "-qq", "-o", trace, "-e", "trace=openat,openat2,open")
	cmd.Stdin = bytes.NewReader(archive)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("strace: %v %s", err, out)
	}
	data, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		if strings.Contains(line, "watchdog") && !strings.Contains(line, "O_PATH") {
			t.Errorf("opened: %s", line)
		}
	}
}
