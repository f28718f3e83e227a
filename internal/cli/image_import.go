package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/demo"
	"github.com/cocker/cocker/image/importer"
	"github.com/cocker/cocker/internal/paths"
)

func imageImportCommand(s *streams) *cobra.Command {
	o, labels, asJSON := importer.Options{}, []string{}, false
	command := &cobra.Command{
		Use:   "import [flags] PATH|- NAME[:TAG] [COMMAND [ARG...]]",
		Short: "Make an image of a directory or a tar",
		Long: `Import makes an image of a directory or of a tar: plain, or compressed by
gzip, zstd, xz or bzip2; "-" is a tar on the standard input. Owners, modes,
times, extended attributes, hard links and devices are kept. COMMAND is what
a container of the image runs if it says nothing else.

When the command returns, the image survives a power cut.`,
		Example: `  cocker image import ./rootfs base:1.0 /sbin/init
  curl -s https://example.com/root.tar.zst | cocker image import - base:2.0
  docker export web | cocker image import --env LANG=C.UTF-8 - web:1.0 nginx -g 'daemon off;'`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			o.Command = commandOf(args[2:])
			var err error
			if o.Labels, err = labelMap(labels); err != nil {
				return err
			}
			return s.importImage(asJSON, o, func(o importer.Options) (*image.Image, error) {
				return importer.Import(c.Context(), image.Open(paths.State), args[0], args[1], o)
			})
		},
	}
	flags := command.Flags()
	flags.StringArrayVar(&o.Entrypoint, "entrypoint", nil, "the program in front of the command, a `word`; once more for each argument of it")
	flags.StringArrayVarP(&o.Environment, "env", "e", nil, "set a variable, `NAME=VALUE`")
	flags.StringVarP(&o.WorkDir, "workdir", "w", "", "the `directory` where the command starts")
	flags.StringVarP(&o.User, "user", "u", "", "who runs the command, `USER[:GROUP]`")
	flags.StringVar(&o.StopSignal, "stop-signal", "", "the `signal` that asks the command to end")
	flags.StringArrayVar(&o.ExposedPorts, "expose", nil, "a port that it serves, `PORT[/udp]`")
	flags.StringArrayVar(&labels, "label", nil, "a label, `KEY=VALUE`")
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
			return s.importImage(asJSON, importer.Options{}, func(o importer.Options) (*image.Image, error) {
				return demo.Create(c.Context(), image.Open(paths.State), o)
			})
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print what was made as JSON")
	return asRoot(command)
}

// importImage runs an import, shows how far it is, and says what was made.
func (s *streams) importImage(asJSON bool, o importer.Options, run func(importer.Options) (*image.Image, error)) error {
	o.Stdin = s.in
	p := &progress{w: s.err, terminal: isTerminal(s.err), start: time.Now()}
	o.Progress, o.Note = p.update, p.note
	i, err := run(o)
	p.end()
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(s.out, imageDetailsOf(i))
	}
	_, err = fmt.Fprintf(s.out, "%s\n", i.Reference)
	return err
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

// progress shows on a terminal how much has been read. The size of the whole is
// not known, so it is a count and a rate.
type progress struct {
	w        io.Writer
	terminal bool
	start    time.Time

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
	fmt.Fprintf(p.w, "\r\x1b[K%s read, %s/s", byteSize(bytes), byteSize(int64(rate)))
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
