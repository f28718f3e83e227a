package units

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Write puts text at path. What is there is replaced in one step: whoever reads it sees
// the old text or the new one. It makes missing directories. It does not sync, as unit
// files that cocker writes are below /run and gone after a crash of the machine anyway.
//
// A new file is written where it is to be, which saves a rename(2), a tenth of the time
// that the boot waits for 1000 of them: systemd gives empty directories to generators, and
// reads them when all have ended (systemd.generator(7)).
func Write(path string, text []byte) error {
	err := writeNew(path, text)
	if errors.Is(err, fs.ErrExist) {
		err = writeTemporary(path, text)
	}
	if err != nil {
		return fmt.Errorf("write unit: %w", err)
	}
	return nil
}

func writeNew(path string, text []byte) error {
	fd, err := create(path, syscall.O_EXCL)
	if err != nil {
		return err
	}
	if err := fill(fd, path, text); err != nil {
		_ = os.Remove(path)
		return err
	}
	return nil
}

func writeTemporary(path string, text []byte) (err error) {
	temporary := temporaryName(path)
	fd, err := create(temporary, syscall.O_TRUNC)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temporary)
		}
	}()
	if err := fill(fd, temporary, text); err != nil {
		return err
	}
	if err := syscall.Rename(temporary, path); err != nil {
		return &os.LinkError{Op: "rename", Old: temporary, New: path, Err: err}
	}
	return nil
}

// temporaryName is in the same directory, for rename(2), and hidden, so that
// systemd takes it for no drop-in. Two writers of one file are two processes.
func temporaryName(path string) string {
	return fmt.Sprintf("%s/.%s.%d", filepath.Dir(path), filepath.Base(path), os.Getpid())
}

// create makes a file, and its directory if that is missing. Directories are the
// rule, so they are tried first. It calls open(2) itself, as package os adds an
// fstat and more, and the boot waits for 1000 of these.
func create(path string, how int) (int, error) {
	flags := how | syscall.O_WRONLY | syscall.O_CREAT | syscall.O_NOFOLLOW | syscall.O_CLOEXEC
	dir := filepath.Dir(path)
	if err := os.Mkdir(dir, 0o755); errors.Is(err, fs.ErrNotExist) { //nolint:gosec // units are for everybody to read
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the same
			return -1, err
		}
	} else if err != nil && !errors.Is(err, fs.ErrExist) {
		return -1, err
	}
	for {
		fd, err := syscall.Open(path, flags, 0o644)
		if err == nil {
			return fd, nil
		}
		if err != syscall.EINTR { //nolint:errorlint // an Errno as it comes
			return -1, &fs.PathError{Op: "create", Path: path, Err: err}
		}
	}
}

// fill writes all of text and closes.
func fill(fd int, path string, text []byte) error {
	var err error
	for n := 0; len(text) > 0 && err == nil; text = text[n:] {
		if n, err = syscall.Write(fd, text); err == syscall.EINTR { //nolint:errorlint // an Errno as it comes
			n, err = 0, nil
		}
	}
	if closeErr := syscall.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}
