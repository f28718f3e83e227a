package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/paths"
)

// The directories that containers are written to.
const (
	etcDir     = "/etc/cocker"
	runtimeDir = "/run/cocker"
)

// containerFile is the file of a container's name below one of the directories.
func containerFile(dir, name string) string {
	return filepath.Join(dir, paths.Containers, name+".toml")
}

// checked gives the text of a container's file, and the container as a reader
// of that file will see it. The error lists everything that is wrong with it.
func checked(c *config.Container, file string) (text []byte, read *config.Container, err error) {
	if err := config.ValidName(c.Name); err != nil {
		return nil, nil, err
	}
	if c.Hostname == "" {
		c.Hostname = c.Name
	}
	if text, err = config.Encode(c); err != nil {
		return nil, nil, err
	}
	read, err = config.Parse(c.Name, file, string(text))
	if err != nil {
		return nil, nil, withoutFile(file, err)
	}
	read.Sources = []string{file}
	return text, read, nil
}

// checkNetworks checks what a container that has no file yet says of its networks.
func checkNetworks(c *config.Container) error {
	return withoutFile(c.Sources[0], config.CheckJoins(paths.ConfigDirs(), c))
}

// withoutFile drops file and line from problems of a file that does not exist yet, as
// its text came from the command line.
func withoutFile(file string, err error) error {
	var errs []error
	for _, p := range config.Problems(err) {
		if p.File != file { // that of a network
			errs = append(errs, p)
			continue
		}
		text := p.Text
		if p.Key != "" {
			text = p.Key + ": " + text
		}
		errs = append(errs, errors.New(text))
	}
	if len(errs) == 0 {
		return err
	}
	return errors.Join(errs...)
}

// refuseTaken refuses the name of a container that has a file already.
func refuseTaken(name string) error {
	location, err := config.Find(paths.ConfigDirs(), name)
	switch {
	case errors.Is(err, config.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("a container %q exists: %s; choose another name, or remove it with \"cocker rm %s\"", name, location.File, name)
}

// writeNew writes a file that must not exist yet, whole or not at all: it has no
// name until it is complete, and of two writers one gets the name. Only root may
// read it, since an environment may hold secrets. Nothing is lost with a power cut
// once it returns.
func writeNew(file string, text []byte) (err error) {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	unnamed, remove, err := openUnnamed(dir)
	if err != nil {
		return err
	}
	defer remove()
	defer func() { err = errors.Join(err, unnamed.Close()) }()
	if _, err := unnamed.Write(text); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := unnamed.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	// AT_EMPTY_PATH would do without /proc, but not without CAP_DAC_READ_SEARCH: open(2).
	err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", unnamed.Fd()), unix.AT_FDCWD, file, unix.AT_SYMLINK_FOLLOW)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already; choose another name", file)
	}
	if err != nil {
		return fmt.Errorf("give %s its name: %w", file, err)
	}
	return syncDir(dir)
}

// openUnnamed makes a file in a directory that a killed writer does not leave
// behind. Where the file system cannot (overlay before Linux 6.3, NFS), it has a
// temporary name until remove is called.
func openUnnamed(dir string) (file *os.File, remove func(), err error) {
	file, err = os.OpenFile(dir, os.O_WRONLY|unix.O_TMPFILE, 0o600)
	if err == nil {
		return file, func() {}, nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil, err
	}
	if file, err = os.CreateTemp(dir, ".new-*"); err != nil {
		return nil, nil, err
	}
	return file, func() { _ = os.Remove(file.Name()) }, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
