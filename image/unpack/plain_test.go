package unpack

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// acl(5): user 1000 may read, in the form that the kernel takes (posix_acl_xattr.h).
const acl = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xe8\x03\x00\x00" +
	"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"

// What has a meaning in a layer is a file like any other in a tree that is none.
func TestPlain(t *testing.T) {
	dirPath := needRoot(t)
	private := file("data/private", "x")
	private.PAXRecords["SCHILY.xattr.system.posix_acl_access"] = acl
	private.PAXRecords["SCHILY.xattr.trusted.overlay.redirect"] = "/etc"
	private.Mode = 0o640
	archive := makeTar(t, dir("data/"), file("data/.wh.name", "text"), file("data/.wh..wh..opq", ""), private,
		device("data/null", 0, 0), device("null", 0, 0), dir("null/"))
	if n, err := Tar(dirPath, bytes.NewReader(archive), Options{Plain: true}); err != nil || n != 7 {
		t.Fatalf("%d entries, %v", n, err)
	}
	if text, err := os.ReadFile(filepath.Join(dirPath, "data/.wh.name")); err != nil || string(text) != "text" {
		t.Errorf("%q, %v", text, err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dirPath, "data/null"), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		t.Errorf("the device: %+v, %v", st, err)
	}
	value := make([]byte, 256)
	n, err := unix.Getxattr(filepath.Join(dirPath, "data/private"), "system.posix_acl_access", value)
	if err == unix.ENOTSUP {
		t.Skip("no access control lists here")
	}
	if err != nil || string(value[:n]) != acl {
		t.Errorf("access control list %q, %v", value[:max(n, 0)], err)
	}
	for _, name := range []string{"data", "null", "data/private"} {
		for _, attr := range []string{opaqueAttr, "trusted.overlay.redirect"} {
			if _, err := unix.Lgetxattr(filepath.Join(dirPath, name), attr, value); err != unix.ENODATA {
				t.Errorf("%s of %s: %v", attr, name, err)
			}
		}
	}
	if _, err := Tar(t.TempDir(), bytes.NewReader(makeTar(t, device("a", 0, 0), file("a/b", ""))), Options{Plain: true}); err == nil {
		t.Error("a file was made in a device")
	}
}
