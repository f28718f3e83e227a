package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/archive"
	"github.com/cocker/cocker/image/demo"
	"github.com/cocker/cocker/image/importer"
	"github.com/cocker/cocker/internal/paths"
)

func imageImportCommand(s *streams) *cobra.Command {
	o, labels, asJSON := archive.Options{}, []string{}, false
	limits := image.Limits{}
	command := &cobra.Command{
		Use:   "import [flags] SOURCE [NAME[:TAG] [COMMAND [ARG...]]]",
		Short: "Take in images from archives, directories and tars",
		Long: `Import takes in images from a file, a directory, or, as "-", the standard
input. What a source is, and what a file is compressed by (nothing, gzip,
zstd, xz or bzip2), it finds out by itself:

- an archive of images: an OCI archive, or what "docker save" and "podman
  save" write. Without NAME, all of its images are taken, under the names they
  have there; with NAME:TAG, the one that is in it, under that name; with a
  NAME alone, each as NAME with the tag that it has there. --image takes only
  one of several; an image without a name is left out beside others.
  Everything is checked against its digest;
- an OCI image layout in a directory, as skopeo and umoci write it: the same;
- a directory or a tar that holds the files of one container: it becomes the
  image NAME:TAG of one layer. Owners, modes, times, extended attributes, hard
  links and devices are kept. COMMAND is what a container of the image runs if
  it says nothing else;
- machine:NAME is the directory /var/lib/machines/NAME of systemd-nspawn(1)
  and machinectl(1), such a tree too. Stop the machine before. Owners that
  systemd-nspawn has moved to a range of ids are moved back.

When the command returns, the images survive a power cut; if it fails,
nothing of them is left.`,
		Example: `  cocker image import ./rootfs base:1.0 /sbin/init
  docker save web:1.27 db:16 | cocker image import -
  cocker image import web.oci.tar registry.example.com/web:1.27
  curl -s https://example.com/root.tar.zst | cocker image import - base:2.0
  docker export web | cocker image import --env LANG=C.UTF-8 - web:1.0 nginx -g 'daemon off;'
  cocker image import machine:debian debian:12`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeImport,
		RunE: func(c *cobra.Command, args []string) error {
			ref := ""
			if len(args) > 1 {
				ref, o.Command = args[1], commandOf(args[2:])
			}
			var err error
			if o.Labels, err = labelMap(labels); err != nil {
				return err
			}
			return s.importImages(asJSON, o.Options, func(run importer.Options) ([]*image.Image, error) {
				store := image.Open(paths.State).Limit(limits)
				return archive.Import(c.Context(), store, args[0], ref, archive.Options{Options: run, Image: o.Image})
			})
		},
	}
	flags := command.Flags()
	flags.StringVar(&o.Image, "image", "", "take the `image` of an archive that has this name or digest there")
	flags.StringArrayVar(&o.Entrypoint, "entrypoint", nil, "the program in front of the command, a `word`; once more for each argument of it")
	flags.StringArrayVarP(&o.Environment, "env", "e", nil, "set a variable, `NAME=VALUE`")
	flags.StringVarP(&o.WorkDir, "workdir", "w", "", "the `directory` where the command starts")
	flags.StringVarP(&o.User, "user", "u", "", "who runs the command, `USER[:GROUP]`")
	flags.StringVar(&o.StopSignal, "stop-signal", "", "the `signal` that asks the command to end")
	flags.StringArrayVar(&o.ExposedPorts, "expose", nil, "a port that it serves, `PORT[/udp]`")
	flags.StringArrayVar(&labels, "label", nil, "a label, `KEY=VALUE`")
	flags.Var((*sizeFlag)(&limits.Size), "max-size", "refuse what has more `bytes` unpacked, \"512M\", \"20G\"; default: as many as there is space for")
	flags.Int64Var(&limits.Files, "max-files", 0, "refuse what has more than `n` files; default: any number")
	flags.BoolVar(&asJSON, "json", false, "print what was made as JSON")
	flags.SortFlags = false
	flags.SetInterspersed(false)
	return asRoot(command)
}

func imageDemoCommand(s *streams) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use:   "demo",
		Short: "Make a small image to try things with, without a network",
		Long: `Demo makes the image demo:1.0 of this host's busybox, which must be a
static one: a shell, some 300 small tools, and a web server as the command.`,
		Example:           "  cocker image demo && cocker run --rm -it demo sh",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.importImages(asJSON, importer.Options{}, func(o importer.Options) ([]*image.Image, error) {
				i, err := demo.Create(c.Context(), image.Open(paths.State), o)
				return []*image.Image{i}, err
			})
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print what was made as JSON")
	return asRoot(command)
}

// importImages runs an import, shows how far it is, and says what was made.
func (s *streams) importImages(asJSON bool, o importer.Options, run func(importer.Options) ([]*image.Image, error)) error {
	o.Stdin = s.in
	p := &progress{w: s.err, terminal: isTerminal(s.err), start: time.Now(), done: "read"}
	o.Progress, o.Note = p.update, p.note
	images, err := run(o)
	p.end()
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(s.out, imagesDetails(images))
	}
	for _, i := range images {
		if _, err := fmt.Fprintln(s.out, i.Reference); err != nil {
			return err
		}
	}
	return nil
}

func imagesDetails(images []*image.Image) []imageDetails {
	list := []imageDetails{}
	for _, i := range images {
		list = append(list, imageDetailsOf(i))
	}
	return list
}

func labelMap(labels []string) (map[string]string, error) {
	m := map[string]string{}
	for _, label := range labels {
		key, value, ok := strings.Cut(label, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("label %q: write KEY=VALUE", label)
		}
		m[key] = value
	}
	return m, nil
}

// progress shows on a terminal how much has been moved. The size of the whole is
// not known, so it is a count and a rate.
type progress struct {
	w        io.Writer
	terminal bool
	start    time.Time
	done     string // what is with the bytes: "read", "written"

	mu    sync.Mutex
	shown time.Time
	drawn bool
}

// redraw is often enough to look alive.
const redraw = 100 * time.Millisecond

func (p *progress) update(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.terminal || now.Sub(p.shown) < redraw {
		return
	}
	p.shown, p.drawn = now, true
	rate := float64(bytes) / max(now.Sub(p.start).Seconds(), 0.001)
	fmt.Fprintf(p.w, "\r\x1b[K%s %s, %s/s", byteSize(bytes), p.done, byteSize(int64(rate)))
}

func (p *progress) note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintf(p.w, "cocker: note: %s\n", oneLine(text))
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}
