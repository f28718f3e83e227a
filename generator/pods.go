package generator

import (
	"errors"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/units"
)

// pods writes what the files of pods add to their units. A bad one never stops another;
// its start tells what is wrong with it.
func (g generator) pods() []error {
	names, err := config.ListPods(g.configDirs)
	errs := []error{err}
	for _, name := range names {
		pod, err := config.LoadPod(g.configDirs, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out := output{}
		errs = append(errs, errors.Join(out.add(units.Pod(name), units.ForPod(pod)), g.sink.emit(out)))
	}
	return errs
}
