package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
	"github.com/cocker/cocker/scope"
	"github.com/cocker/cocker/units"
)

func rmCommand(s *streams) *cobra.Command {
	force, keepData := false, false
	command := &cobra.Command{
		Use:     "rm NAME...",
		Aliases: []string{"destroy"},
		Short:   "Remove containers with everything they wrote",
		Long: `Rm removes containers for good, without asking: the file and its drop-ins,
what the container wrote, its user ids, the links of "systemctl enable", and
the limits of "systemctl set-property".
Images, volumes and mounted paths of the host stay. A container that runs is refused
unless --force is given. All names are tried; the exit status is 1 if one
could not be removed.`,
		Example:           "  cocker rm web\n  cocker rm --force --keep-data web",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeContainers,
		RunE: func(c *cobra.Command, names []string) error {
			return removeAll(c.Context(), names, force, keepData)
		},
	}
	command.Flags().BoolVarP(&force, "force", "f", false, "stop it first if it runs")
	command.Flags().BoolVar(&keepData, "keep-data", false, "keep what it wrote, for a container that \"cocker create\" makes with the same name")
	return asRoot(command)
}

func removeAll(ctx context.Context, names []string, force, keepData bool) error {
	m, err := scope.Open(ctx)
	if err != nil {
		return err
	}
	defer m.Close()
	var errs []error
	reload := false
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		u, err := m.Unit(ctx, units.Service(name))
		reload = reload || err == nil && hasDropIn(u)
		changed, err := remove(ctx, m, name, force, keepData)
		if reload = reload || changed; err != nil {
			errs = append(errs, err)
		}
	}
	if reload {
		errs = append(errs, m.Reload(ctx))
	}
	return errors.Join(errs...)
}

// remove goes from the outside in, and the file last: after an interruption the
// container is still listed and can be removed again. changed says whether systemd
// must read its files again.
func remove(ctx context.Context, m *scope.Manager, name string, force, keepData bool) (changed bool, err error) {
	u, err := existing(ctx, m, name)
	if err != nil {
		nothing := !leftData(name) && u.ActiveState != "failed"
		if nothing || !errors.Is(err, config.ErrNotFound) {
			return false, err
		}
	}
	files, err := removableFiles(name)
	if err != nil {
		return false, err
	}
	if err := endFirst(ctx, m, u, name, force); err != nil {
		return false, err
	}
	if changed, err = forgetUnit(ctx, m, units.Service(name)); err != nil {
		return changed, err
	}
	if err := removeData(name, keepData); err != nil {
		return changed, fmt.Errorf("remove data of %s: %w", name, err)
	}
	for _, file := range files {
		if err := os.RemoveAll(file); err != nil {
			return changed, err
		}
	}
	for _, unit := range []string{units.Service(name), units.TransientService(name), units.Pull(name)} {
		err = errors.Join(err, m.ResetFailed(ctx, unit))
	}
	return changed, errors.Join(err, permitStart(name))
}

// forgetUnit takes away what an administrator has set of a unit by "systemctl
// enable" and "systemctl set-property": it is not for a later container of the name.
func forgetUnit(ctx context.Context, m *scope.Manager, unit string) (changed bool, err error) {
	if changed, err = m.Disable(ctx, unit); err != nil {
		return changed, err
	}
	for _, dir := range paths.ControlDirs() {
		dir = filepath.Join(dir, units.DropInDir(unit))
		if _, err := os.Lstat(dir); err != nil {
			continue
		}
		changed = true
		if err := os.RemoveAll(dir); err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// endFirst stops a container that is to be removed, if that is allowed, and waits
// until whatever its end has set off is done: it works on the same data.
func endFirst(ctx context.Context, m *scope.Manager, u scope.Unit, name string, force bool) error {
	pull, err := m.Unit(ctx, units.Pull(name))
	switch {
	case err != nil:
		return err
	case pull.Running() && !force:
		return fmt.Errorf("images are being pulled for %s; stop it first, or use --force", name)
	case pull.Running():
		return errors.Join(endPull(ctx, m, name), awaitCleanup(ctx, m, name))
	case !u.Running():
		return awaitCleanup(ctx, m, name)
	case !force:
		return fmt.Errorf("%s is %s; stop it first, or use --force", name, stateWord(u.ActiveState))
	}
	return stopUnit(ctx, m, u.Name, name)
}

func removeData(name string, keep bool) error {
	if !keep {
		return launch.Remove(name)
	}
	if err := launch.Cleanup(name); err != nil {
		return err
	}
	return keepData(name)
}

// removableFiles are the file of a container and its drop-in directories, drop-ins
// first. A file of a package is the package manager's to remove.
func removableFiles(name string) ([]string, error) {
	var files []string
	for _, dir := range []string{etcDir, runtimeDir} {
		file := containerFile(dir, name)
		for _, path := range []string{file + ".d", file} {
			if _, err := os.Lstat(path); err == nil {
				files = append(files, path)
			} else if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	vendor := containerFile("/usr/lib/cocker", name)
	if _, err := os.Lstat(vendor); err == nil {
		return nil, fmt.Errorf("%s belongs to a package; to hide it: ln -s /dev/null %s", vendor, containerFile(etcDir, name))
	}
	return files, nil
}
