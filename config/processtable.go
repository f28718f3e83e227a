package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ReadyMode says when those that wait for a process may start.
type ReadyMode string

// The values of the key process.NAME.ready.
const (
	ReadyExec   ReadyMode = "exec"   // it has been executed
	ReadyNotify ReadyMode = "notify" // it has said READY=1
	ReadyExit   ReadyMode = "exit"   // it has ended, and well
)

// RestartMode says after which end a process is started again.
type RestartMode string

// The values of the key process.NAME.restart.
const (
	RestartNo        RestartMode = "no"
	RestartOnFailure RestartMode = "on-failure"
	RestartAlways    RestartMode = "always"
)

// MainProcess is the name of the process whose end is the container's.
const MainProcess = "main"

// What a process has whose table does not say otherwise.
const (
	defaultRestartDelay    = time.Second
	defaultRestartDelayMax = 30 * time.Second
	defaultRestartLimit    = 10
	defaultStopTimeout     = 10 * time.Second
)

// maxProcesses bounds the tables: init has three descriptors for each.
const maxProcesses = 64

// Process is one [process.NAME] table, with its defaults filled in.
type Process struct {
	Name            string
	Command         []string // nil, which only main may have: the container's
	User            string   // "": the container's
	WorkDir         string   // "": the container's
	Environment     []EnvironmentVariable
	After           []string // names of the processes that must be ready first
	Ready           ReadyMode
	Restart         RestartMode
	RestartDelay    time.Duration // before the first restart; doubled for each that follows
	RestartDelayMax time.Duration // what it is doubled up to, and how long a run is a success
	RestartLimit    int           // restarts in a row; 0: any number
	StopSignal      string        // "": SIGTERM, or for main the container's
	StopTimeout     time.Duration // math.MaxInt64: as long as it takes
}

func newProcess(name string) Process {
	p := Process{
		Name: name, Ready: ReadyExec, Restart: RestartOnFailure, RestartDelay: defaultRestartDelay,
		RestartDelayMax: defaultRestartDelayMax, RestartLimit: defaultRestartLimit, StopTimeout: defaultStopTimeout,
	}
	if name == MainProcess { // its end is the container's, and systemd's Restart= acts on that
		p.Restart = RestartNo
	}
	return p
}

// processKeys are the keys of a [process.NAME] table, and what each sets.
var processKeys = [...]struct { //nolint:gochecknoglobals // a table, never written
	key string
	set func(*builder, *entry, *Process)
}{
	{"command", func(b *builder, e *entry, p *Process) { p.Command = b.someArguments(e) }},
	{"user", func(b *builder, e *entry, p *Process) { p.User = b.account(e) }},
	{"workdir", func(b *builder, e *entry, p *Process) { p.WorkDir = b.path(e, e.value) }},
	{"environment", func(b *builder, e *entry, _ *Process) { b.fail(e, nil, "must be a table, not %s", kind(e.value)) }},
	{"after", func(b *builder, e *entry, p *Process) { p.After = b.processNames(e) }},
	{"ready", func(b *builder, e *entry, p *Process) {
		p.Ready = oneOf(b, e, ReadyExec, ReadyNotify, ReadyExit)
	}},
	{"restart", func(b *builder, e *entry, p *Process) {
		p.Restart = oneOf(b, e, RestartNo, RestartOnFailure, RestartAlways)
	}},
	{"restart_delay", func(b *builder, e *entry, p *Process) { p.RestartDelay = b.processTime(e) }},
	{"restart_delay_max", func(b *builder, e *entry, p *Process) { p.RestartDelayMax = b.processTime(e) }},
	{"restart_limit", func(b *builder, e *entry, p *Process) { p.RestartLimit = int(b.integer(e, 0, 1_000_000)) }}, //nolint:gosec // bounded
	{"stop_signal", func(b *builder, e *entry, p *Process) { p.StopSignal = b.signalName(e) }},
	{"stop_timeout", func(b *builder, e *entry, p *Process) { p.StopTimeout = b.processTime(e) }},
}

// environmentTable is the table in a [process.NAME] table.
const environmentTable = "environment"

// process takes one key of a [process.NAME] table, or the table as such.
func (b *builder) process(e *entry) {
	if len(e.inner) == 0 {
		if _, ok := e.value.(map[string]any); !ok {
			b.fail(e, nil, "must be a table; write [process.NAME] on a line of its own and its keys below")
			return
		}
		b.processNamed(e, e.key)
		return
	}
	p := b.processNamed(e, e.inner[0])
	if len(e.inner) == 2 {
		if v, ok := b.variable(e); ok {
			p.Environment = append(p.Environment, v)
		}
		return
	}
	var known []string
	for _, k := range processKeys {
		if k.key == e.key {
			k.set(b, e, p)
			return
		}
		known = append(known, k.key)
	}
	b.unknown(e, e.path(), known)
}

// processNamed finds the process, or makes it.
func (b *builder) processNamed(e *entry, name string) *Process {
	for i := range b.c.Processes {
		if b.c.Processes[i].Name == name {
			return &b.c.Processes[i]
		}
	}
	if problem := badProcessName(name); problem != "" {
		b.problems = append(b.problems, &Problem{File: e.src.file, Line: e.src.line(e.path()), Key: showPath([]any{"process", name}), Text: problem})
	}
	b.c.Processes = append(b.c.Processes, newProcess(name))
	return &b.c.Processes[len(b.c.Processes)-1]
}

// badProcessName: it becomes the name of a cgroup and of a socket, and is shown as it is.
func badProcessName(name string) string {
	bad := strings.IndexFunc(name, func(r rune) bool { return !isAlphanumeric(r) && r != '_' && r != '-' })
	if name == "" || len(name) > maxLabel || bad >= 0 || !isAlphanumeric(rune(name[0])) {
		return `is no name of a process; use letters, digits, "_" and "-", beginning with a letter or digit, ` + strconv.Itoa(maxLabel) + " at most"
	}
	return ""
}

func oneOf[T ~string](b *builder, e *entry, values ...T) T {
	s, ok := b.plain(e, e.value)
	if ok && slices.Contains(values, T(s)) {
		return T(s)
	}
	if ok {
		b.fail(e, nil, "%q is not one of %s", s, strings.Trim(fmt.Sprintf("%q", values), "[]"))
	}
	return values[0]
}

// processTime is a time without bounds.
func (b *builder) processTime(e *entry) time.Duration {
	return b.timeSpan(e, `"500ms", "10s", "1min 30s", or "infinity"`)
}

// timeSpan is a time as systemd.time(7) has it, in seconds without a unit; 0 if it is
// none. The examples are for the error.
func (b *builder) timeSpan(e *entry, examples string) time.Duration {
	text, isText := e.value.(string)
	if n, ok := e.value.(int64); ok {
		text, isText = strconv.FormatInt(n, 10), true
	}
	if !isText {
		b.fail(e, nil, `must be a time such as "10s", not %s`, kind(e.value))
		return 0
	}
	span, ok := TimeSpan(text)
	if !ok {
		b.fail(e, nil, "%q is no time above 0; write %s", text, examples)
		return 0
	}
	return span
}

// formatTimeSpan writes a time so that TimeSpan reads it.
func formatTimeSpan(d time.Duration) string {
	switch {
	case d > maxTimeSpan:
		return "infinity"
	case d%time.Second == 0:
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}

// someArguments is a program and its arguments.
func (b *builder) someArguments(e *entry) []string {
	arguments := b.arguments(e)
	if arguments != nil && len(arguments) == 0 {
		b.fail(e, nil, "is empty; name the program to run")
	}
	return arguments
}

func (b *builder) processNames(e *entry) []string {
	var names []string
	for i, v := range b.array(e, `names of processes, such as ["db"]`) {
		if s, ok := b.plain(e, v, i); ok {
			names = append(names, s)
		}
	}
	return names
}

// checkProcesses checks what concerns more than one key of the [process.NAME] tables.
func (b *builder) checkProcesses(entries []*entry) {
	if len(b.c.Processes) == 0 {
		return
	}
	before := len(b.problems)
	first := processEntry(entries, b.c.Processes[0].Name, "")
	switch {
	case b.c.Init != InitCocker:
		b.fail(first, nil, `cocker's init starts the processes, and this container has init = %q; leave out one of them`, b.c.Init)
	case len(b.c.Processes) > maxProcesses:
		b.fail(first, nil, "there are %d processes; a container may have %d", len(b.c.Processes), maxProcesses)
	}
	for i := range b.c.Processes {
		b.checkProcess(entries, &b.c.Processes[i])
	}
	b.checkMain(entries)
	if len(b.problems) == before {
		b.checkOrder(entries)
	}
	for i := range b.c.Processes {
		sortVariables(b.c.Processes[i].Environment)
	}
}

// processEntry is where a key of a process stands, or else something of that process.
func processEntry(entries []*entry, name, key string) *entry {
	var some *entry
	for _, e := range entries {
		switch {
		case e.table != "process":
		case len(e.inner) == 1 && e.inner[0] == name && e.key == key:
			return e
		case len(e.inner) == 0 && e.key == name, some == nil && len(e.inner) > 0 && e.inner[0] == name:
			some = e
		}
	}
	return some
}

func (b *builder) checkProcess(entries []*entry, p *Process) {
	if p.Name != MainProcess && processEntry(entries, p.Name, "command").key != "command" {
		b.fail(processEntry(entries, p.Name, ""), nil, "command is missing; name the program to run")
	}
	for i, other := range p.After {
		known := other == MainProcess || slices.ContainsFunc(b.c.Processes, func(p Process) bool { return p.Name == other })
		switch e := processEntry(entries, p.Name, "after"); {
		case !known:
			b.fail(e, []any{i}, "there is no process %q; known are %s", other, strings.Join(b.processesBut(p.Name), ", "))
		case other == p.Name:
			b.fail(e, []any{i}, "a process can't wait for itself")
		}
	}
	if p.Ready == ReadyExit && p.Restart == RestartAlways {
		b.fail(processEntry(entries, p.Name, "restart"), nil, `"always" starts it again after every end, but it is to be ready = "exit", when it has ended; use "on-failure"`)
	}
	if p.RestartDelay <= p.RestartDelayMax {
		return
	}
	if e := processEntry(entries, p.Name, "restart_delay_max"); e.key == "restart_delay_max" {
		b.fail(e, nil, "is less than restart_delay, %s", formatTimeSpan(p.RestartDelay))
	}
	p.RestartDelayMax = p.RestartDelay
}

// processesBut are the names of all other processes.
func (b *builder) processesBut(name string) []string {
	var names []string
	for _, p := range b.c.Ordered() {
		if p.Name != name {
			names = append(names, p.Name)
		}
	}
	return names
}

// checkMain keeps apart what the container's own keys and [process.main] say.
func (b *builder) checkMain(entries []*entry) {
	i := slices.IndexFunc(b.c.Processes, func(p Process) bool { return p.Name == MainProcess })
	if i < 0 {
		return
	}
	p := &b.c.Processes[i]
	for _, key := range []string{"command", "entrypoint"} {
		if e := find(entries, "", key); e != nil && p.Command != nil {
			b.fail(e, nil, "the container's command is that of [process.main]; keep one of them")
		}
	}
	if e := find(entries, "", "notify_ready"); e != nil && b.c.NotifyReady {
		b.fail(e, nil, `there is [process.main], so write ready = "notify" there`)
	}
	if p.Ready == ReadyExit {
		b.fail(processEntry(entries, MainProcess, "ready"), nil, `the container ends when main does, so nothing can come after that; use "exec" or "notify"`)
	}
}

// checkOrder finds processes that wait for each other.
func (b *builder) checkOrder(entries []*entry) {
	ordered := b.c.Ordered()
	placed := map[string]bool{}
	for _, p := range ordered {
		for _, other := range p.After {
			if !placed[other] {
				b.fail(processEntry(entries, p.Name, "after"), nil, "processes wait for each other: %s", circle(ordered, p.Name))
				return
			}
		}
		placed[p.Name] = true
	}
}

// circle says how a process comes to wait for itself.
func circle(all []Process, start string) string {
	after := map[string][]string{}
	for _, p := range all {
		after[p.Name] = p.After
	}
	var seek func(name string, path []string) []string
	seen := map[string]bool{}
	seek = func(name string, path []string) []string {
		path = append(path, name)
		if name == start && len(path) > 1 {
			return path
		}
		if seen[name] {
			return nil
		}
		seen[name] = true
		for _, next := range after[name] {
			if found := seek(next, path); found != nil {
				return found
			}
		}
		return nil
	}
	if found := seek(start, nil); found != nil {
		return strings.Join(found, " after ")
	}
	return start + " after " + strings.Join(after[start], ", ")
}

// Ordered gives the processes in the order in which they start: each behind those that
// it waits for, else as in the file. The container's own command is main, the first,
// where it has no table. None: there are no tables. Processes that wait for each other
// come last.
func (c *Container) Ordered() []Process {
	if len(c.Processes) == 0 {
		return nil
	}
	left := slices.Clone(c.Processes)
	if !slices.ContainsFunc(left, func(p Process) bool { return p.Name == MainProcess }) {
		main := newProcess(MainProcess)
		if c.NotifyReady {
			main.Ready = ReadyNotify
		}
		left = slices.Insert(left, 0, main)
	}
	var ordered []Process
	for len(left) > 0 {
		next := slices.IndexFunc(left, func(p Process) bool {
			return !slices.ContainsFunc(left, func(other Process) bool { return slices.Contains(p.After, other.Name) })
		})
		if next < 0 {
			return append(ordered, left...)
		}
		ordered = append(ordered, left[next])
		left = slices.Delete(left, next, next+1)
	}
	return ordered
}
