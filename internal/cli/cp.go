package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/agent"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/internal/treecopy"
	"github.com/cocker/cocker/launch"
)

func cpCommand(s *streams) *cobra.Command {
	options := copyOptions{}
	command := &cobra.Command{
		Use:     "cp [-a] [-L] SOURCE DESTINATION",
		Aliases: []string{"copy"},
		Short:   "Copy files into or out of a container",
		Long: `Cp copies a file, or a directory with all that is in it, into or out of a
container, which may run or not. One of SOURCE and DESTINATION is
CONTAINER:PATH, a path from the container's root directory; the other is a path
of the host, or "-". A path of the host with a colon in it is written ./a:b.

Where the copy goes:
  - a DESTINATION that is a directory gets the source in it, under the source's
    name; of a source that ends in "/." it gets the content;
  - a DESTINATION that is not there becomes the copy; its directory must be
    there, and if the source is a file, it must not end in a slash;
  - a DESTINATION that is a file is replaced, but not by a directory.
A file is put in its place when it is whole; a copy that is killed can leave one
named .cocker-cp-* behind. Directories that are there keep their owner, mode and
time. A directory, device, socket or fifo is never replaced, and a file that is
mounted gets the new content.

"-" as SOURCE is a tar on the standard input, which is unpacked in a directory of
the container. "-" as DESTINATION is a tar on the standard output.

A symbolic link is copied as a link; with --follow-link, or a slash behind it,
the source is what it leads to. Links in a path of the container are followed
inside of the container; on the host, no link below DESTINATION is.

What is copied into a container belongs to its root. What is copied to the host
belongs to the caller, and loses set-user-ID bits and file capabilities. --archive
keeps these, and owners as numbers, also of directories that are there; let only
root enter DESTINATION then. In a container, numbers that it does not have become
nobody's. Modes, times, hard links, holes and the extended attributes of users
are kept. Sockets and credentials are left out, and devices, but in a tar on the
standard output.

Cp can do what the container's root can do: it cannot write to what is mounted
read-only, nor read or write what only the host's users may in a bind mount. A
container that does not run is shown with its volumes and bind mounts; /dev,
/proc, /run, /sys and every tmpfs, which are new at each start, are empty and
read-only then. A start at the same time waits for the end of the copy.`,
		Example: `  cocker cp web:/etc/nginx/nginx.conf .        # a file to the working directory
  cocker cp site/. web:/srv/www                # the content of a directory
  cocker cp web:/var/log - | tar tv            # a tar
  cocker cp a:/data - | cocker cp - b:/        # from one container to another`,
		Args:                  cobra.ExactArgs(2),
		ValidArgsFunction:     completeCopy,
		DisableFlagsInUseLine: true,
		RunE: func(c *cobra.Command, args []string) error {
			return s.copyFiles(c.Context(), args[0], args[1], options)
		},
	}
	flags := command.Flags()
	flags.BoolVarP(&options.archive, "archive", "a", false, "keep owners, set-user-ID bits and file capabilities")
	flags.BoolVarP(&options.follow, "follow-link", "L", false, "if the source is a symbolic link, copy what it leads to")
	return asRoot(command)
}

// copyOptions are the flags of cp.
type copyOptions struct{ archive, follow bool }

// endpoint is one argument of cp.
type endpoint struct {
	container string // "": a path of the host
	path      string
}

func (e endpoint) stream() bool { return e.container == "" && e.path == "-" }

// parseEndpoint reads CONTAINER:PATH, PATH or "-".
func parseEndpoint(argument string) (endpoint, error) {
	if argument == "" {
		return endpoint{}, errors.New("a path is empty")
	}
	name, path, found := strings.Cut(argument, ":")
	if !found || strings.ContainsRune(name, '/') || name == "" {
		return endpoint{path: argument}, nil
	}
	if err := config.ValidName(name); err != nil {
		return endpoint{}, fmt.Errorf("%w; for a file of the host, write ./%s", err, argument)
	}
	if path == "" {
		return endpoint{}, fmt.Errorf("%q names no path; write %s/ for everything", argument, argument)
	}
	return endpoint{container: name, path: "/" + strings.TrimLeft(path, "/")}, nil
}

func (s *streams) copyFiles(ctx context.Context, from, to string, o copyOptions) error {
	source, err := parseEndpoint(from)
	if err != nil {
		return err
	}
	destination, err := parseEndpoint(to)
	switch {
	case err != nil:
		return err
	case source.container == "" && destination.container == "":
		return errors.New("one side must be CONTAINER:PATH; between files of the host use cp(1)")
	case source.container != "" && destination.container != "":
		return fmt.Errorf("only one side can be a container; use: cocker cp %s - | cocker cp - %s", from, to)
	case destination.container != "":
		return s.copyIn(ctx, source, destination, o)
	}
	return s.copyOut(ctx, source, destination, o)
}

// copyIn copies from the host, or a tar, into a container.
func (s *streams) copyIn(ctx context.Context, source, destination endpoint, o copyOptions) error {
	options := treecopy.ReceiveOptions{Extract: source.stream(), Archive: o.archive}
	if source.stream() {
		if isTerminal(s.in) {
			return errors.New("the standard input is a terminal, not a tar")
		}
	} else {
		var err error
		if options.Name, err = hostName(source.path); err != nil {
			return err
		}
	}
	t := task{destination.container, launch.Access{Write: true, Mounts: true}, treecopy.Request{Path: destination.path, Receive: &options}}
	return s.withAgent(ctx, t, func(ctx context.Context, m *meter, stream *os.File, note func(string)) error {
		if source.stream() {
			return copyUntil(ctx, m.writer(stream), s.in)
		}
		host, err := treecopy.Host()
		if err != nil {
			return err
		}
		defer host.Close()
		return host.Send(ctx, m.writer(stream), source.path, treecopy.SendOptions{Name: treecopy.Top, Follow: o.follow, Note: note})
	})
}

// copyOut copies from a container to the host, or as a tar.
func (s *streams) copyOut(ctx context.Context, source, destination endpoint, o copyOptions) error {
	name := treecopy.BaseName(source.path)
	send := treecopy.SendOptions{Name: treecopy.Top, Follow: o.follow}
	t := task{source.container, launch.Access{Mounts: true}, treecopy.Request{Path: source.path, Send: &send}}
	if destination.stream() {
		if isTerminal(s.out) {
			return errors.New("the standard output is a terminal; redirect the tar into a file or a program")
		}
		t.request.Send.Name = name
		return s.sendTar(ctx, t, s.out)
	}
	return s.withAgent(ctx, t, func(ctx context.Context, m *meter, stream *os.File, note func(string)) error {
		host, err := treecopy.Host()
		if err != nil {
			return err
		}
		defer host.Close()
		return host.Receive(ctx, m.reader(stream), destination.path, treecopy.ReceiveOptions{Name: name, Archive: o.archive, Note: note})
	})
}

// sendTar writes what an agent sends to a file.
func (s *streams) sendTar(ctx context.Context, t task, to io.Writer) error {
	return s.withAgent(ctx, t, func(_ context.Context, m *meter, stream *os.File, _ func(string)) error {
		_, err := io.Copy(to, m.reader(stream))
		return err
	})
}

// task is what an agent is to do, and in which container.
type task struct {
	container string
	access    launch.Access
	request   treecopy.Request
}

// withAgent runs an agent in a container and work at the other end of its tar. An
// interrupt closes the tar, and the agent ends.
func (s *streams) withAgent(ctx context.Context, t task, work func(context.Context, *meter, *os.File, func(string)) error) error {
	m := newMeter(s.err)
	t.access.Note = m.note
	files, err := launch.Reach(ctx, t.container, t.access)
	if ctx.Err() != nil {
		err = errInterrupted
	}
	if err != nil {
		return errors.Join(err, hintFor(t.container, err))
	}
	defer files.Close()
	tree := agent.Tree{Root: files.Root, IDBase: files.IDBase, Lock: files.Lock}
	agent, err := treecopy.Start(tree, t.request, m.note)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = agent.Stream.Close() })
	failure := work(ctx, m, agent.Stream, m.note)
	stop()
	ended := agent.Wait()
	m.end()
	if err := firstCause(ctx, failure, ended); err != nil {
		return errors.New(oneLine(err.Error())) // it can have names of the container's files in it
	}
	return nil
}

var errInterrupted = errors.New("interrupted; what was not whole is removed")

// hintFor is what is known of a container that cannot be reached.
func hintFor(container string, err error) error {
	if errors.Is(err, config.ErrNotFound) {
		if more := notFound(container); more != nil && more.Error() != err.Error() {
			return errors.New(strings.TrimPrefix(more.Error(), err.Error()+"\n"))
		}
	}
	return nil
}

// firstCause picks of the errors of both ends the one that the other came from: an end
// that fails closes the pipe, and the other sees only that.
func firstCause(ctx context.Context, ours, agents error) error {
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case ours == nil:
		return agents
	case agents == nil:
		return ours
	case errors.Is(ours, unix.EPIPE), errors.Is(ours, io.ErrUnexpectedEOF), errors.Is(ours, treecopy.ErrCutShort):
		return agents
	}
	return ours
}

// hostName is the name that a path of the host has in a directory it is copied to; "" if
// it ends in ".", which means what is in it.
func hostName(path string) (string, error) {
	if filepath.Base(path) == "." || strings.HasSuffix(strings.TrimRight(path, "/"), "/.") {
		return "", nil
	}
	absolute, err := filepath.Abs(path)
	return treecopy.BaseName(absolute), err
}

// copyUntil copies until the context ends; a read that waits for its data then is left
// to the end of the process.
func copyUntil(ctx context.Context, w io.Writer, r io.Reader) error {
	result := make(chan error, 1)
	go func() {
		_, err := io.Copy(w, r)
		result <- err
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// meter shows on a terminal how far a long copy is.
type meter struct{ progress }

// quiet is how long a copy may take without a word.
const quiet = time.Second

func newMeter(w *os.File) *meter {
	now := time.Now()
	return &meter{progress{w: w, terminal: isTerminal(w), start: now, done: "copied", shown: now.Add(quiet)}}
}

func (m *meter) reader(r io.Reader) io.Reader { return io.TeeReader(r, &tally{m: m}) }
func (m *meter) writer(w io.Writer) io.Writer { return io.MultiWriter(w, &tally{m: m}) }

type tally struct {
	m *meter
	n int64
}

func (t *tally) Write(p []byte) (int, error) {
	t.n += int64(len(p))
	t.m.update(t.n)
	return len(p), nil
}

// completeCopy offers containers with a colon, and files of the host.
func completeCopy(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 {
		return nil, noFiles
	}
	const files = cobra.ShellCompDirectiveDefault
	if len(args) == 1 && !strings.HasPrefix(args[0], "-") {
		if first, err := parseEndpoint(args[0]); err == nil && first.container != "" {
			return nil, files
		}
	}
	names, _ := config.List(paths.ConfigDirs())
	var offers []string
	for _, name := range names {
		if strings.HasPrefix(name, word) {
			offers = append(offers, name+":")
		}
	}
	if len(offers) == 0 {
		return nil, files
	}
	return offers, files | cobra.ShellCompDirectiveNoSpace
}
