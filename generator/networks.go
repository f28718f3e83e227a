package generator

import (
	"errors"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/units"
)

// networks writes what the files of networks add to their units. One with problems
// gets what is right in its file, as a container does.
func (g generator) networks() []error {
	locations, err := config.ScanNetworks(g.configDirs)
	errs := []error{err}
	for _, l := range locations {
		if l.File == "" && len(l.DropInDirs) == 0 { // the built-in one
			continue
		}
		d, problems := l.ReadNetwork()
		errs = append(errs, problems)
		if config.ValidNetwork(d.Name) != nil || len(d.Sources) == 0 {
			continue
		}
		out := output{}
		if err := out.add(units.Network(d.Name), units.ForNetwork(d)); err != nil {
			errs = append(errs, &config.Problem{File: d.Sources[0], Text: err.Error()})
			continue
		}
		errs = append(errs, g.sink.emit(out))
	}
	return []error{errors.Join(errs...)}
}
