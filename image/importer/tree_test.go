package importer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/image"
)

// makeTree builds a tree with one of everything a layer can hold.
func makeTree(t testing.TB, dir string) {
	t.Helper()
	path := func(name string) string { return filepath.Join(dir, name) }
	long := strings.Repeat("long-name/", 25)
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(os.MkdirAll(path(long), 0o755))
	do(os.WriteFile(path(long+"x"+strings.Repeat("y", 200)), []byte("deep"), 0o600))
	do(os.WriteFile(path("plain"), []byte("text"), 0o640))
	do(os.WriteFile(path("größe ☃ \n\xff"), nil, 0o644))
	do(os.WriteFile(path("set-uid"), []byte("#!"), 0o755))
	do(os.Chown(path("set-uid"), 10, 65535))
	do(unix.Chmod(path("set-uid"), 0o6711))
	do(os.Link(path("plain"), path("zz-hard-link")))
	do(os.Symlink("/etc/passwd", path("absolute")))
	do(os.Symlink("../../up", path("up")))
	do(os.Lchown(path("up"), 3, 4))
	do(unix.Mkfifo(path("fifo"), 0o620))
	do(unix.Mknod(path("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	do(unix.Mknod(path("disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70000))))
	do(os.Mkdir(path("sticky"), 0o755))
	do(unix.Chmod(path("sticky"), 0o1777))
	do(os.Mkdir(path("closed"), 0o000))
	do(unix.Setxattr(path("plain"), "user.note", []byte("a\x00\n="), 0))
	do(unix.Setxattr(path("sticky"), "user.dir", nil, 0))
	do(unix.Setxattr(path("set-uid"), "security.capability", []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	f, err := os.Create(path("sparse"))
	do(err)
	do(f.Truncate(8 << 20))
	_, err = f.WriteAt([]byte("end"), 5<<20)
	do(errors.Join(err, f.Close()))
	for i, name := range []string{"plain", "sticky", "up", "null", "closed", "."} {
		do(setMtime(path(name), int64(i)))
	}
}

func setMtime(path string, n int64) error {
	ts := []unix.Timespec{{Sec: 1}, {Sec: n*1e8 + 7, Nsec: 123456789}}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW)
}

// snapshot describes a whole tree; hard links show as the first name.
func snapshot(t testing.TB, dir string) string {
	t.Helper()
	var out strings.Builder
	first := map[uint64]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return describe(&out, path, rel, first)
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func describe(out *strings.Builder, path, rel string, first map[uint64]string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	if _, ok := first[st.Ino]; !ok {
		first[st.Ino] = rel
	}
	rdev := uint64(0)
	size := int64(0)
	content := ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		size, content = st.Size, image.DigestOf(data)
	case unix.S_IFLNK:
		content, _ = os.Readlink(path)
	case unix.S_IFCHR, unix.S_IFBLK:
		rdev = uint64(st.Rdev)
	}
	buf := make([]byte, 4096)
	n, _ := unix.Llistxattr(path, buf)
	for _, name := range strings.Split(string(buf[:max(n, 0)]), "\x00") {
		value := make([]byte, 4096)
		if n, err := unix.Lgetxattr(path, name, value); err == nil && name != "trusted.test" {
			content += " " + name + "=" + string(value[:n])
		}
	}
	line := []any{rel, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec, rdev, size, first[st.Ino], content}
	return writeLine(out, line)
}

func compare(t testing.TB, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Errorf("line %d\n got: %s\nwant: %s", i, strings.Join(g[min(i, len(g)):min(i+1, len(g))], ""), strings.Join(w[min(i, len(w)):min(i+1, len(w))], ""))
		}
	}
}

func writeLine(out *strings.Builder, fields []any) error {
	_, err := fmt.Fprintf(out, "%q mode=%o owner=%d:%d mtime=%d.%09d rdev=%d size=%d first=%q %q\n", fields...)
	return err
}
