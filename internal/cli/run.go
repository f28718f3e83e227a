package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/launch"
	"github.com/cocker/cocker/scope"
	"github.com/cocker/cocker/units"
)

// runOptions are the flags of "run" that are not about the container itself.
type runOptions struct {
	detach, interactive, terminal, remove bool
}

func runCommand(s *streams) *cobra.Command {
	c, o := newContainer(), runOptions{}
	command := &cobra.Command{
		Use:   "run [flags] IMAGE[,IMAGE...] [COMMAND [ARG...]]",
		Short: "Run a command in a new container",
		Long: `Run starts a container that has no file of yours: its file is written to
/run/cocker/containers, where it is gone after a reboot. There is a flag for
every key of cocker.toml(5) but template.

In the foreground the container is a scope of systemd, cocker-NAME.scope. Its
terminal, signals and exit status are those of this command, and it does not
outlive this command. With --detach it is a service, cocker-NAME.service, with
the properties that a file would have given it. systemctl, machinectl and
journalctl show both as any other container.

An image whose name says where it comes from, registry.example.com/web:1, is
pulled first if it is not here; --pull says otherwise.

Without --rm the container and what it wrote stay until "cocker rm NAME". After
a reboot "cocker ps -a" shows what it wrote as having no file; "cocker create"
with the same name makes it a container again.

The exit status is that of the command, 128+N if signal N ended it, and 125 if
the container could not be started.`,
		Example: `  cocker run --rm -it demo sh
  echo hello | cocker run --rm -i demo cat
  cocker run -d --name web -p 8080:80 --memory 256M demo httpd -f -p 80`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeImageAt(0),
		RunE: func(command *cobra.Command, args []string) error {
			setImage(c, args[0])
			c.Command = commandOf(args[1:])
			return run(command, s, c, o)
		},
	}
	flags := command.Flags()
	flags.StringVar(&c.Name, "name", "", "the container's `name` (default: from the image's, with four letters added)")
	flags.BoolVarP(&o.detach, "detach", "d", false, "run it as a service and print its name")
	flags.BoolVarP(&o.interactive, "interactive", "i", false, "give it the standard input")
	flags.BoolVarP(&o.terminal, "tty", "t", false, "give it a terminal")
	flags.BoolVar(&o.remove, "rm", false, "remove it when it has ended")
	bind(c, command, containerFlags())
	return asRoot(command)
}

func run(command *cobra.Command, s *streams, c *config.Container, o runOptions) error {
	if err := o.check(s, c); err != nil {
		return err
	}
	if err := s.pullForRun(command.Context(), c); err != nil {
		return err
	}
	systemd := openSoon(command.Context())
	c, err := register(s, c, o)
	if err != nil {
		return err
	}
	if o.detach {
		err = runDetached(command.Context(), s, systemd, c, o)
	} else {
		err = runForeground(command.Context(), s, systemd, c, o)
	}
	var exit exitError
	var interrupted interruptedError
	switch {
	case errors.As(err, &interrupted):
		return cmpError(forget(c.Name), exitError(128+int(interrupted)))
	case err != nil && !errors.As(err, &exit):
		return errors.Join(err, forget(c.Name))
	}
	return err
}

// openSoon connects to systemd while other things are done. The function it
// returns waits for the connection.
func openSoon(ctx context.Context) func() (*scope.Manager, error) {
	// A signal ends the container in the foreground, not what follows its end.
	ctx = context.WithoutCancel(ctx)
	open := sync.OnceValues(func() (*scope.Manager, error) { return scope.Open(ctx) })
	go open()
	return open
}

func (o runOptions) check(s *streams, c *config.Container) error {
	switch {
	case c.Init == config.InitImage && !o.detach:
		return errors.New("a container that boots its image's init does not run in the foreground; use --detach, and \"cocker shell\" or \"machinectl login\"")
	case o.detach && (o.interactive || o.terminal):
		return errors.New("a detached container has no terminal; leave out --detach, or -i and -t")
	case o.terminal && o.interactive && !isTerminal(s.in):
		return errors.New("-t needs a terminal as the standard input; use -i alone for a pipe")
	}
	return nil
}

// register writes the container's file and returns the container as the
// launcher will read it. A name that is made up is tried again when it is taken.
func register(s *streams, c *config.Container, o runOptions) (*config.Container, error) {
	release, err := holdNames()
	if err != nil {
		return nil, err
	}
	defer release()
	if err := sweep(); err != nil {
		fmt.Fprintf(s.err, "cocker: run: warning: %v\n", err)
	}
	if c.Name != "" {
		return registerAs(c, c.Name, o)
	}
	for range 10 {
		var read *config.Container
		if read, err = registerAs(c, inventName(c.Images[len(c.Images)-1]), o); err == nil {
			return read, nil
		}
	}
	return nil, err
}

func registerAs(c *config.Container, name string, o runOptions) (*config.Container, error) {
	named := *c
	named.Name = name
	file := containerFile(runtimeDir, name)
	text, read, err := checked(&named, file)
	if err != nil {
		return nil, err
	}
	if err := checkNetworks(read); err != nil {
		return nil, err
	}
	// What systemd would refuse is refused before anything exists.
	if err := checkTransient(read, o); err != nil {
		return nil, err
	}
	if err := refuseTaken(name); err != nil {
		return nil, err
	}
	return read, claimTransient(name, file, text, o.remove)
}

func checkTransient(c *config.Container, o runOptions) (err error) {
	if units.Taken(c.Name) {
		return fmt.Errorf("%s is a unit of cocker itself; choose another name than %q", units.TransientService(c.Name), c.Name)
	}
	if c.Health.Checked() && !o.detach {
		return errors.New("the health of a container in the foreground is for its caller to see, who ends it: there is no unit that could get ready or be restarted; leave out the --health flags, or use --detach")
	}
	if o.detach {
		_, err = scope.Properties(scope.Service, units.TransientService(c.Name), serviceDirectives(c, o.remove))
	} else {
		_, err = scope.Properties(scope.Scope, units.Scope(c.Name), scopeDirectives(c, o.remove))
	}
	return err
}

// forget takes back a container that did not come to run, unless it runs by now
// because systemd has tried again.
func forget(name string) error {
	state, err := launch.ReadState(name)
	if err == nil && state.Running() {
		return fmt.Errorf("the container %s runs nevertheless; stop it with \"cocker stop %s\"", name, name)
	}
	if err := launch.RemoveTransient(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove container %s: %w", name, err)
	}
	return nil
}

// awaitEarlier waits for the cleanup after an earlier container of the name, which may
// not be over although its data is gone. A unit that is stopping is one that the new
// container would want in vain: in the mode "fail" systemd leaves such a job out
// (transaction_minimize_impact in core/transaction.c, systemd 252), and nothing would
// clean up after it.
func awaitEarlier(ctx context.Context, m *scope.Manager, name string, remove bool) error {
	after := units.Cleanup(name)
	if remove {
		after = units.Removal(name)
	}
	u, err := m.Unit(ctx, after)
	if err != nil || u.ActiveState == "inactive" || u.ActiveState == "failed" {
		return nil
	}
	if err := m.Stop(ctx, after); err != nil && !errors.Is(err, scope.ErrNotFound) {
		return fmt.Errorf("wait for the cleanup after an earlier container %s: %w", name, err)
	}
	return nil
}

// serviceDirectives are those of the transient service: what cocker@.service
// says, what the generator would have written, and that nothing of the unit
// stays when it has ended.
func serviceDirectives(c *config.Container, remove bool) []scope.Directive {
	directives := append(directivesOf(units.TemplateFile()), directivesOf(units.ForContainer(c))...)
	directives = append(directives, scope.Directive{Section: "Unit", Key: "CollectMode", Value: "inactive-or-failed"})
	if remove {
		directives = append(directives, followedBy(units.Removal(c.Name))...)
	}
	return directives
}

// followedBy lets a unit that works when the container is gone do so: it is
// there as long as the container's unit wants it. The order is for the shutdown,
// when systemd stops both without being asked by the one.
func followedBy(unit string) []scope.Directive {
	return []scope.Directive{{Section: "Unit", Key: "Wants", Value: unit}, {Section: "Unit", Key: "After", Value: unit}}
}

// scopeDirectives are the same for a scope, as far as a scope has them. Its
// processes are children of the client, so systemd runs no command for it and
// signals all its processes; the unit that it wants cleans up after it.
func scopeDirectives(c *config.Container, remove bool) []scope.Directive {
	var directives []scope.Directive
	own := *c
	own.Service = nil
	for _, d := range append(directivesOf(units.TemplateFile()), directivesOf(units.ForContainer(&own))...) {
		if d.Section == "Unit" || scopeHas(d.Key) {
			directives = append(directives, d)
		}
	}
	for _, d := range c.Service { // one that a scope has not is an error
		directives = append(directives, scope.Directive{Section: "Service", Key: d.Key, Value: d.Value})
	}
	if terminal, err := os.Readlink("/proc/self/fd/0"); err == nil && strings.HasPrefix(terminal, "/dev/tty") && !c.Security.AllDevices() {
		directives = append(directives, scope.Directive{Section: "Service", Key: "DeviceAllow", Value: terminal + " rw"}) // the container's /dev/console
	}
	after := units.Cleanup(c.Name)
	if remove {
		after = units.Removal(c.Name)
	}
	directives = append(directives,
		scope.Directive{Section: "Unit", Key: "CollectMode", Value: "inactive-or-failed"},
		// What a service has by itself, see systemd.scope(5) and systemd.unit(5): it
		// ends before the file systems and swap go, and when others are isolated.
		scope.Directive{Section: "Unit", Key: "After", Value: "basic.target"},
		scope.Directive{Section: "Unit", Key: "IgnoreOnIsolate", Value: "false"})
	return append(directives, followedBy(after)...)
}

// scopeHas reports whether a directive that cocker itself writes into [Service]
// is for a scope too: every limit, and little else. KillMode=mixed is not: without
// a main process it would mean to kill everything at once. OOMPolicy= is systemd
// 253's for scopes, where Delegate=yes has the same effect.
func scopeHas(key string) bool {
	switch key {
	case "TimeoutStopSec", "Slice", "Delegate", "DevicePolicy", "DeviceAllow", "KillSignal":
		return true
	}
	return config.ResourceKey(key) != ""
}

func directivesOf(f units.File) []scope.Directive {
	var directives []scope.Directive
	for _, section := range f.Sections {
		if section.Name != "Unit" && section.Name != "Service" {
			continue // [Install] is for files
		}
		for _, l := range section.Lines {
			directives = append(directives, scope.Directive{Section: section.Name, Key: l.Key, Value: l.Value})
		}
	}
	return directives
}
