package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Leftovers is what a container could leave behind on its host: sorted lines in
// named sections.
type Leftovers map[string][]string

// view is a section of Leftovers and the script that prints its lines.
type view struct {
	name, script string
}

// views returns what Snapshot looks at. Counters, times and the harness's own cgroup
// are left out: two looks at an idle host are equal. So is a name server: it comes with
// the first question of a container, and goes when nobody asks.
func views() []view {
	return []view{
		{"mount", `findmnt --raw --noheadings --output TARGET,SOURCE,FSTYPE`},
		{"link", `ip -o link | sed 's/^[0-9]*: //; s/[@:].*//'`},
		{"address", `ip -o addr show scope global | awk '{ print $2, $4 }'`},
		// Not the link-local ones: they come and go with links and their carriers, which are above.
		// Nor a router's anycast addresses (RFC 4291, section 2.6.1): forwarding, once on, stays on.
		{"route", `{ ip -4 route show table all; ip -6 route show table all; } | grep -v 'fe80:\|ff00:\|^anycast' | sed 's/ linkdown//'`},
		{"network namespace", `lsns --type net --noheadings --output NS | wc -l; ls /run/netns 2>/dev/null`},
		// Its warnings of tables that programs of iptables have made are none of a look that went wrong.
		{"nft", `{ nft -s list ruleset 2>&1 >&3 | grep -v 'is managed by iptables-nft' >&2; } 3>&1`},
		{"machine", `machinectl list --no-legend --no-pager`},
		{"runtime file", `find /run/cocker -printf '%P %y %l\n' 2>/dev/null`},
		{"state file", `find /var/lib/cocker -maxdepth 3 -printf '%P %y %l\n' 2>/dev/null`},
		// Not cocker-oom.socket, and what it starts: systemd may overlook until the next stop
		// of a container, or daemon-reload, that nobody needs it.
		{"unit", `systemctl list-units --all --plain --no-legend --no-pager 'cocker*' | awk '$1 ~ /^cocker-dns@.*service/ || $1 ~ /^cocker-oom[.]/ && $3 != "failed" { next } $1 ~ /^cocker-dns@/ { $4 = "" } { print $1, $3, $4 }'`},
		{"unit file", `find /run/systemd/transient /run/systemd/system.control -name '*cocker*' 2>/dev/null`},
		// Not the slices that systemd makes for template units, and keeps.
		{"cgroup", `cd /sys/fs/cgroup && find . -type d -path '*cocker*' ! -name 'system-cocker*.slice' ! -name 'cocker-dns@*.service'`},
		{"process", `ps -e -o comm= | grep '^cocker' | grep -v '^cocker-dns'`},
	}
}

// Snapshot returns what a container could leave behind, as it is now. A look that
// something came in between of is none: find(1) complains of a cgroup that has gone,
// ip(8) of a list that the kernel calls inconsistent.
func (h *Host) Snapshot(t testing.TB) Leftovers {
	t.Helper()
	var script strings.Builder
	for _, v := range views() {
		fmt.Fprintf(&script, "printf '== %%s\\n' '%s'\n( %s )\n", v.name, v.script)
	}
	ctx, cancel := context.WithTimeout(t.Context(), settleDeadline)
	defer cancel()
	var result Result
	err := poll(ctx, func() error {
		result = h.Run(t, script.String())
		if complaints := strings.TrimSpace(result.Stderr); complaints != "" {
			return errors.New(complaints)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	return parseLeftovers(result.Stdout)
}

func parseLeftovers(text string) Leftovers {
	found := Leftovers{}
	name := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if section, ok := strings.CutPrefix(line, "== "); ok {
			name = section
			continue
		}
		found[name] = append(found[name], line)
	}
	for name, lines := range found {
		if name != "nft" { // the order of rules is their meaning
			slices.Sort(lines)
		}
	}
	return found
}

// Diff returns the lines that only one of two snapshots has, marked + for after and
// - for before, or "".
func Diff(before, after Leftovers) string {
	var diff strings.Builder
	for _, v := range views() {
		for _, line := range without(before[v.name], after[v.name]) {
			fmt.Fprintf(&diff, "- %s: %s\n", v.name, line)
		}
		for _, line := range without(after[v.name], before[v.name]) {
			fmt.Fprintf(&diff, "+ %s: %s\n", v.name, line)
		}
	}
	return diff.String()
}

// without returns the lines that a has more often than b.
func without(a, b []string) (rest []string) {
	have := map[string]int{}
	for _, line := range b {
		have[line]++
	}
	for _, line := range a {
		if have[line]--; have[line] < 0 {
			rest = append(rest, line)
		}
	}
	return rest
}

// settleDeadline is for what goes away on its own but not at once: a network
// namespace with its links, a cgroup, a machine that machined forgets when it is idle.
const settleDeadline = 30 * time.Second

// AssertClean fails the test when the host does not become what it was before.
// Sections that may stay as they are now are left out.
func (h *Host) AssertClean(t testing.TB, before Leftovers, mayStay ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settleDeadline)
	defer cancel()
	err := poll(ctx, func() error {
		after := h.Snapshot(t)
		for _, section := range mayStay {
			after[section] = before[section]
		}
		if diff := Diff(before, after); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	if err != nil {
		t.Errorf("left behind (+) or lost (-):\n%v", err)
	}
}
