package demo

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
)

// findBusybox returns the first of the paths that is a static program. One that
// needs shared libraries would start on the host and nowhere else.
func findBusybox(paths ...string) (string, error) {
	var errs []error
	for _, path := range paths {
		err := checkStatic(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, errors.New("the demo needs a static busybox: apt-get install busybox-static"))
	return "", errors.Join(errs...)
}

func checkStatic(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s needs shared libraries", path)
		}
	}
	return nil
}
