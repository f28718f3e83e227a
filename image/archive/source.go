package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// machines is where systemd keeps the trees that machinectl(1) calls images.
const machines = "/var/lib/machines"

// Machines lists the names that "machine:" can stand before.
func Machines() (names []string) {
	entries, _ := os.ReadDir(machines)
	for _, e := range entries {
		if e.IsDir() && e.Name()[0] != '.' {
			names = append(names, e.Name())
		}
	}
	return names
}

// directory is the directory that a source means, "" if it means a file.
func directory(source string) (string, error) {
	if source == "-" {
		return "", nil
	}
	name, isMachine := strings.CutPrefix(source, "machine:")
	path := source
	if isMachine {
		if name == "" || name == ".." || name == "." || strings.ContainsRune(name, '/') {
			return "", fmt.Errorf("%q is no name of a machine", name)
		}
		path = filepath.Join(machines, name)
	}
	info, err := os.Stat(path)
	switch {
	case isMachine && errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(path + ".raw"); err == nil {
			return "", fmt.Errorf("%s.raw is the image of a disk; mount it (systemd-dissect --mount) and import the directory", path)
		}
		return "", fmt.Errorf("there is no machine %s (\"machinectl list-images\" lists what there is)", path)
	case err != nil:
		return "", err
	case info.IsDir():
		return path, nil
	case isMachine:
		return "", fmt.Errorf("%s is not a directory", path)
	}
	return "", nil
}

// refuseTransport refuses what "skopeo copy ... dir:DIR" writes, which looks like a
// tree and is an image: containers/image has this file to tell it by.
func refuseTransport(dir string) error {
	from, err := openDir(dir)
	if err != nil {
		return err
	}
	defer from.Close()
	data, err := readDocument(from, "version")
	if err == nil && strings.HasPrefix(string(data), "Directory Transport Version: ") {
		return errors.New("it is of skopeo's kind dir:, which has no names and is for skopeo alone; make skopeo write oci:DIR:NAME or oci-archive:FILE:NAME instead")
	}
	return nil
}

// openPlain opens a source that is an archive of images already in a file where any
// part of it can be read: nil if it is something else.
func openPlain(source string) (*os.File, error) {
	if info, err := os.Stat(source); err != nil || !info.Mode().IsRegular() {
		return nil, nil // standard input, a pipe; or what will be told when it is opened
	}
	f, err := os.Open(source)
	if err != nil {
		return nil, err
	}
	var magic [5]byte // of POSIX and GNU tar, at the byte 257 of the first header
	if _, err := f.ReadAt(magic[:], 257); err == nil && string(magic[:]) == "ustar" {
		if isArchive, _ := sniff(f); isArchive {
			return f, nil
		}
	}
	return nil, f.Close()
}
