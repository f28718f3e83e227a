package host

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// install builds cocker and installs it below dir, with the Makefile that its users use.
func install(ctx context.Context, dir string) error {
	checkout, err := Checkout()
	if err != nil {
		return err
	}
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	// Two test binaries at a time must not write bin/ at a time.
	lock, err := lockFile(filepath.Join(cache, "install.lock"), true)
	if err != nil {
		return err
	}
	defer lock.Close()
	cmd := exec.CommandContext(ctx, "make", "--no-print-directory", "install", "DESTDIR="+dir, "PREFIX=/usr")
	cmd.Dir = checkout
	cmd.Env = withoutMake(os.Environ())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make install: %w\n%s", err, out)
	}
	return nil
}

// withoutMake drops what an outer make says to inner ones: its flags, its job slots.
func withoutMake(environment []string) []string {
	var rest []string
	for _, variable := range environment {
		name, _, _ := strings.Cut(variable, "=")
		if name != "MAKEFLAGS" && name != "MAKELEVEL" && name != "MFLAGS" && name != "MAKEOVERRIDES" {
			rest = append(rest, variable)
		}
	}
	return rest
}
