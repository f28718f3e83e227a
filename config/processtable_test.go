package config

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

const severalProcesses = `image = "a"
[process.migrate]
command = ["migrate"]
ready = "exit"
restart = "no"
[process.db]
command = ["postgres", "-D", "/data"]
user = "postgres"
workdir = "/data"
after = ["migrate"]
ready = "notify"
restart = "always"
restart_delay = "500ms"
restart_delay_max = "1min"
restart_limit = 0
stop_signal = "INT"
stop_timeout = "infinity"
[process.db.environment]
TZ = "UTC"
A = 1
[process.slow]
command = ["x"]
restart_delay = "5min"
[process.quick]
command = ["x"]
restart_delay_max = 2
restart_delay = 2
[process.main]
after = ["db"]
`

func TestProcesses(t *testing.T) {
	c, err := Parse("web", "/e/web.toml", severalProcesses)
	if err != nil {
		t.Fatal(err)
	}
	want := []Process{
		{Name: "migrate", Command: []string{"migrate"}, Ready: ReadyExit, Restart: RestartNo,
			RestartDelay: time.Second, RestartDelayMax: 30 * time.Second, RestartLimit: 10, StopTimeout: 10 * time.Second},
		{Name: "db", Command: []string{"postgres", "-D", "/data"}, User: "postgres", WorkDir: "/data", After: []string{"migrate"},
			Environment: []EnvironmentVariable{{"A", "1"}, {"TZ", "UTC"}}, Ready: ReadyNotify, Restart: RestartAlways,
			RestartDelay: 500 * time.Millisecond, RestartDelayMax: time.Minute, StopSignal: "SIGINT", StopTimeout: math.MaxInt64},
		{Name: "slow", Command: []string{"x"}, Ready: ReadyExec, Restart: RestartOnFailure,
			RestartDelay: 5 * time.Minute, RestartDelayMax: 5 * time.Minute, RestartLimit: 10, StopTimeout: 10 * time.Second},
		{Name: "quick", Command: []string{"x"}, Ready: ReadyExec, Restart: RestartOnFailure,
			RestartDelay: 2 * time.Second, RestartDelayMax: 2 * time.Second, RestartLimit: 10, StopTimeout: 10 * time.Second},
		{Name: "main", After: []string{"db"}, Ready: ReadyExec, Restart: RestartNo,
			RestartDelay: time.Second, RestartDelayMax: 30 * time.Second, RestartLimit: 10, StopTimeout: 10 * time.Second},
	}
	if !reflect.DeepEqual(c.Processes, want) {
		t.Errorf("got  %+v\nwant %+v", c.Processes, want)
	}
	roundTrip(t, c)
}

// A drop-in replaces keys of a table, and variables of its environment, and adds tables.
func TestProcessesOfADropIn(t *testing.T) {
	sources := []*source{
		{file: "/e/web.toml", text: "image = 'a'\n[process.db]\ncommand = ['x']\nuser = 'u'\nenvironment = {A = 'a', B = 'b'}\n"},
		{file: "/e/web.toml.d/1.toml", text: "[process.db]\ncommand = ['y']\n[process.db.environment]\nB = 'c'\n[process.more]\ncommand = ['z']\n"},
	}
	c, _, err := build(Location{Name: "web", File: "/e/web.toml"}, sources, nil)
	if err != nil {
		t.Fatal(err)
	}
	db := newProcess("db")
	db.Command, db.User, db.Environment = []string{"y"}, "u", []EnvironmentVariable{{"A", "a"}, {"B", "c"}}
	more := newProcess("more")
	more.Command = []string{"z"}
	if want := []Process{db, more}; !reflect.DeepEqual(c.Processes, want) {
		t.Errorf("got  %+v\nwant %+v", c.Processes, want)
	}
}

func TestOrder(t *testing.T) {
	process := func(name, after string) string {
		return "[process." + name + "]\ncommand = ['x']\nafter = [" + after + "]\n"
	}
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{process("b", "") + process("a", ""), "main b a"},
		{process("b", "") + process("main", "") + process("a", ""), "b main a"},
		{process("web", "'db'") + process("db", "") + process("main", "'web'"), "db web main"},
		{process("c", "'main'") + process("b", "'c'") + process("a", ""), "main c b a"},
		{process("c", "'b', 'a'") + process("b", "'a'") + process("a", "") + process("main", "'c'"), "a b c main"},
	} {
		container, err := Parse("web", "/e/web.toml", "image = 'a'\n"+c.text)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, p := range container.Ordered() {
			names = append(names, p.Name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s\ngot  %q\nwant %q", c.text, got, c.want)
		}
	}
}

func TestProcessProblems(t *testing.T) {
	const head = "image = \"a\"\n" // so the text below begins in line 2
	for _, c := range []struct {
		text string
		want []string
	}{
		{"process = 1", []string{"2: process: must be tables; write [process.NAME]"}},
		{"[[process]]\ncommand = ['x']", []string{"2: process: must be tables; write [process.NAME]"}},
		{"[process]\ncommand = ['x']", []string{"3: process.command: must be a table; write [process.NAME]"}},
		{"[process.db]", []string{"2: process.db: command is missing"}},
		{"[process.db.environment]\nA = 1", []string{"2: process.db: command is missing"}},
		{"[process.db.environment]", []string{"2: process.db: command is missing"}},
		{"[process.db]\ncommand = 'x y'", []string{"3: process.db.command: must be an array"}},
		{"[process.db]\ncommand = []", []string{"3: process.db.command: is empty"}},
		{"[process.db]\ncomand = ['x']", []string{`3: unknown key "comand" in process.db (did you mean "command"?)`}},
		{"[process.\"a b\"]\ncommand = ['x']", []string{`2: process."a b": is no name of a process`}},
		{"[process.\"../a\"]\ncommand = ['x']", []string{`2: process."../a": is no name of a process`}},
		{"[process.db]\ncommand = ['x']\nuser = 'a b'", []string{"4: process.db.user: "}},
		{"[process.db]\ncommand = ['x']\nworkdir = 'a'", []string{`4: process.db.workdir: "a" must be an absolute path`}},
		{"[process.db]\ncommand = ['x']\nenvironment = 1", []string{"4: process.db.environment: must be a table"}},
		{"[process.db]\ncommand = ['x']\n[process.db.environment]\n\n\"A B\" = 1", []string{`6: process.db.environment."A B": is no name of a variable`}},
		{"[process.db]\ncommand = ['x']\nready = 'started'", []string{`4: process.db.ready: "started" is not one of "exec" "notify" "exit"`}},
		{"[process.db]\ncommand = ['x']\nrestart = 'yes'", []string{`4: process.db.restart: "yes" is not one of "no" "on-failure" "always"`}},
		{"[process.db]\ncommand = ['x']\nready = 'exit'\nrestart = 'always'", []string{`5: process.db.restart: "always" starts it again after every end`}},
		{"[process.db]\ncommand = ['x']\nrestart_delay = 0", []string{`4: process.db.restart_delay: "0" is no time above 0`}},
		{"[process.db]\ncommand = ['x']\nrestart_delay = '1min'\nrestart_delay_max = 10", []string{"5: process.db.restart_delay_max: is less than restart_delay, 60s"}},
		{"[process.db]\ncommand = ['x']\nrestart_limit = -1", []string{"4: process.db.restart_limit: -1 is out of range"}},
		{"[process.db]\ncommand = ['x']\nstop_signal = 'TREM'", []string{`4: process.db.stop_signal: "TREM" is no signal`}},
		{"[process.db]\ncommand = ['x']\nstop_timeout = true", []string{`4: process.db.stop_timeout: must be a time such as "10s", not a boolean`}},
		{"[process.db]\ncommand = ['x']\nafter = [\n'main',\n'bd']", []string{`6: process.db.after[1]: there is no process "bd"; known are main`}},
		{"[process.db]\ncommand = ['x']\nafter = 'main'", []string{"4: process.db.after: must be an array of names"}},
		{"[process.db]\ncommand = ['x']\nafter = ['db']", []string{"4: process.db.after[0]: a process can't wait for itself"}},
		{"[process.a]\ncommand = ['x']\nafter = ['b']\n[process.b]\ncommand = ['x']\nafter = ['c']\n[process.c]\ncommand = ['x']\nafter = ['a']",
			[]string{"4: process.a.after: processes wait for each other: a after b after c after a"}},
		{"[process.a]\ncommand = ['x']\nafter = ['main']\n[process.main]\nafter = ['a']", []string{"4: process.a.after: processes wait for each other: a after main after a"}},
		{"init = 'none'\n[process.db]\ncommand = ['x']", []string{`3: process.db: cocker's init starts the processes, and this container has init = "none"`}},
		{"command = ['x']\n[process.main]\ncommand = ['y']", []string{"2: command: the container's command is that of [process.main]; keep one"}},
		{"entrypoint = ['x']\n[process.main]\ncommand = ['y']", []string{"2: entrypoint: the container's command is that of [process.main]; keep one"}},
		{"notify_ready = true\n[process.main]", []string{`2: notify_ready: there is [process.main], so write ready = "notify" there`}},
		{"[process.main]\nready = 'exit'", []string{"3: process.main.ready: the container ends when main does"}},
	} {
		checkProblem(t, head+c.text, c.want)
	}
	var many strings.Builder
	for i := range maxProcesses + 1 {
		many.WriteString("[process.p" + strings.Repeat("x", i%50) + string(rune('a'+i/50)) + "]\ncommand = ['x']\n")
	}
	checkProblem(t, head+many.String(), []string{"there are 65 processes; a container may have 64"})
}
