package pid1

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/cocker/cocker/internal/handoff"
)

// health runs the health command again and again, never twice at a time, and tells
// systemd and the journal when the container's state has changed. Between two probes
// there is an alarm of the loop and nothing else.
type health struct {
	judge
	loop    *loop
	plan    *handoff.Plan
	check   *check
	running string // what the status text says of a container without a check
	told    string // why it is not healthy yet
	ready   bool   // systemd knows that it has been healthy
	probe   *probe // the one that runs; nil: none does
	alarm   *alarm // for the next probe, or for the end of this one's time
	stopped bool

	calls struct { // of its methods, each of which would otherwise be garbage afterwards
		run, overdue func()
		ended        func(syscall.WaitStatus)
	}

	triggered time.Time // the last time that systemd was asked to end it
}

// check is what probes are made of. A container may have thousands in a day, and none of
// them leaves garbage (see repeated).
type check struct {
	command *command
	program *repeated
	output  *tail
	probe   probe // the last one
}

// prepareHealth finds out everything about the health command that can go wrong before
// the container counts as started; nil: there is none.
func prepareHealth(plan *handoff.Plan) (*check, error) {
	if plan.Health == nil {
		return nil, nil
	}
	user := plan.Health.User
	if user == "" {
		user = plan.User
	}
	id, err := lookUp(user)
	if err != nil {
		return nil, fmt.Errorf("health: %w", err)
	}
	environment := merge(plan.Environment, nil)
	if _, ok := lookUpVariable(environment, "HOME"); !ok {
		environment = append(environment, "HOME="+id.home)
	}
	path, err := findProgram(plan.Health.Command[0], environment)
	if err == nil {
		err = checkLoader(path)
	}
	if err != nil {
		return nil, fmt.Errorf("health: %w", err)
	}
	c := &check{command: &command{path: path, arguments: plan.Health.Command, environment: environment, identity: id}}
	if err = c.command.confine(plan); err == nil {
		c.program, err = c.command.program()
	}
	if err == nil {
		c.output, err = newTail()
	}
	if err != nil {
		return nil, fmt.Errorf("health: %w", err)
	}
	return c, nil
}

// watchHealth begins with the probes, if there are any; nil: there are none.
func watchHealth(plan *handoff.Plan, check *check, loop *loop) *health {
	if plan.Health == nil {
		return nil
	}
	h := &health{judge: newJudge(plan.Health, time.Now()), loop: loop, plan: plan, check: check, running: statusText(plan.Announce), alarm: new(alarm)}
	h.calls.run, h.calls.overdue, h.calls.ended = h.run, h.overdue, h.ended
	tell(plan, "STATUS="+handoff.StatusNotYet+". "+h.running)
	h.run()
	return h
}

// run starts a probe. One that could not even be killed, as its disk does not answer, is
// not followed by more of its kind.
func (h *health) run() {
	if h.probe != nil {
		h.conclude("the health command of before cannot be killed")
		return
	}
	if len(h.plan.Processes) > 0 { // init is where it has started the last of several
		if err := enterDirectory(h.plan.WorkDir); err != nil {
			h.conclude(err.Error())
			return
		}
	}
	p, err := h.check.start(time.Now().Add(h.plan.Health.Timeout))
	if err != nil {
		h.conclude(err.Error())
		return
	}
	h.probe = p
	h.loop.onEnd(p.pid, h.calls.ended)
	h.loop.set(h.alarm, p.deadline, h.calls.overdue)
}

// ended is called when the probe has. What it has left in its process group goes with
// it: the group's number is nobody else's while it has members (setsid(2)), and was the
// probe's a moment ago.
func (h *health) ended(status syscall.WaitStatus) {
	p := h.probe
	h.probe = nil
	p.kill()
	if p.overdue || h.stopped {
		return
	}
	h.loop.cancel(h.alarm)
	h.conclude(p.outcome(status))
}

// overdue is called when the probe's time is over. If that is noticed later than by as
// much again, everything has stood still, as in a container that was frozen (systemctl
// freeze, cocker commit): the probe has had no time, and gets it now.
func (h *health) overdue() {
	p, timeout := h.probe, h.plan.Health.Timeout
	if !p.excused && time.Since(p.deadline) > timeout {
		p.excused = true
		h.loop.set(h.alarm, time.Now().Add(timeout), h.calls.overdue)
		return
	}
	p.overdue = true
	p.kill()
	p.output.close()
	h.conclude(p.because(fmt.Sprintf("no result within %v", timeout)))
}

// conclude draws the conclusion from a probe; reason is "" if it went well.
func (h *health) conclude(reason string) {
	now := time.Now()
	changed := h.take(reason == "", now)
	if message := h.message(changed, reason, now); message != "" {
		tell(h.plan, message)
	}
	if changed {
		h.log(reason)
	}
	h.loop.set(h.alarm, now.Add(h.pause()), h.calls.run)
}

// message is what systemd is told (sd_notify(3)); "": nothing. The trigger is that of a
// watchdog: systemd ends the container and does what Restart= says. A container that
// has not become healthy in its time has not started, whatever follows later on.
// With "systemctl service-watchdogs off" systemd ignores it, so it is repeated.
func (h *health) message(changed bool, reason string, now time.Time) string {
	switch h.state {
	case stateNotYet:
		if reason == h.told {
			return ""
		}
		h.told = reason
		return "STATUS=" + handoff.StatusNotYet + ": " + reason
	case stateHealthy:
		if !changed {
			return ""
		}
		message := "STATUS=" + handoff.StatusHealthy + ". " + h.running
		if !h.ready {
			message = "READY=1\n" + message
		}
		h.ready = true
		return message
	}
	message := ""
	if changed {
		message = "STATUS=" + handoff.StatusUnhealthy + " since " + now.UTC().Format("2006-01-02 15:04:05 UTC") + ": " + reason
	}
	if (h.plan.Health.Restart || !h.ready) && now.Sub(h.triggered) >= triggerPause {
		h.triggered = now
		message += "\nWATCHDOG=trigger"
	}
	return message
}

// triggerPause leaves a busy systemd time: each trigger is a SIGTERM, and the command's
// second one may be an order to hurry.
const triggerPause = time.Minute

// log writes a line to the journal about a change. A journal that does not read must not
// hold up init.
func (h *health) log(reason string) {
	if !isSocket(os.Stderr) {
		return
	}
	line := "<5>Health: healthy\n"
	if h.state == stateUnhealthy {
		line = fmt.Sprintf("<4>Health: unhealthy, failures in a row: %d, the last one: %s\n", h.failures, reason)
	}
	go func() { _, _ = os.Stderr.WriteString(line) }()
}

// stop ends it for good: the container is about to end.
func (h *health) stop() {
	if h == nil || h.stopped {
		return
	}
	h.stopped = true
	h.loop.cancel(h.alarm)
	if h.probe != nil {
		h.probe.kill()
	}
}

// The states of a container whose health is checked.
const (
	stateNotYet = iota
	stateHealthy
	stateUnhealthy
)

// judge makes a state of the results of probes. It knows neither clocks nor processes.
type judge struct {
	rules    *handoff.Health
	begun    time.Time
	state    int
	failures int           // in a row
	quick    time.Duration // the next pause, as long as it is not healthy yet
}

// firstPause is after the first failure of a container that starts; each further one is
// twice as long, up to start_interval.
const firstPause = 100 * time.Millisecond

func newJudge(rules *handoff.Health, now time.Time) judge {
	return judge{rules: rules, begun: now, quick: firstPause}
}

// take takes a result and tells whether it has changed the state. A container has as
// long to become healthy as if it had been probed in its usual interval from the end of
// start_period on.
func (j *judge) take(good bool, now time.Time) (changed bool) {
	before := j.state
	if good {
		j.state, j.failures = stateHealthy, 0
		return before != j.state
	}
	j.failures++
	patience := j.rules.StartPeriod + time.Duration(j.rules.Retries)*j.rules.Interval
	if j.failures >= j.rules.Retries && (j.state != stateNotYet || now.Sub(j.begun) >= patience) {
		j.state = stateUnhealthy
	}
	return before != j.state
}

// pause is the time until the next probe.
func (j *judge) pause() time.Duration {
	if j.state != stateNotYet {
		return j.rules.Interval
	}
	pause := min(j.quick, j.rules.StartInterval)
	j.quick *= 2
	return pause
}
