package generator

import (
	"errors"
	"runtime"
	"sync"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/units"
)

// output is what one container needs in the unit directory.
type output struct {
	dropIns []dropIn
	links   []string // paths of links to the template, below the unit directory
}

// dropIn is a file that adds to a template.
type dropIn struct {
	path string // below the unit directory
	text []byte
}

// run generates every container, network and pod, and logs the problems in the order of the names.
func (g generator) run() int {
	locations, err := config.Scan(g.configDirs)
	errs := append([]error{err}, g.convertAll(locations)...)
	errs = append(errs, g.networks()...)
	errs = append(errs, g.pods()...)
	if errors.Join(errs...) == nil {
		return exitOK
	}
	logAll(g.log, errs)
	return exitFailed
}

// convertAll works on all CPUs, as the boot waits for it, but emits in the order
// of the locations. A bad container never stops another.
func (g generator) convertAll(locations []config.Location) []error {
	errs := make([]error, len(locations))
	if !g.sink.ordered() {
		parallel(len(locations), func(i int) { errs[i] = g.one(locations[i]) })
		return errs
	}
	for i, l := range locations {
		errs[i] = g.one(l)
	}
	return errs
}

// parallel calls work for 0 to n-1, each worker at every so-manieth.
func parallel(n int, work func(i int)) {
	var wait sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), n)
	for w := range workers {
		wait.Go(func() {
			for i := w; i < n; i += workers {
				work(i)
			}
		})
	}
	wait.Wait()
}

func (g generator) one(l config.Location) error {
	c, problems := l.Read()
	out, err := convert(c)
	if err == nil && out.dropIns != nil {
		err = g.sink.emit(out)
	}
	return errors.Join(problems, err)
}

// convert decides what to write for a container. One with problems gets what is
// right in its file: it may run, and must not lose its limits and the time it has
// to stop because of a mistake. It gets its links too: it was declared to start at
// boot, so it shall be seen to fail at boot, where its status tells where to look.
// A name that is no unit's name gets nothing.
func convert(c *config.Container) (output, error) {
	if config.ValidName(c.Name) != nil {
		return output{}, nil
	}
	unit := units.Service(c.Name)
	out := output{}
	err := out.add(unit, units.ForDeclared(c))
	if len(c.Pulled()) > 0 {
		err = errors.Join(err, out.add(units.Pull(c.Name), units.ForPull(c)))
	}
	if err != nil {
		return output{}, &config.Problem{File: c.Sources[0], Text: err.Error()}
	}
	for _, target := range c.Install.WantedBy {
		out.links = append(out.links, units.WantsDir(target)+"/"+unit)
	}
	for _, target := range c.Install.RequiredBy {
		out.links = append(out.links, units.RequiresDir(target)+"/"+unit)
	}
	return out, nil
}

func (o *output) add(unit string, f units.File) error {
	text, err := f.Bytes()
	o.dropIns = append(o.dropIns, dropIn{units.DropIn(unit), text})
	return err
}
