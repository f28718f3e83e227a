package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/derive"
	"github.com/cocker/cocker/image/pack"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
	"github.com/cocker/cocker/scope"
)

func commitCommand(s *streams) *cobra.Command {
	o := commitOptions{pause: true}
	command := &cobra.Command{
		Use:   "commit [flags] NAME IMAGE[:TAG]",
		Short: "Make an image of what a container wrote",
		Long: `Commit makes an image of a container's own images and, on top, one layer with
what the container has changed ("cocker diff" lists it). Stacked images become
one list of layers. Without a tag the image gets the tag latest.

A container that runs is frozen while it is read, and thawed whatever happens to
this command; one that was frozen before stays frozen. One that does not run
cannot be started meanwhile: a start waits.

Not in the image are mounted directories and what is in them, /proc, /sys, /dev
and /run, sockets, and what a start fills in: /etc/hostname, /etc/machine-id,
/etc/resolv.conf (but not with network mode none) and cocker's own lines in
/etc/hosts. A container that has changed nothing else gives an image without a
new layer.

--change takes the instructions CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL,
USER, VOLUME and WORKDIR of a Dockerfile. A new ENTRYPOINT takes the image's CMD
away unless there is a new one, too. What the container's file says of command
and environment is not taken over.

IMAGE may be the container's own image: then that name means the new one, on
which the container stands from its next start on; what it wrote stays on top.

When the command returns, the image survives a power cut.`,
		Example: `  cocker commit web web:1.1
  cocker commit --message "with TLS" --change 'CMD ["httpd", "-f"]' --change 'EXPOSE 443' web web:1.2
  cocker commit --squash --author "A. Person <a@example.com>" web web:2.0`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(c *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return completeContainers(c, args, prefix)
			}
			return completeImageAt(1)(c, args, prefix)
		},
		RunE: func(c *cobra.Command, args []string) error { return s.commit(c.Context(), args[0], args[1], o) },
	}
	flags := command.Flags()
	flags.StringVarP(&o.author, "author", "a", "", "who made it, a `text`")
	flags.StringVarP(&o.message, "message", "m", "", "what was done, a `text` for the history")
	flags.StringArrayVarP(&o.changes, "change", "c", nil, "change how it is run, an `instruction` of a Dockerfile; may be repeated")
	flags.BoolVar(&o.squash, "squash", false, "make all layers one; what was removed is not in it, and nothing is shared with other images")
	flags.BoolVarP(&o.pause, "pause", "p", o.pause, "freeze a running container; with =false, files may be half written")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "no progress and no notes")
	flags.BoolVar(&o.json, "json", false, "print what was made as JSON")
	flags.SortFlags = false
	return asRoot(command)
}

type commitOptions struct {
	author, message            string
	changes                    []string
	squash, pause, quiet, json bool
}

func (s *streams) commit(ctx context.Context, name, ref string, o commitOptions) error {
	full, err := image.FullName(ref)
	if err != nil {
		return err
	}
	options := derive.Options{Author: o.author, Message: o.message, CreatedBy: "cocker commit " + name, Squash: o.squash}
	for _, text := range o.changes {
		change, err := derive.ParseChange(text)
		if err != nil {
			return err
		}
		options.Changes = append(options.Changes, change)
	}
	c, err := openWritten(ctx, name)
	if err != nil {
		return err
	}
	p := &progress{w: s.err, terminal: isTerminal(s.err), start: time.Now(), done: "read"}
	if !o.quiet {
		options.Progress, options.Note = p.update, p.note
	}
	before := len(c.base.Dirs)
	i, err := derive.Commit(ctx, c.store, full, c.base, c.layer, c.hold(o.pause), options)
	p.end()
	if err != nil {
		return err
	}
	if !o.quiet {
		if len(i.Layers) == before && !o.squash {
			p.note(name + " has changed nothing: the image has no layer of its own")
		}
		c.noteVersions(p, ref, full)
	}
	if o.json {
		return printJSON(s.out, imageDetailsOf(i))
	}
	_, err = fmt.Fprintln(s.out, i.Reference)
	return err
}

// noteVersions says what versions there are when none was named.
func (c *written) noteVersions(p *progress, ref, full string) {
	if ref == full {
		return
	}
	var others []string
	list, _ := c.store.List() // it is only to be helpful
	for _, i := range list {
		if i.Reference != full && strings.HasPrefix(i.Reference, ref+":") {
			others = append(others, i.Reference)
		}
	}
	if len(others) > 0 {
		p.note(fmt.Sprintf("without a tag this is %s; beside it there is %s", full, strings.Join(others, ", ")))
	}
}

// written is what a container wrote, and what it stands on.
type written struct {
	name  string
	store *image.Store
	base  *derive.Base
	layer pack.Writable
}

// openWritten finds what a container wrote. What runs counts, as its file may have
// changed or be gone since.
func openWritten(ctx context.Context, name string) (*written, error) {
	data, err := launch.OpenData(ctx, name)
	if err != nil {
		return nil, err
	}
	defer data.Close()
	file, err := config.Load(paths.ConfigDirs(), name)
	switch {
	case errors.Is(err, config.ErrNotFound) && data.Running != nil:
		file = newContainer()
		file.Name, file.Images = name, data.Running.Images
	case err != nil:
		return nil, cmpError(notFound(name), err)
	}
	c := &written{name: name, store: image.Open(paths.State)}
	if c.base, err = loadBase(c.store, file, data.Running); err != nil {
		return nil, err
	}
	c.layer = pack.Writable{Upper: data.Upper, Below: c.base.Dirs, Filled: pack.Filled(launch.FilledIn(file))}
	return c, nil
}

// loadBase reads the images that a writable layer stands on: those that it was last
// used on, else those that the file names.
func loadBase(store *image.Store, file *config.Container, running *launch.State) (*derive.Base, error) {
	var digests []string
	names := file.Images
	if running != nil {
		digests, names = running.ImageDigests, running.Images
	} else {
		recorded, err := launch.Base(file.Name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, launch.ErrNoBase) {
			return nil, err
		}
		digests = recorded
	}
	if len(digests) == 0 {
		return derive.Load(store, file.Images)
	}
	base, err := derive.Load(store, refsOf(store, digests, names))
	if errors.Is(err, image.ErrNotFound) && running == nil {
		return derive.Load(store, file.Images) // on which it will be started
	}
	return base, err
}

// refsOf finds images by their digests. An image of several platforms is found by its
// name only.
func refsOf(store *image.Store, digests, names []string) []string {
	refs := slices.Clone(digests)
	for i, name := range names {
		if i >= len(refs) {
			break
		}
		if img, err := store.Resolve(name); err == nil && img.Digest == digests[i] {
			refs[i] = name
		}
	}
	return refs
}

// hold keeps the container from writing while it is read. One that ends before it is
// frozen is held as one that does not run.
func (c *written) hold(pause bool) derive.Hold {
	return func(ctx context.Context) (func() error, error) {
		for {
			release, ended, err := c.holdOnce(ctx, pause)
			if !ended || ctx.Err() != nil {
				return release, err
			}
		}
	}
}

func (c *written) holdOnce(ctx context.Context, pause bool) (release func() error, ended bool, err error) {
	data, err := launch.OpenData(ctx, c.name)
	if err != nil {
		return nil, false, err
	}
	if data.Running == nil || !pause {
		return func() error {
			defer data.Close()
			return data.Check()
		}, false, nil
	}
	release, err = freezeData(ctx, c.name, data)
	if err != nil {
		ended = data.Check() != nil
		data.Close()
	}
	return release, ended, err
}

func freezeData(ctx context.Context, name string, data *launch.Data) (release func() error, err error) {
	m, err := scope.Open(context.WithoutCancel(ctx)) // it is to thaw, too
	if err != nil {
		return nil, err
	}
	f, err := freezeContainer(ctx, m, name, data)
	if err != nil {
		m.Close()
		return nil, err
	}
	return func() error {
		defer data.Close()
		defer m.Close()
		err := data.Check()
		if err == nil {
			if err = f.check(context.WithoutCancel(ctx)); err != nil {
				err = fmt.Errorf("container %s ran while it was read: %w", name, err)
			}
		}
		return errors.Join(err, f.end())
	}, nil
}
