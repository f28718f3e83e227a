package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// figure is one of cocker's that is measured against a wanted one.
type figure struct {
	name      string
	measure   string
	contender string
	to        string  // the contender that it is measured against; "": the figure counts by itself
	wanted    float64 // the most it may be, in units of the other contender, or as measured
	format    string
}

// goal is a figure that cocker wants to reach.
type goal struct {
	figure
	than  string // the measure that it is measured against; "": the same
	least bool   // wanted is the least that it may be
}

// networked are the peers that a network's figures are measured against.
func networked() []string { return []string{netavark, dockerBridge, nspawnBridge} }

func goals() (goals []goal) {
	const ratio, milliseconds, kibibytes = "%.2f × " + sandboxed, "%.1f ms", "%.0f KiB"
	figures := []figure{
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
		figures = append(figures,
			figure{imageMeasure(pull, g), imageMeasure(pull, g), cockers, podmans, 0.5, "%.2f × " + podmans},
			figure{imageMeasure(pullMemory, g), imageMeasure(pullMemory, g), cockers, "", 100 << 10, kibibytes})
	}
	for _, f := range figures {
		goals = append(goals, goal{figure: f})
	}
	return append(goals, networkGoals()...)
}

// networkGoals: what only moves packets is the kernel's work for all of them, so that
// figures differ by what the machine does besides.
func networkGoals() (goals []goal) {
	const noise = 0.95
	for _, measure := range []string{netStart, netAtOnce} { // to which nspawn returns before it has a network
		goals = append(goals, goal{figure: figure{measure, measure, cockerBridge, netavark, 1, "%.2f × " + netavark}})
	}
	for _, measure := range []string{netAnswer, netAnswers, crowdStart, crowdLast} {
		goals = append(goals, goal{figure: figure{measure, measure, cockerBridge, bestPeer, 1, "%.2f × " + bestPeer}})
	}
	goals = append(goals, goal{figure: figure{netAtOnce + ", by itself", netAtOnce, cockerBridge, "", 15, "%.1f ms"}},
		goal{figure: figure{crowdLast + ", beside the first", crowdLast, cockerBridge, cockerBridge, 1.2, "%.2f × the first"}, than: crowdFirst})
	for _, measure := range []string{toHost, toSibling, fromHost, fromOutside} {
		goals = append(goals, goal{figure: figure{measure, measure, cockerBridge, bestPeer, noise, "%.2f × " + bestPeer}, least: true})
	}
	for _, measure := range []string{askSibling, askOutside} {
		goals = append(goals, goal{figure: figure{measure, measure, cockerBridge, netavark, 1, "%.2f × " + netavark}, least: true})
	}
	return goals
}

// bestPeer stands for the best of networked.
const bestPeer = "the best peer"

// value is the goal's figure for one quantile.
func (g goal) value(r *result, quantile func(summary) float64) float64 {
	value := quantile(r.summary(g.measure, g.contender))
	than := g.measure
	if g.than != "" {
		than = g.than
	}
	switch g.to {
	case "":
	case bestPeer:
		value /= r.best(than, networked(), g.least, quantile)
	default:
		value /= quantile(r.summary(than, g.to))
	}
	return value
}

// best is the highest or the lowest figure of those that have one.
func (r *result) best(measure string, contenders []string, highest bool, quantile func(summary) float64) float64 {
	best := math.NaN()
	for _, name := range contenders {
		value := quantile(r.summary(measure, name))
		if math.IsNaN(best) || highest && value > best || !highest && value < best {
			best = value
		}
	}
	return best
}

func median(s summary) float64  { return s.median }
func minimum(s summary) float64 { return s.minimum }

func (r *result) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nMany are %d, a crowd is %d; generator with %d files. %d execs in a row. Milliseconds; memory in KiB; streams in gigabits, "+
		"answers to names in thousands in a second: median (minimum, 90th percentile)\n", r.Machine, r.Many, r.Crowd, r.Files, r.Execs)
	r.writeFigures(&b)
	b.WriteByte('\n')
	r.writeGoals(&b)
	return b.String()
}

func (r *result) writeFigures(b *strings.Builder) {
	r.writeTable(b, []string{bare, sandboxed, nspawn, noNetwork, bridged}, []string{start, stop, once, atOnce, memory, generator})
	r.writeTable(b, []string{cockers, podmans, crun, dockers}, []string{execTrue})
	r.writeTable(b, []string{fresh, worn, withSession}, []string{initMemory, allMemory, initCPU, descriptors, cgroups, tasks})
	r.writeTable(b, append([]string{cockerBridge}, networked()...), []string{netStart, netAnswer, netAtOnce, netAnswers, crowdStart, crowdFirst, crowdLast,
		toHost, toSibling, fromHost, fromOutside, askSibling, askOutside})
	var measures []string
	for _, g := range kinds() {
		for _, measure := range []string{pull, pullMemory, firstStart, importTar} {
			measures = append(measures, imageMeasure(measure, g))
		}
	}
	measures = append(measures, pruneAll)
	r.writeTable(b, []string{cockers, unsynced, podmans, unpackers}, measures)
}

// writeTable has only the measures of which there are samples. Behind those of a peer is the
// ratio of its median to that of the first contender.
func (r *result) writeTable(b *strings.Builder, contenders, measures []string) {
	measures = slices.DeleteFunc(measures, func(measure string) bool { return len(r.Samples[measure]) == 0 && len(r.Notes[measure]) == 0 })
	if len(measures) == 0 {
		return
	}
	b.WriteByte('\n')
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\t"+strings.Join(contenders, "\t"))
	for _, measure := range measures {
		cells := []string{measure}
		for i, name := range contenders {
			text := cell(r.summary(measure, name))
			if ratio := r.summary(measure, name).median / r.summary(measure, contenders[0]).median; i > 0 && contenders[0] == cockerBridge && !math.IsNaN(ratio) {
				text += fmt.Sprintf(" ×%.2f", ratio)
			}
			if note := r.Notes[measure][name]; note != "" {
				text = strings.TrimPrefix(text+" "+note, "- ")
			}
			cells = append(cells, text)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	w.Flush()
}

func cell(s summary) string {
	if math.IsNaN(s.median) { // not measured
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
		if math.IsNaN(reached) && r.Only != "" {
			continue
		}
		if reached <= g.wanted && !g.least || reached >= g.wanted && g.least {
			verdict = "ok"
		}
		show := func(value float64) string {
			text := fmt.Sprintf(g.format, value)
			if g.least {
				text = "at least " + text
			}
			return text
		}
		number, _, _ := strings.Cut(g.format, " ")
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", g.name, fmt.Sprintf(number, reached),
			fmt.Sprintf(number, g.value(r, minimum)), show(g.wanted), verdict)
	}
	w.Flush()
}
