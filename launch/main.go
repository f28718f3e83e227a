package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/internal/render"
	"github.com/cocker/cocker/netsetup"
)

// verb is one way to call cocker-launch.
type verb struct {
	name, argument string
	run            func(ctx context.Context, argument string) error
}

func verbs() []verb {
	return []verb{
		{"start", "CONTAINER", startUnit},
		{"run", "CONTAINER", runForeground},
		{"reload", "CONTAINER", reloadUnit},
		{"cleanup", "CONTAINER", func(_ context.Context, name string) error { return cleanUpUnit(name) }},
		{"remove", "CONTAINER", func(_ context.Context, name string) error { return RemoveTransient(name) }},
		{"views", "attach|detach", func(_ context.Context, what string) error { return views(what) }},
		{"tell", "kills", func(_ context.Context, what string) error { return tell(what) }},
		{"await", "PID:START", func(_ context.Context, process string) error { return await(process) }},
		{"freeze", "UNIT", func(ctx context.Context, unit string) error { return freeze(ctx, unit) }},
		{"thaw", "UNIT", func(ctx context.Context, unit string) error { return thaw(ctx, unit) }},
		{"network-up", "NETWORK", func(_ context.Context, name string) error { return networkUp(name) }},
		{"network-down", "NETWORK", func(_ context.Context, name string) error { return networkDown(name) }},
		{"pod-up", "POD", func(_ context.Context, name string) error { return podUp(name) }},
		{"pod-down", "POD", func(_ context.Context, name string) error { return podDown(name) }},
	}
}

// Main runs cocker-launch with its arguments and returns the exit status.
func Main(arguments []string, stderr io.Writer) int {
	// What systemd or a caller left open is not for the container.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fail(stderr, fmt.Errorf("close_range: %w", err))
	}
	if len(arguments) != 2 {
		return fail(stderr, errors.New("usage: cocker-launch "+usage()+"; it is called by systemd units, people use cocker(1)"))
	}
	// No signal is handled: what a killed launcher leaves, Cleanup takes away, and
	// PID 1 ends by itself when its channel closes.
	ctx := context.Background()
	if arguments[0] == render.Verb {
		return status(stderr, render.Serve())
	}
	for _, verb := range verbs() {
		if verb.name != arguments[0] {
			continue
		}
		return status(stderr, verb.run(ctx, arguments[1]))
	}
	return fail(stderr, fmt.Errorf("unknown verb %q; usage: cocker-launch %s", arguments[0], usage()))
}

func usage() string {
	var forms []string
	for _, verb := range verbs() {
		forms = append(forms, verb.name+" "+verb.argument)
	}
	return strings.Join(forms, " | ")
}

// fail prints every line of the error, with the priority that the journal
// understands (sd-daemon(3)) when it is the journal that listens.
func fail(stderr io.Writer, err error) int {
	say(stderr, "<3>", err.Error())
	return 1
}

// status is the exit status for the result of a verb.
func status(stderr io.Writer, err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrReported):
		return 1
	}
	return fail(stderr, err)
}

// failed tells why a container does not start: in the journal and, so that it
// stands out in `systemctl status`, as the unit's status text.
func failed(reason error) {
	fail(os.Stderr, reason)
	first, _, _ := strings.Cut(reason.Error(), "\n")
	_ = Notify("STATUS=" + first)
}

func warn(message string) { say(os.Stderr, "<4>", message) }

func say(w io.Writer, priority, text string) {
	if os.Getenv("JOURNAL_STREAM") == "" {
		priority = "cocker: "
	}
	for line := range strings.Lines(text) {
		fmt.Fprintln(w, priority+strings.TrimSuffix(line, "\n"))
	}
}

// startUnit is ExecStart= of a unit: the container becomes the unit's main
// process, and this one is gone.
func startUnit(ctx context.Context, name string) error {
	_, err := Start(ctx, Options{Name: name, Warn: warn, Failed: failed})
	if err != nil && !errors.Is(err, ErrReported) {
		failed(err)
		return ErrReported
	}
	return err
}

// The descriptors of a caller that waits in `cocker run`.
const (
	gateFD   = 3 // one byte comes when this process is in its scope
	reportFD = 4 // takes "PID n\n"
)

// runForeground starts a container whose PID 1 becomes a child of the caller.
func runForeground(ctx context.Context, name string) error {
	caller := os.Getppid()
	gate := os.NewFile(gateFD, "gate")
	if n, err := gate.Read(make([]byte, 1)); n != 1 {
		return fmt.Errorf("the caller has ended: %w", err)
	}
	pid, err := Start(ctx, Options{Name: name, Foreground: true, Caller: caller, Warn: warn, Failed: failed})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(os.NewFile(reportFD, "report"), "PID %d\n", pid)
	return err
}

func networkUp(name string) error {
	definition, err := config.FindNetwork(paths.ConfigDirs(), name)
	if err == nil && definition.Kind == config.KindCNI {
		_, err = findCNI(definition)
		return err
	}
	if err != nil {
		return err
	}
	network, err := netsetup.Resolve(paths.Networks, *definition)
	if err != nil {
		return err
	}
	changes, err := makeNetwork(network)
	for _, change := range changes {
		say(os.Stderr, "<6>", change)
	}
	return err
}

// networkDown removes a network. That of a start that has failed stays if containers run in
// it, as they do when its file has become bad; systemd.exec(5) has SERVICE_RESULT.
func networkDown(name string) error {
	result := os.Getenv("SERVICE_RESULT")
	failed := result != "" && result != "success"
	if failed && inUse(name) {
		return nil
	}
	definition, err := config.FindNetwork(paths.ConfigDirs(), name)
	if err != nil && failed {
		return nil // so it has failed, and has made nothing
	}
	if err != nil || definition.Kind == config.KindCNI { // whose plugins keep for themselves what is nobody's
		return err
	}
	network, err := netsetup.Resolve(paths.Networks, *definition)
	if err != nil && failed {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(dropNames(network.Name), netsetup.Down(network))
}
