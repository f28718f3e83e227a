package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// OnFailure says what follows when a container has become unhealthy.
type OnFailure string

// The values of the key health.on_failure.
const (
	RestartUnhealthy OnFailure = "restart" // systemd's watchdog ends it, Restart= of the unit decides
	ReportUnhealthy  OnFailure = "none"    // it is reported
)

// Health is the [health] table; a key that is not set is zero, see Defaults.
type Health struct {
	Command       []string // nil: there is no health check
	User          string   // as Container.User; "": the command's
	Interval      time.Duration
	Timeout       time.Duration
	Retries       int
	StartPeriod   time.Duration
	StartInterval time.Duration
	OnFailure     OnFailure
}

// The defaults are Docker's, but for StartInterval, which is 5 s there: here others
// wait for the first success.
const (
	defaultHealthInterval = 30 * time.Second
	defaultHealthTimeout  = 30 * time.Second
	defaultHealthRetries  = 3
	defaultStartInterval  = time.Second
)

// Checked tells whether there is a health check.
func (h Health) Checked() bool { return len(h.Command) > 0 }

// Restarts tells whether a container is restarted when it has become unhealthy.
func (h Health) Restarts() bool { return h.Checked() && h.OnFailure != ReportUnhealthy }

// Defaults gives the table with all defaults filled in.
func (h Health) Defaults() Health {
	set := func(to *time.Duration, value time.Duration) {
		if *to == 0 {
			*to = value
		}
	}
	set(&h.Interval, defaultHealthInterval)
	set(&h.Timeout, defaultHealthTimeout)
	set(&h.StartInterval, min(defaultStartInterval, h.Interval))
	if h.Retries == 0 {
		h.Retries = defaultHealthRetries
	}
	if h.OnFailure == "" {
		h.OnFailure = RestartUnhealthy
	}
	return h
}

// StartLimit is how long a start may take at most until the container is healthy, or
// known not to become so: at the end of the last of all probes that fail by a timeout.
func (h Health) StartLimit() time.Duration {
	h = h.Defaults()
	return h.StartPeriod + time.Duration(h.Retries)*(max(h.Interval, h.StartInterval)+h.Timeout) + h.Timeout
}

// healthCommand is a list, or a string for the container's shell; an empty list takes
// away what a file says that this is a drop-in of.
func (b *builder) healthCommand(e *entry) {
	script, isText := e.value.(string)
	if !isText {
		b.c.Health.Command = b.arguments(e)
		return
	}
	if script, isText = b.text(e, script); isText && strings.TrimSpace(script) == "" {
		b.fail(e, nil, `is empty; write what checks the container, such as ["wget", "-q", "-O-", "http://localhost/"]`)
	} else if isText {
		b.c.Health.Command = []string{"/bin/sh", "-c", script}
	}
}

func (b *builder) onFailure(e *entry) {
	switch s, ok := b.plain(e, e.value); {
	case !ok:
	case s == string(RestartUnhealthy), s == string(ReportUnhealthy):
		b.c.Health.OnFailure = OnFailure(s)
	default:
		b.fail(e, nil, `%q is not one of "restart" (the unit fails, and Restart= acts) and "none" (it is only reported)`, s)
	}
}

// The shortest and the longest of the times. A probe is a process; and what is looked at
// less than daily is not looked at.
const (
	minHealthTime = 100 * time.Millisecond
	maxHealthTime = 24 * time.Hour
)

// healthTime is a time within the bounds.
func (b *builder) healthTime(e *entry) time.Duration {
	span := b.timeSpan(e, `"10s", "1min 30s", "500ms"`)
	if span != 0 && (span < minHealthTime || span > maxHealthTime) {
		b.fail(e, nil, "%q is not from 100ms to 24h", fmt.Sprint(e.value))
		return 0
	}
	return span
}

// startPeriod may be 0.
func (b *builder) startPeriod(e *entry) time.Duration {
	if e.value == int64(0) || e.value == "0" || e.value == "0s" {
		return 0
	}
	return b.healthTime(e)
}

// checkHealth makes the checks that need more than one key.
func (b *builder) checkHealth(entries []*entry) {
	command := find(entries, "health", "command")
	switch {
	case command == nil:
		b.checkHealthCommand(entries)
		return
	case !b.c.Health.Checked():
		b.c.Health = Health{}
		return
	case b.c.Init != InitCocker:
		b.fail(command, nil, `needs init = "cocker", which runs it; with %q nobody in the container would`, b.c.Init)
	case b.c.NotifyReady:
		b.fail(find(entries, "", "notify_ready"), nil, "health.command decides when the container is ready; keep one of them")
	}
	for _, key := range []string{"timeoutstartsec", "timeoutsec"} {
		e := find(entries, "service", key)
		if e == nil {
			continue
		}
		text, _ := e.value.(string)
		if span, ok := TimeSpan(text); ok && span <= b.c.Health.StartPeriod {
			b.fail(e, nil, "%s leaves no time for health.start_period; leave this out: cocker sets what is needed", text)
		}
	}
}

// checkHealthCommand reports keys that have no effect without a command.
func (b *builder) checkHealthCommand(entries []*entry) {
	for _, e := range entries {
		if e.table == "health" {
			b.fail(e, nil, `has no effect, as health.command is missing; write what checks the container, such as command = ["wget", "-q", "-O-", "http://localhost/"]`)
			return
		}
	}
}

func (w *encoder) health(h Health) {
	w.table("health")
	w.list("command", h.Command)
	w.text("user", h.User)
	w.time("interval", h.Interval)
	w.time("timeout", h.Timeout)
	if h.Retries != 0 {
		w.number("retries", uint64(h.Retries)) //nolint:gosec // not negative
	}
	w.time("start_period", h.StartPeriod)
	w.time("start_interval", h.StartInterval)
	w.text("on_failure", string(h.OnFailure))
}

// time writes whole seconds as such.
func (w *encoder) time(name string, span time.Duration) {
	switch {
	case span == 0:
	case span%time.Second == 0:
		w.text(name, strconv.FormatInt(int64(span/time.Second), 10)+"s")
	default:
		w.text(name, strconv.FormatInt(span.Milliseconds(), 10)+"ms")
	}
}
