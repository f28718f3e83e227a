package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func volumeExportCommand(s *streams) *cobra.Command {
	output := ""
	command := &cobra.Command{
		Use:   "export [flags] VOLUME",
		Short: "Save the content of a volume as a tar",
		Long: `Export writes what a volume holds as a tar, to a file or to the standard output
if that is no terminal: owners by their numbers in containers, extended
attributes, access control lists, hard links. Sockets are left out.

The volume may be in use. Its files are read one after the other then, and a
program that writes meanwhile may leave some that do not fit together: stop it,
or let "systemctl freeze cocker@NAME" hold it, or save what it dumps itself.

GNU tar takes all of it in with --xattrs --xattrs-include='*' --numeric-owner -p.`,
		Example: `  cocker volume export -o db.tar db
  systemctl freeze cocker@db; cocker volume export db | zstd >db.tar.zst; systemctl thaw cocker@db
  cocker volume export db | ssh example.com cocker volume import db`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeVolume,
		RunE: func(c *cobra.Command, args []string) error {
			write := func(file *os.File) error { return volumes().Export(c.Context(), args[0], file, s.volumeNote) }
			if output != "" && output != "-" {
				return writeWhole(output, write)
			}
			if isTerminal(s.out) {
				return errors.New("this would write an archive to your terminal: name a file, -o FILE, or redirect the output")
			}
			return write(s.out)
		},
	}
	command.Flags().StringVarP(&output, "output", "o", "", "write to a `FILE`, which only root can read, instead of the standard output")
	return asRoot(command)
}

func (s *streams) volumeNote(note string) { fmt.Fprintf(s.err, "cocker: volume: warning: %s\n", note) }

func volumeImportCommand(s *streams) *cobra.Command {
	replace := false
	command := &cobra.Command{
		Use:   "import [flags] VOLUME [FILE]",
		Short: "Fill a volume from a tar",
		Long: `Import makes a volume of a tar that "cocker volume export" or tar(1) has
written, or fills one that has no content yet. The tar is not compressed; without
FILE, or for "-", it is the standard input.

With --replace it takes the place of a volume's content, all at once, if no
container has it mounted; both must find room on the disk, and within the
volume's limit, for that moment. An import that fails changes nothing.`,
		Example: `  cocker volume import db db.tar
  zstd -dc db.tar.zst | cocker volume import --replace db`,
		Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return completeVolume(c, args, word)
		},
		RunE: func(c *cobra.Command, args []string) error {
			file := s.in
			if len(args) == 2 && args[1] != "-" {
				opened, err := os.Open(args[1])
				if err != nil {
					return err
				}
				defer opened.Close()
				file = opened
			} else if isTerminal(s.in) {
				return errors.New("the standard input is a terminal; name a file, or redirect the input")
			}
			return volumes().Import(c.Context(), args[0], file, replace, s.volumeNote)
		},
	}
	command.Flags().BoolVar(&replace, "replace", false, "put it in the place of what the volume has")
	return asRoot(command)
}
