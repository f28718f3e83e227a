package generator

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cocker/cocker/units"
)

// template is what the links of [install] point to: with that as the target
// "systemctl is-enabled" says enabled-runtime.
const template = units.StaticDir + "/" + units.Template

// sink takes the output of the conversion.
type sink interface {
	emit(output) error
	ordered() bool // emit must be called in order, one at a time
}

// directory is a unit directory that systemd gives to the generator.
type directory string

func (directory) ordered() bool { return false }

// emit writes the drop-ins, then the links: what could not be written is not
// enabled.
func (d directory) emit(out output) error {
	for _, f := range out.dropIns {
		if err := units.Write(filepath.Join(string(d), f.path), f.text); err != nil {
			return err
		}
	}
	var errs []error
	for _, link := range out.links {
		errs = append(errs, enable(filepath.Join(string(d), link)))
	}
	return errors.Join(errs...)
}

// enable makes the link; most of the time its directory is there for another
// container already.
func enable(link string) error {
	err := os.Symlink(template, link)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil { //nolint:gosec // as every unit directory
			return fmt.Errorf("enable: %w", err)
		}
		err = os.Symlink(template, link)
	}
	if errors.Is(err, fs.ErrExist) {
		if target, readErr := os.Readlink(link); readErr == nil && target == template {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("enable: %w", err)
	}
	return nil
}

// printer shows the output, for --dry-run.
type printer struct{ io.Writer }

func (printer) ordered() bool { return true }

func (p printer) emit(out output) error {
	text := ""
	for _, f := range out.dropIns {
		text += fmt.Sprintf("---%s---\n%s", f.path, f.text)
	}
	for _, link := range out.links {
		text += fmt.Sprintf("---%s -> %s---\n", link, template)
	}
	_, err := io.WriteString(p, text+"\n")
	return err
}
