package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/internal/treecopy"
	"github.com/cocker/cocker/launch"
)

func exportCommand(s *streams) *cobra.Command {
	output := ""
	command := &cobra.Command{
		Use:   "export CONTAINER",
		Short: "Write the files of a container as a tar",
		Long: `Export writes the root file system of a container, which may run or not, as
a tar: what its images have and what it has changed, as it sees it, with owners
as numbers, extended attributes, hard links and devices. What is mounted in it,
volumes, too, is an empty directory or file. "cocker image import" makes an image
of it again.

A container that runs may change its files meanwhile; stop it for a copy that is
of one moment.`,
		Example: `  cocker export -o web.tar web
  cocker export web | cocker image import - web:copy`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeContainers,
		RunE: func(c *cobra.Command, args []string) error {
			return s.export(c.Context(), args[0], output)
		},
	}
	command.Flags().StringVarP(&output, "output", "o", "", "write to a `FILE`, which only root can read, instead of the standard output")
	return asRoot(command)
}

func (s *streams) export(ctx context.Context, container, output string) error {
	t := task{container, launch.Access{}, treecopy.Request{Path: "/", Send: &treecopy.SendOptions{NoMounts: true}}}
	if output == "" || output == "-" {
		if isTerminal(s.out) {
			return errors.New("the standard output is a terminal; use -o FILE, or redirect it")
		}
		return s.sendTar(ctx, t, s.out)
	}
	return writeWhole(output, func(file *os.File) error {
		return s.sendTar(ctx, t, file)
	})
}

// writeWhole writes a file that has its name only when it is whole. One that is no
// regular file, as /dev/null or a fifo, is written to.
func writeWhole(path string, write func(*os.File) error) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(file), file.Close())
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".cocker-export-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err = errors.Join(write(file), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
