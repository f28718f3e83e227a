package main

import (
	"math"
	"slices"
)

// result is everything that a run has measured.
type result struct {
	Machine string             `json:"machine"`
	Many    int                `json:"many"`  // containers started at once
	Files   int                `json:"files"` // read by the generator
	Execs   int                `json:"execs"` // one after the other
	Samples map[string]samples `json:"samples"`
	// Notes say what there is to know of a measurement beside its samples, by contender.
	Notes map[string]map[string]string `json:"notes,omitempty"`
	Crowd int                          `json:"crowd"`          // containers with a network at a time
	Only  string                       `json:"only,omitempty"` // the groups that were measured; "": all
}

// samples are those of one measurement, by contender: milliseconds; for memory KiB, for
// streams gigabits in a second, for names thousands of answers in a second.
type samples map[string][]float64

func newResult(machine string, s settings) *result {
	return &result{Machine: machine, Many: s.many, Files: s.files, Execs: s.execs, Crowd: s.crowd, Only: s.only,
		Samples: map[string]samples{}, Notes: map[string]map[string]string{}}
}

func (r *result) add(measure, contender string, sample float64) {
	if r.Samples[measure] == nil {
		r.Samples[measure] = samples{}
	}
	r.Samples[measure][contender] = append(r.Samples[measure][contender], sample)
}

func (r *result) note(measure, contender, text string) {
	if r.Notes[measure] == nil {
		r.Notes[measure] = map[string]string{}
	}
	r.Notes[measure][contender] = text
}

// summary is what the report shows of samples.
type summary struct{ median, minimum, ninetieth float64 }

// summarize takes quantiles by the nearest rank, so each is a value that was
// measured; of no samples they are NaN.
func summarize(values []float64) summary {
	if len(values) == 0 {
		return summary{math.NaN(), math.NaN(), math.NaN()}
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := func(share float64) float64 { return sorted[max(0, int(math.Ceil(share*float64(len(sorted))))-1)] }
	return summary{median: rank(0.5), minimum: sorted[0], ninetieth: rank(0.9)}
}

func (r *result) summary(measure, contender string) summary {
	return summarize(r.Samples[measure][contender])
}
