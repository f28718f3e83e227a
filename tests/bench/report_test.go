package main

import (
	"fmt"
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

// The best peer is the fastest of those that were measured; of streams the one that moves
// most. What is left out of a run is no goal of it.
func TestNetworkGoals(t *testing.T) {
	r := newResult("a machine", settings{only: "network"})
	for name, took := range map[string]float64{cockerBridge: 30, netavark: 100, nspawnBridge: 40} {
		r.add(netStart, name, took)
		r.add(netAnswer, name, took)
		r.add(toHost, name, took)
	}
	r.note(crowdStart, netavark, "not in 3m0s")
	report := strings.Join(strings.Fields(r.report()), " ")
	for _, want := range []string{
		"start, bridge and port 0.30 0.30 1.00 × podman, netavark ok",
		"start, until the port answers 0.75 0.75 1.00 × the best peer ok",
		"container to host 0.30 0.30 at least 0.95 × the best peer missed",
		"start, bridge and port 30.0 (30.0, 30.0) 100.0 (100.0, 100.0) ×3.33 - 40.0 (40.0, 40.0) ×1.33",
		"a crowd at once, until all answer, each - not in 3m0s - -",
	} {
		if !strings.Contains(report, want) {
			t.Errorf("%q is not in\n%s", want, r.report())
		}
	}
	if strings.Contains(report, "generator NaN") {
		t.Errorf("a goal of what was not measured:\n%s", r.report())
	}
}

func TestSelected(t *testing.T) {
	cases := []struct {
		only, group string
		want        bool
	}{
		{"", "images", true},
		{"images", "", true},
		{"network", "network-crowd", true},
		{"network-crowd", "network", true},
		{"network-crowd", "network-names", false},
		{"start,network-names", "network-names", true},
		{"start", "network-start", false},
	}
	for _, c := range cases {
		if got := selected(c.only, c.group); got != c.want {
			t.Errorf("with %q %q: %t", c.only, c.group, got)
		}
	}
	if checkGroups("network,start") != nil || checkGroups("networks") == nil {
		t.Error("a group that there is not is taken for one")
	}
}

// As iperf3 3.18 and dnsperf 2.14 print it.
func TestReportsOfTools(t *testing.T) {
	const streamed = `{"end":{"sum_sent":{"bits_per_second":9.1e9},"sum_received":{"bits_per_second":9e9}}}`
	if got, err := received([]byte(streamed)); got != 9 || err != nil {
		t.Error(got, err)
	}
	if got, err := received([]byte(`{"error":"unable to connect"}`)); err == nil {
		t.Error(got)
	}
	const report = `
Statistics:

  Queries sent:         56789
  Queries completed:    56789 (%s%%)
  Queries lost:         0 (0.00%%)

  Response codes:       %s 56789 (100.00%%)
  Average packet size:  request 33, response 49
  Run time (s):         1.000123
  Queries per second:   56782.015812
`
	cases := []struct {
		completed, code string
		want            bool
	}{{"100.00", "NOERROR", true}, {"97.00", "NOERROR", false}, {"100.00", "REFUSED", false}}
	for _, c := range cases {
		got, err := answered(fmt.Sprintf(report, c.completed, c.code))
		if (err == nil) != c.want || c.want && math.Round(got) != 57 {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}
}
