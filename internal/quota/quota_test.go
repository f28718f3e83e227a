package quota

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The sizes are in the kernel's headers, and in the numbers of the ioctls.
func TestLayouts(t *testing.T) {
	for what, sizes := range map[string][2]uintptr{
		"struct if_dqblk":       {unsafe.Sizeof(count{}), 72},
		"struct fsxattr":        {unsafe.Sizeof(attributes{}), getAttributed >> 16 & 0x3fff},
		"struct fs_quota_statv": {unsafe.Sizeof(state{}), 160},
	} {
		if sizes[0] != sizes[1] {
			t.Errorf("%s: %d bytes, the kernel has %d", what, sizes[0], sizes[1])
		}
	}
}

// projects mounts a file system that knows project ids, but keeps no quota, and says
// which: a kernel without quota mounts no ext4 with them, but an xfs.
func projects(t *testing.T) (dir, kind string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	var failed error
	for _, mkfs := range [][]string{{"ext4", "-q", "-F", "-I", "256", "-O", "project"}, {"xfs", "-q", "-f"}} {
		err := mount(mkfs[0], mkfs[1:], image, dir)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		t.Cleanup(func() {
			if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
				t.Errorf("umount: %v: %s", err, out)
			}
		})
		return dir, mkfs[0]
	}
	t.Skipf("no file system with projects can be mounted: %v", failed)
	return "", ""
}

func mount(kind string, options []string, image, dir string) error {
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(image, 320<<20); err != nil {
		return err
	}
	if out, err := exec.Command("mkfs."+kind, append(options, image)...).CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.%s: %w: %s", kind, err, out)
	}
	if out, err := exec.Command("mount", "-t", kind, image, dir).CombinedOutput(); err != nil {
		return fmt.Errorf("mount %s: %w: %s", kind, err, out)
	}
	return nil
}

// oldLayer is a writable layer from before there was a limit.
func oldLayer(t *testing.T, dir string) *os.File {
	t.Helper()
	script := `set -e; mkdir layer; cd layer; mkdir -p upper/a/b work/work; echo x >upper/a/b/file; ln upper/a/b/file upper/link
		ln -s /etc/passwd upper/a/symlink; mkfifo -m 640 upper/fifo; chown 7:8 upper/fifo; mknod upper/whiteout c 0 0
		python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("upper/socket")' || mkfifo upper/socket
		mkdir .project; touch .project/node; touch -d @1000 upper/fifo; chown -h 5:6 upper/a/symlink; echo 1 >idrange`
	command := exec.Command("sh", "-c", script)
	command.Dir = dir
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	root, err := os.Open(filepath.Join(dir, "layer"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// The kernel refuses to rename a file into a directory with another project that is to be
// inherited (EXDEV, rename(2)), whatever kind of file it is: that everything can be
// renamed shows that everything has the project.
func TestSpread(t *testing.T) {
	dir, _ := projects(t)
	root := oldLayer(t, dir)
	const id = 0x70001234
	if err := setProject(root, id, 0); err != nil {
		t.Fatal(err)
	}
	if err := spread(root, id); err != nil {
		t.Fatal(err)
	}
	if err := setProject(root, id, inherit); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(filepath.Join(root.Name(), "upper"))
	if err != nil || len(names) != 5 {
		t.Fatalf("%v %v", names, err)
	}
	for _, name := range append([]string{"upper/a/symlink", "upper/a/b/file", "upper/a/b", "idrange"}, below("upper/", names)...) {
		path := filepath.Join(root.Name(), name)
		if err := os.Rename(path, root.Name()+"/work/moved"); err != nil {
			t.Error(err)
		} else if err := os.Rename(root.Name()+"/work/moved", path); err != nil {
			t.Error(err)
		}
	}
	out, err := exec.Command("sh", "-c", `cd "$1"; readlink upper/a/symlink; stat -c '%a %u %g %Y' upper/fifo; stat -c '%u %g' upper/a/symlink
		stat -c '%F %t %T' upper/whiteout; cat upper/link; ls -A`, "sh", root.Name()).CombinedOutput()
	want := "/etc/passwd\n640 7 8 1000\n5 6\ncharacter special file 0 0\nx\nidrange\nupper\nwork\n"
	if err != nil || string(out) != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, out, want)
	}
	file, err := os.Create(root.Name() + "/upper/a/new")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if a, err := getAttributes(file); err != nil || a.project != id {
		t.Errorf("a new file has project %d: %v", a.project, err)
	}
}

func below(dir string, entries []os.DirEntry) []string {
	var names []string
	for _, e := range entries {
		names = append(names, dir+e.Name())
	}
	return names
}

func TestUnsupported(t *testing.T) {
	dir, kind := projects(t)
	root := oldLayer(t, dir)
	err := Limit(dir, root.Name(), 1<<20)
	if !errors.Is(err, ErrUnsupported) {
		t.Fatalf("without the mount option: %v", err)
	}
	words := []string{"mounted on " + dir, "option prjquota", "/etc/fstab"}
	if kind == "ext4" {
		words = append(words, "tune2fs -O project,quota -Q prjquota /dev/loop")
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not in %v", word, err)
		}
	}
	if a, err := getAttributes(root); err != nil || a.project != 0 {
		t.Errorf("project %d, %v", a.project, err)
	}
	if err := errors.Join(Limit(dir, root.Name(), 0), Release(root.Name()), Release(dir+"/nothing"), Assign(dir, root.Name())); err != nil {
		t.Errorf("no limit: %v", err)
	}
	if u, ok := Read(root.Name()); ok {
		t.Errorf("a use of %v is counted", u)
	}
	if err := Limit(dir, dir+"/nothing", 1<<20); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a tree that does not exist: %v", err)
	}
}

func TestUnsupportedFileSystem(t *testing.T) {
	var st unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		t.Skip("/dev/shm is no tmpfs")
	}
	err := Check("/dev/shm")
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "tmpfs") || !strings.Contains(err.Error(), "ext4 and xfs do") {
		t.Error(err)
	}
}

func TestReservedIDs(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"projid":   "# names\nweb:42\nbig:1879048192\nbad\n:\n",
		"projects": "7:/srv/a\n\n1879048193:/srv/b:c\nx:/y\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := reservedIDs(dir+"/projid", dir+"/projects")
	for _, id := range []uint32{42, 1879048192, 7, 1879048193} {
		if !got[id] {
			t.Errorf("%d is not reserved", id)
		}
	}
	if len(got) != 4 {
		t.Errorf("got %v", got)
	}
	if got := reservedIDs(dir+"/none", dir+"/none"); len(got) != 0 {
		t.Errorf("without files: %v", got)
	}
}

func TestParseMount(t *testing.T) {
	const line = `36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
	m, ok := parseMount(line, "36")
	if !ok || m != (mountPoint{"ext3", "/dev/root", "/mnt 2"}) {
		t.Errorf("got %+v, %v", m, ok)
	}
	for _, bad := range []string{"", "36", "36 35 - ext3", strings.Replace(line, " - ", " ", 1)} {
		if m, ok := parseMount(bad, "36"); ok {
			t.Errorf("%q: %+v", bad, m)
		}
	}
	if _, ok := parseMount(line, "3"); ok {
		t.Error("another mount's line was taken")
	}
}
