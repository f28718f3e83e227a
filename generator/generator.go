// Package generator owns the systemd generator: it finds the container files and
// writes what each adds to cocker@.service. It runs early at boot, when there may
// be no /var, network, D-Bus or journal (systemd.generator(7)), so it only reads
// the configuration directories and writes below the directory given. It imports
// config, units and internal/paths.
package generator

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/cocker/cocker/internal/paths"
)

// Exit statuses of the generator.
const (
	exitOK     = 0
	exitFailed = 1 // a file is bad or could not be written; the others are done
	exitUsage  = 2
)

const usage = `usage: cocker-generator NORMAL-DIR [EARLY-DIR LATE-DIR]
       cocker-generator --dry-run

systemd runs this at boot and for "systemctl daemon-reload"; see systemd.generator(7).
`

// Run is the whole program. args are those after the program's name. Its effects:
//   - cocker@NAME.service.d/10-cocker.conf in the normal directory for each container,
//     and cocker-pull@NAME.service.d/10-cocker.conf for those whose images can be pulled
//   - cocker-network@NAME.service.d/10-cocker.conf for each network that has a file
//   - links to cocker@.service in UNIT.wants and UNIT.requires there, for [install]
//   - problems in the kernel's log, or on stderr if that can't be written to
//
// It gives the exit status.
func Run(args []string, stdout, stderr io.Writer) int {
	// One run allocates about 25 MB for 1000 files and then ends; collecting
	// less often makes it a quarter faster.
	debug.SetGCPercent(400)
	flags := flag.NewFlagSet("cocker-generator", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { _, _ = io.WriteString(stderr, usage) }
	dryRun := flags.Bool("dry-run", false, "print what would be written")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	g := generator{configDirs: paths.ConfigDirs()}
	switch {
	case *dryRun:
		g.sink, g.log = printer{stdout}, func(line string) { _, _ = fmt.Fprintln(stderr, line) }
	case flags.NArg() == 1 || flags.NArg() == 3: // systemd passes three
		g.sink, g.log = directory(flags.Arg(0)), kernelLog(stderr)
	default:
		flags.Usage()
		return exitUsage
	}
	return g.run()
}

// generator is one run: where from, where to, and where problems go.
type generator struct {
	configDirs []string
	sink       sink
	log        func(line string)
}
