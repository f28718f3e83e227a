package demo

import (
	"archive/tar"
	"io"
	"time"
)

// entry is one node of the demo's root.
type entry struct {
	kind byte
	name string
	mode int64
	text string // content, or a link's target
	gid  int
}

func dir(name string, mode int64) entry { return entry{kind: tar.TypeDir, name: name, mode: mode} }
func file(name, text string) entry {
	return entry{kind: tar.TypeReg, name: name, mode: 0o644, text: text}
}
func link(name, target string) entry {
	return entry{kind: tar.TypeSymlink, name: name, mode: 0o777, text: target}
}
func program(name, content string) entry {
	return entry{kind: tar.TypeReg, name: name, mode: 0o755, text: content}
}
func secret(name, text string, g int) entry { return entry{tar.TypeReg, name, 0o640, text, g} }
func skeleton() []entry {
	return []entry{
		dir("./", 0o755),
		dir("bin", 0o755), link("sbin", "bin"),
		dir("dev", 0o755), dir("etc", 0o755), dir("home", 0o755), dir("mnt", 0o755), dir("proc", 0o555),
		dir("root", 0o700), dir("run", 0o755), dir("srv", 0o755), dir("srv/www", 0o755), dir("sys", 0o555), dir("tmp", 0o1777),
		dir("usr", 0o755), link("usr/bin", "../bin"), link("usr/sbin", "../bin"),
		dir("usr/local", 0o755), dir("usr/local/bin", 0o755), dir("usr/local/sbin", 0o755),
		dir("var", 0o755), dir("var/lib", 0o755), dir("var/log", 0o755), dir("var/tmp", 0o1777),
	}
}

func files() []entry {
	return []entry{
		file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\n"+
			"www-data:x:33:33:www-data:/srv/www:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
		secret("etc/shadow", "root:*:20000:0:99999:7:::\nwww-data:*:20000:0:99999:7:::\n", 42),
		file("etc/group", "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nshadow:x:42:\nnogroup:x:65534:\n"),
		file("etc/shells", "/bin/sh\n/bin/ash\n"),
		file("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
		file("etc/os-release", "NAME=\"cocker demo\"\nID=cocker-demo\nVERSION_ID=1.0\nPRETTY_NAME=\"cocker demo 1.0 (busybox)\"\n"),
		file("etc/profile", "export PS1='\\u@\\h:\\w\\$ '\n[ -f /etc/motd ] && cat /etc/motd\n"),
		file("etc/motd", "This is the cocker demo: busybox, and a web server on port 80.\n"),
		file("srv/www/index.html", page),
	}
}

const page = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>cocker demo</title></head>
<body>
<h1>Hello from cocker</h1>
<p>This page is served by busybox httpd in a container that systemd runs.</p>
</body>
</html>
`

// writeTree writes the tar of the demo's root. The same busybox gives the same
// bytes: everything is dated 1970.
func writeTree(w io.Writer, busybox []byte, applets []string) error {
	entries := append(skeleton(), program("bin/busybox", string(busybox)))
	for _, name := range applets {
		entries = append(entries, link("bin/"+name, "busybox"))
	}
	archive := tar.NewWriter(w)
	for _, e := range append(entries, files()...) {
		if err := e.write(archive); err != nil {
			return err
		}
	}
	return archive.Close()
}

func (e entry) write(w *tar.Writer) error {
	hdr := &tar.Header{Typeflag: e.kind, Name: e.name, Mode: e.mode, Gid: e.gid, ModTime: time.Unix(0, 0)}
	if e.kind == tar.TypeSymlink {
		hdr.Linkname = e.text
		return w.WriteHeader(hdr)
	}
	hdr.Size = int64(len(e.text))
	if err := w.WriteHeader(hdr); err != nil {
		return err
	}
	_, err := io.WriteString(w, e.text)
	return err
}
