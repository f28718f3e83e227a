package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/archive"
	"github.com/cocker/cocker/internal/paths"
)

func imageExportCommand(s *streams) *cobra.Command {
	output, format := "", ""
	command := &cobra.Command{
		Use:     "export [flags] IMAGE...",
		Aliases: []string{"save"},
		Short:   "Write images to an archive",
		Long: `Export writes images, with their names, to a file, or to the standard output
if that is no terminal. The formats are

- oci-archive, the default: the tar of an OCI image layout. Skopeo, podman and
  containerd read it, and "docker load" of all versions too;
- docker-archive: as "docker save" wrote it before version 25, with layers that
  are not compressed;
- oci-dir: an OCI image layout in a directory that does not exist or is empty;
- tar, dir: the files of one image as a container of it sees them, all layers in
  one, without command and environment: for systemd-nspawn, "machinectl
  import-tar" and "docker import".

Archives of images are checked against their digests. A file that was there is replaced
when the new one is complete and on the disk. The same images give the same
bytes. Cocker image import takes all of it in again.`,
		Example: `  cocker image export -o web.tar web:1.27 db:16
  cocker image export web | ssh example.com cocker image import -
  cocker image export --format oci-dir -o ./web web:1.27
  cocker image export --format dir -o /var/lib/machines/web web:1.27`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeImages,
		RunE: func(c *cobra.Command, refs []string) error {
			f := archive.Format(format)
			if !slices.Contains(archive.Formats(), f) {
				return fmt.Errorf("--format %s: wanted one of %s", format, strings.Join(exportFormats(), ", "))
			}
			return s.exportImages(c.Context(), refs, output, f)
		},
	}
	flags := command.Flags()
	flags.StringVarP(&output, "output", "o", "", "the `file` or directory; \"-\" is the standard output")
	flags.StringVar(&format, "format", string(archive.OCIArchive), "what to write, a `format`")
	flags.SortFlags = false
	// The only errors are flags that do not exist.
	_ = command.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(exportFormats(), noFiles))
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	return asRoot(command)
}

func exportFormats() (names []string) {
	for _, f := range archive.Formats() {
		names = append(names, string(f))
	}
	return names
}

func (s *streams) exportImages(ctx context.Context, refs []string, output string, format archive.Format) error {
	toStdout := output == "" || output == "-"
	switch {
	case toStdout && format.InDirectory():
		return fmt.Errorf("--format %s needs a directory: name one, -o DIRECTORY", format)
	case toStdout && isTerminal(s.out):
		return errors.New("this would write an archive to your terminal: name a file, -o FILE, or redirect the output")
	}
	p := &progress{w: s.err, terminal: isTerminal(s.err), start: time.Now(), done: "written"}
	defer p.end()
	store := image.Open(paths.State)
	if toStdout {
		return archive.Export(ctx, store, refs, s.out, format, p.update)
	}
	return archive.ExportTo(ctx, store, refs, output, format, p.update)
}
