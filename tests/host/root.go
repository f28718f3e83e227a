package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The environment variables that move the cache and the package source.
const (
	cacheVariable  = "COCKER_TEST_CACHE"
	mirrorVariable = "COCKER_TEST_MIRROR"
	defaultMirror  = "http://deb.debian.org/debian"
)

// BuildRoot returns the directory of a release's root. The first call on a machine
// makes it from Debian's packages, which takes about 20 seconds, and writes what it
// does to progress; processes that ask at the same time wait for that one.
func BuildRoot(ctx context.Context, release Release, extra Extra, progress io.Writer) (string, error) {
	return buildOnce("roots", string(release)+"-"+recipeHash(release, extra), func(building string) error {
		fmt.Fprintf(progress, "making the Debian %s test root (about 20 s, once)\n", release)
		if err := debootstrap(ctx, release, building, append(packages(), extra.Packages...), nil, progress); err != nil {
			return err
		}
		return customize(building, rootFiles(), append(maskedUnits(), extra.Masked...))
	})
}

func debootstrap(ctx context.Context, release Release, dir string, packages, options []string, progress io.Writer) error {
	tool, err := exec.LookPath("mmdebstrap")
	if err != nil {
		return errors.New("mmdebstrap is missing: apt-get install mmdebstrap")
	}
	mirror := os.Getenv(mirrorVariable)
	if mirror == "" {
		mirror = defaultMirror
	}
	args := append([]string{"--variant=minbase", "--format=directory", "--include=" + strings.Join(packages, ",")}, options...)
	cmd := exec.CommandContext(ctx, tool, append(args, string(release), dir, mirror)...)
	cmd.Stdout, cmd.Stderr = progress, progress
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("mmdebstrap %s from %s: %w", release, mirror, err)
	}
	return nil
}

// customize turns a plain Debian root into one of a test host.
func customize(root string, files []rootFile, masked []string) error {
	for _, f := range files {
		if err := replaceFile(filepath.Join(root, f.path), f.content); err != nil {
			return err
		}
	}
	units := filepath.Join(root, "etc/systemd/system")
	for _, unit := range masked {
		if err := replaceLink("/dev/null", filepath.Join(units, unit)); err != nil {
			return err
		}
	}
	if err := replaceLink("/usr/lib/systemd/system/multi-user.target", filepath.Join(units, "default.target")); err != nil {
		return err
	}
	return emptyRootPassword(filepath.Join(root, "etc/shadow"))
}

// replaceFile writes a file, and what was there, a symbolic link say, is not followed.
func replaceFile(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

func replaceLink(target, path string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Symlink(target, path)
}

func emptyRootPassword(path string) error {
	shadow, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines := strings.Split(string(shadow), "\n")
	for i, line := range lines {
		if fields := strings.Split(line, ":"); fields[0] == "root" {
			fields[1] = ""
			lines[i] = strings.Join(fields, ":")
		}
	}
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o640)
}

// cacheDir returns the directory of roots and scratch directories.
func cacheDir() (string, error) {
	if dir := os.Getenv(cacheVariable); dir != "" {
		return filepath.Abs(dir)
	}
	checkout, err := Checkout()
	return filepath.Join(checkout, ".cache"), err
}

// Checkout returns the directory of cocker's go.mod, above the working directory.
func Checkout() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("find go.mod: not inside a checkout of cocker")
		}
	}
	return "", err
}
