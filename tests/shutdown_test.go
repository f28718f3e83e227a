package tests

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// keepJournal makes the journal of a host outlive a boot.
func keepJournal(t *testing.T, h *host.Host) {
	t.Helper()
	h.WriteFile(t, "/etc/systemd/journald.conf.d/zz-keep.conf", "[Journal]\nStorage=persistent\n", 0o644)
	h.MustRun(t, "mkdir -p /var/log/journal && systemctl restart systemd-journald && journalctl --flush")
}

// moments are when systemd began and completed the start and the stop of units,
// in microseconds of the machine's clock; 0 is never.
type moments map[string]*struct{ starting, started, stopping, stopped int }

// momentsOf reads the journal since a time: the messages are those of
// systemd.journal-fields(7) that have a UNIT= and an ID of sd-messages.h.
func momentsOf(t *testing.T, h *host.Host, since string) moments {
	t.Helper()
	text := h.MustRun(t, `journalctl --sync; journalctl -q --since="$1" -o json _PID=1 |
		jq -r 'select(.UNIT and .MESSAGE_ID) | [.__MONOTONIC_TIMESTAMP, .MESSAGE_ID, .UNIT] | @tsv'`, since)
	m := moments{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if m[fields[2]] == nil {
			m[fields[2]] = &struct{ starting, started, stopping, stopped int }{}
		}
		at, err := strconv.Atoi(fields[0])
		if err != nil {
			t.Fatal(err)
		}
		switch u := m[fields[2]]; fields[1] {
		case "7d4958e842da4a758f6c1cdc7b36dcc5": // SD_MESSAGE_UNIT_STARTING
			u.starting = at
		case "39f53479d3a045ac8e11786248231fbf": // SD_MESSAGE_UNIT_STARTED
			u.started = at
		case "de5b426a63be47a7b6ac3eaac82e2f6f": // SD_MESSAGE_UNIT_STOPPING
			u.stopping = at
		case "9d1aaa27d60140bd96365438aad20286": // SD_MESSAGE_UNIT_STOPPED
			u.stopped = at
		}
	}
	return m
}

// assertStopOrder asserts for "A B" that A had stopped when the stop of B began. Mounts
// go while journald does: what the journal does not have any more of one came last.
func (m moments) assertStopOrder(t *testing.T, pairs ...string) {
	t.Helper()
	for _, pair := range pairs {
		first, then, _ := strings.Cut(pair, " ")
		switch a, b := m[first], m[then]; {
		case strings.HasSuffix(then, ".mount") && a != nil && a.stopped != 0 && (b == nil || b.stopping == 0):
		case a == nil || b == nil || a.stopped == 0 || b.stopping == 0:
			t.Errorf("not both of %s and %s were stopped: %+v, %+v", first, then, a, b)
		case a.stopped > b.stopping:
			t.Errorf("%s had stopped at %d, the stop of %s began at %d", first, a.stopped, then, b.stopping)
		}
	}
}

// events are the lines that containers wrote into the file of their bind mount.
const (
	eventsMount = "mount = [{ type = 'bind', source = '/srv/events', target = '/events' }]\n"
	say         = `say() { echo "$HOSTNAME $*" >>/events/all; }; HOSTNAME=$(hostname); `
)

func collectEvents(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, "mkdir -p /srv/events && : >/srv/events/all && chmod 666 /srv/events/all")
}

// onTERM is a command that does something when it is asked to end.
func onTERM(script string) string {
	return sh(say + "trap '" + script + "; exit 0' TERM; say up; while :; do sleep 1000 & wait; done")
}

// crowd is how many containers are stopped at the same time; a virtual machine takes
// seconds to start each.
func crowd(h *host.Host) int {
	if h.Virtual {
		return 6
	}
	return 20
}

// shutdownFiles are containers that end in ways of their own.
func shutdownFiles(h *host.Host) map[string]string {
	const header, install = "image = 'demo'\n" + eventsMount, "[install]\nwanted_by = ['multi-user.target']\n"
	files := map[string]string{
		// What they do at their end needs what they were started with.
		"db": header + onTERM("ping -c 1 -W 20 192.0.2.2 >/dev/null && say end online") + "[network]\naddress = '10.88.1.1'\n" + install,
		"app": header + onTERM("ping -c 1 -W 20 10.88.1.1 >/dev/null && say end with db") +
			"[unit]\nrequires = ['cocker@db.service']\nafter = ['cocker@db.service']\n" + install,
		"quits":    header + "stop_signal = 'SIGQUIT'\n" + sh(say+"trap 'say end quit; exit 0' QUIT; trap 'say end term; exit 1' TERM; say up; while :; do sleep 1000 & wait; done") + install,
		"stubborn": header + sh(say+"trap 'say asked' TERM; say up; while :; do sleep 1000 & wait; done") + "[service]\nTimeoutStopSec = 12\n" + install,
		"hostnet":  header + onTERM("ip route get 192.0.2.2 >/dev/null && say end online") + "[network]\nmode = 'host'\n" + install,
		"mounted":  "image = 'demo'\nmount = [{ type = 'bind', source = '/srv/events', target = '/events' }, { type = 'bind', source = '/mnt/late', target = '/late' }]\n" + onTERM("grep -q /late /proc/mounts && say end mounted") + install,
	}
	for i := range crowd(h) {
		// Each goes when all have been asked to: they are stopped at the same time, or
		// not before they are killed.
		files[fmt.Sprintf("c%02d", i)] = header + onTERM(fmt.Sprintf("say asked; until [ $(grep -c ^c.*asked /events/all) -ge %d ]; do sleep 0.1; done; say end", crowd(h))) +
			"[network]\nmode = 'none'\n" + install
	}
	return files
}

func prepareShutdown(t *testing.T, h *host.Host) {
	t.Helper()
	keepJournal(t, h)
	collectEvents(t, h)
	h.WriteFile(t, "/etc/systemd/system/mnt-late.mount", "[Mount]\nWhat=tmpfs\nWhere=/mnt/late\nType=tmpfs\n", 0o644)
	// A caller of cocker run that is ended by the shutdown, as a session is.
	h.WriteFile(t, "/etc/systemd/system/caller.service", "[Service]\nExecStart=/usr/bin/cocker run --rm --name fg -v /srv/events:/events demo sh -c '"+
		strings.ReplaceAll(say+`trap "say end; exit 7" TERM; say up; while :; do sleep 1000 & wait; done`, "$", "$$")+"'\nSuccessExitStatus=7\n", 0o644)
	declare(t, h, shutdownFiles(h))
	h.MustRun(t, `systemctl start multi-user.target caller $(ls /etc/cocker/containers | sed 's/\(.*\)\.toml/cocker@\1/')
		cocker run -d --rm --name bg -v /srv/events:/events demo sh -c "$1"`, say+`trap "say end; exit 0" TERM; say up; while :; do sleep 1000 & wait; done`)
	h.WaitFor(t, eventually, "all containers", `[ "$(grep -c " up$" /srv/events/all)" = "$1" ]`, fmt.Sprint(len(shutdownFiles(h))+2))
}

// assertShutdown asserts how a shutdown that began then has gone.
func assertShutdown(t *testing.T, h *host.Host, since string) {
	t.Helper()
	got := strings.Split(strings.TrimSpace(h.ReadFile(t, "/srv/events/all")), "\n")
	want := []string{"db end online", "app end with db", "quits end quit", "stubborn asked", "hostnet end online", "mounted end mounted", "fg end", "bg end"}
	for i := range crowd(h) {
		want = append(want, fmt.Sprintf("c%02d end", i))
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("no event %q", line)
		}
	}
	if slices.Contains(got, "quits end term") || t.Failed() {
		t.Errorf("the events are %q", got)
	}
	m := momentsOf(t, h, since)
	m.assertStopOrder(t, "cocker@app.service cocker@db.service", "cocker@mounted.service mnt-late.mount",
		"cocker-fg.scope cocker-remove@fg.service", "cocker-bg.service cocker-remove@bg.service")
	for unit := range m {
		if !strings.HasPrefix(unit, "cocker") || strings.HasPrefix(unit, "cocker-network") {
			continue
		}
		m.assertStopOrder(t, unit+" cocker-network@cocker0.service", unit+" systemd-machined.service", unit+" dbus.service")
		// db waits for app, the others for nobody.
		if unit != "cocker@db.service" && m[unit].stopping > m["cocker@stubborn.service"].stopped && !strings.HasPrefix(unit, "cocker-remove@") {
			t.Errorf("%s waited for the one that does not end", unit)
		}
	}
	results := h.MustRun(t, `journalctl -q --since="$1" -o json _PID=1 | jq -r 'select(.UNIT_RESULT and (.UNIT|startswith("cocker"))) | .UNIT+" "+.UNIT_RESULT'`, since)
	if results != "cocker@stubborn.service timeout" {
		t.Errorf("units failed at the shutdown:\n%s", results)
	}
	h.MustRun(t, `[ ! -e /var/lib/cocker/containers/fg ] && [ ! -e /var/lib/cocker/containers/bg ]`)
}

func TestShutdown(t *testing.T) {
	onOwnHost(t, func(t *testing.T, h *host.Host) {
		prepareShutdown(t, h)
		since := now(t, h)
		h.Reboot(t)
		assertShutdown(t, h, since)
	})
}
