package config

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestHealth(t *testing.T) {
	for _, c := range []struct {
		name, toml string
		want       Health
	}{
		{"none", ``, Health{}},
		{"a list", `command = ["wget", "-q"]`, Health{Command: []string{"wget", "-q"}}},
		{"a string is the shell's", `command = "a || exit 1"`, Health{Command: []string{"/bin/sh", "-c", "a || exit 1"}}},
		{"everything", `command = ["a"]
user = "1:2"
interval = "1min 30s"
timeout = "1500ms"
retries = 5
start_period = 3600
start_interval = "200ms"
on_failure = "none"`, Health{[]string{"a"}, "1:2", 90 * time.Second, 1500 * time.Millisecond, 5, time.Hour, 200 * time.Millisecond, ReportUnhealthy}},
		{"switched off, as by a drop-in", "command = []\ninterval = 1\nretries = 7", Health{}},
		{"no period", "command = ['a']\nstart_period = 0", Health{Command: []string{"a"}}},
	} {
		parsed, err := Parse("web", "/e/web.toml", "image = 'a'\n[health]\n"+c.toml)
		if err != nil || !reflect.DeepEqual(parsed.Health, c.want) {
			t.Errorf("%s: %v, got %+v, want %+v", c.name, err, parsed, c.want)
			continue
		}
		roundTrip(t, parsed)
	}
}

// The defaults are those that docker-run(1) names.
func TestHealthDefaults(t *testing.T) {
	got := Health{Command: []string{"a"}}.Defaults()
	want := Health{Command: []string{"a"}, Interval: 30 * time.Second, Timeout: 30 * time.Second, Retries: 3, StartInterval: time.Second, OnFailure: RestartUnhealthy}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := (Health{Interval: minHealthTime}).Defaults().StartInterval; got != minHealthTime {
		t.Errorf("start_interval %v is longer than interval", got)
	}
}

func TestHealthProblems(t *testing.T) {
	for _, c := range []struct{ toml, want string }{
		{"image = 'a'\n[health]\ninterval = '1s'", `3: health.interval: has no effect, as health.command is missing`},
		{"image = 'a'\n[health]\ncomand = ['a']", `3: unknown key "comand" in health (did you mean "command"?)`},
		{"image = 'a'\nhealth = 'x'", `2: health: must be a table`},
		{"image = 'a'\n[health]\ncommand = ' '", `3: health.command: is empty`},
		{"image = 'a'\n[health]\ncommand = 1", `3: health.command: must be an array`},
		{"image = 'a'\n[health]\ncommand = ['']", `3: health.command[0]: the program's name is empty`},
		{"image = 'a'\n[health]\ncommand = 'a'\ninterval = 'infinity'", `4: health.interval: "infinity" is not from 100ms to 24h`},
		{"image = 'a'\n[health]\ncommand = 'a'\ninterval = '25h'", `4: health.interval: "25h" is not from 100ms to 24h`},
		{"image = 'a'\n[health]\ncommand = 'a'\ntimeout = '10ms'", `4: health.timeout: "10ms" is not from`},
		{"image = 'a'\n[health]\ncommand = 'a'\ntimeout = 0", `4: health.timeout: "0" is no time above 0`},
		{"image = 'a'\n[health]\ncommand = 'a'\ntimeout = 1.5", `4: health.timeout: must be a time such as "10s", not a float`},
		{"image = 'a'\n[health]\ncommand = 'a'\nretries = 0", `4: health.retries: 0 is out of range; use 1 to 1000`},
		{"image = 'a'\n[health]\ncommand = 'a'\nuser = 'a b'", `4: health.user: "a b" is not "USER" or "USER:GROUP"`},
		{"image = 'a'\n[health]\ncommand = 'a'\non_failure = 'kill'", `4: health.on_failure: "kill" is not one of "restart"`},
		{"image = 'a'\ninit = 'none'\n[health]\ncommand = 'a'", `4: health.command: needs init = "cocker", which runs it; with "none"`},
		{"image = 'a'\nnotify_ready = true\n[health]\ncommand = 'a'", `2: notify_ready: health.command decides when`},
		{"image = 'a'\n[health]\ncommand = 'a'\nstart_period = '1min'\n[service]\nTimeoutStartSec = '60'", `6: service.TimeoutStartSec: 60 leaves no time for health.start_period`},
		{"image = 'a'\n[service]\nWatchdogSec = '60'", `3: service.WatchdogSec: WatchdogSec= is about systemd's watchdog`},
	} {
		_, err := Parse("web", "/e/web.toml", c.toml)
		if err == nil || !strings.Contains(err.Error(), "/e/web.toml:"+c.want) {
			t.Errorf("%s\ngot  %v\nwant %s", c.toml, err, c.want)
		}
	}
}
