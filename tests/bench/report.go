package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// goal is a figure that cocker wants to reach.
type goal struct {
	name      string
	measure   string
	contender string
	to        string  // the contender that it is measured against; "": the figure counts by itself
	wanted    float64 // the most it may be, in units of the other contender, or as measured
	format    string
}

func goals() []goal {
	const ratio, milliseconds, kibibytes = "%.2f × " + sandboxed, "%.1f ms", "%.0f KiB"
	goals := []goal{
		{"start, no network", start, noNetwork, sandboxed, 1.2, ratio},
		{"start, bridge and port", start, bridged, sandboxed, 1.4, ratio},
		{"stop, no network", stop, noNetwork, sandboxed, 2, ratio},
		{"stop, bridge and port", stop, bridged, sandboxed, 2, ratio},
		{"run to its end, bridge and port", once, bridged, "", 45, milliseconds},
		{"many at once, each, no network", atOnce, noNetwork, "", 15, milliseconds},
		{"many at once, each, bridge and port", atOnce, bridged, "", 15, milliseconds},
		{"memory", memory, noNetwork, "", 1024, kibibytes},
		{"memory, init = \"none\"", memory, withoutInit().name, "", 0, kibibytes},
		{"generator", generator, noNetwork, "", 40, milliseconds},
		{"exec of true", execTrue, cockers, "", 10, milliseconds},
		{"exec of true, beside podman", execTrue, cockers, podmans, 1, "%.2f × " + podmans},
		{"exec of true, beside docker", execTrue, cockers, dockers, 1, "%.2f × " + dockers},
		{"after many execs, descriptors", descriptors, worn, fresh, 1, "%.2f × before"},
		{"after many execs, cgroups", cgroups, worn, fresh, 1, "%.2f × before"},
		{"after many execs, processes", tasks, worn, fresh, 1, "%.2f × before"},
		{"after many execs, memory of init", initMemory, worn, "", 1024, kibibytes},
		{"with a session, memory of init", initMemory, withSession, "", 1024, kibibytes},
		{"with a session, CPU time in a second", initCPU, withSession, "", 1000, "%.0f µs"},
	}
	for _, g := range kinds() {
		goals = append(goals,
			goal{imageMeasure(pull, g), imageMeasure(pull, g), cockers, podmans, 0.5, "%.2f × " + podmans},
			goal{imageMeasure(pullMemory, g), imageMeasure(pullMemory, g), cockers, "", 100 << 10, kibibytes})
	}
	return goals
}

// value is the goal's figure for one quantile.
func (g goal) value(r *result, quantile func(summary) float64) float64 {
	value := quantile(r.summary(g.measure, g.contender))
	if g.to != "" {
		value /= quantile(r.summary(g.measure, g.to))
	}
	return value
}

func median(s summary) float64  { return s.median }
func minimum(s summary) float64 { return s.minimum }

func (r *result) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%d at once; generator with %d files. %d execs in a row. Milliseconds; memory in KiB: median (minimum, 90th percentile)\n\n", r.Machine, r.Many, r.Files, r.Execs)
	r.writeFigures(&b)
	b.WriteByte('\n')
	r.writeGoals(&b)
	return b.String()
}

func (r *result) writeFigures(b *strings.Builder) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	r.writeTable(w, []string{bare, sandboxed, nspawn, noNetwork, bridged}, []string{start, stop, once, atOnce, memory, generator})
	w.Flush()
	b.WriteByte('\n')
	r.writeTable(w, []string{cockers, podmans, crun, dockers}, []string{execTrue})
	w.Flush()
	b.WriteByte('\n')
	r.writeTable(w, []string{fresh, worn, withSession}, []string{initMemory, allMemory, initCPU, descriptors, cgroups, tasks})
	w.Flush()
	var measures []string
	for _, g := range kinds() {
		for _, measure := range []string{pull, pullMemory, firstStart, importTar} {
			measures = append(measures, imageMeasure(measure, g))
		}
	}
	measures = append(measures, pruneAll)
	b.WriteByte('\n')
	r.writeTable(w, []string{cockers, unsynced, podmans, unpackers}, measures)
	w.Flush()
}

func (r *result) writeTable(w io.Writer, contenders, measures []string) {
	fmt.Fprintln(w, "\t"+strings.Join(contenders, "\t"))
	for _, measure := range measures {
		cells := []string{measure}
		for _, name := range contenders {
			cells = append(cells, cell(r.summary(measure, name)))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
}

func cell(s summary) string {
	if s.median != s.median { // NaN: not measured
		return "-"
	}
	return fmt.Sprintf("%.1f (%.1f, %.1f)", s.median, s.minimum, s.ninetieth)
}

func (r *result) writeGoals(b *strings.Builder) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "goal\tmedian\tminimum\twanted, at most\t")
	for _, g := range goals() {
		verdict := "missed"
		reached := g.value(r, median)
		if reached <= g.wanted {
			verdict = "ok"
		}
		show := func(value float64) string { return fmt.Sprintf(g.format, value) }
		number, _, _ := strings.Cut(g.format, " ")
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", g.name, fmt.Sprintf(number, reached),
			fmt.Sprintf(number, g.value(r, minimum)), show(g.wanted), verdict)
	}
	w.Flush()
}
