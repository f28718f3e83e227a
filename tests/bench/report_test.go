package main

import (
	"math"
	"strings"
	"testing"
)

// The nearest rank of n sorted values for share p is the ceil(p*n)-th.
func TestSummarize(t *testing.T) {
	cases := []struct {
		name   string
		values []float64
		want   summary
	}{
		{"one", []float64{7}, summary{7, 7, 7}},
		{"odd", []float64{5, 1, 3}, summary{3, 1, 5}},
		{"ten", []float64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, summary{5, 1, 9}},
	}
	for _, c := range cases {
		if got := summarize(c.values); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	if got := summarize(nil); !math.IsNaN(got.median) {
		t.Errorf("no samples: %+v", got)
	}
}

// A ratio is that of the medians; the wanted figure itself is still reached, and
// what was not measured is not.
func TestGoals(t *testing.T) {
	r := newResult("a machine", settings{many: 60, files: 1000})
	r.add(start, sandboxed, 20)
	r.add(start, noNetwork, 24)
	r.add(start, bridged, 30)
	for _, want := range []string{
		"start, no network 1.20 1.20 1.20 × sandboxed service ok",
		"start, bridge and port 1.50 1.50 1.40 × sandboxed service missed",
		"generator NaN NaN 40.0 ms missed",
	} {
		if report := strings.Join(strings.Fields(r.report()), " "); !strings.Contains(report, want) {
			t.Errorf("%q is not in\n%s", want, r.report())
		}
	}
}
