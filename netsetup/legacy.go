package netsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// checkLegacy finds rules of iptables-legacy that drop what containers send to the outside.
// The kernel has them beside nftables, in a form that only iptables(8) speaks; so this is
// the one thing here that another program is asked.
func checkLegacy(n Network) (found []Finding, err error) {
	for _, f := range []struct {
		wanted  bool
		program string
		tables  string
		subnet  Subnet
	}{
		{n.V4.valid(), "iptables-legacy", "ip_tables_names", n.V4},
		{n.V6.valid(), "ip6tables-legacy", "ip6_tables_names", n.V6},
	} {
		// To ask for a table makes it, where nobody has; this file says who has.
		tables, err := os.ReadFile(filepath.Join("/proc/thread-self/net", f.tables))
		if errors.Is(err, fs.ErrNotExist) || !f.wanted || !slices.Contains(strings.Fields(string(tables)), "filter") {
			continue
		}
		if err != nil {
			return found, fmt.Errorf("look for rules of %s: %w", f.program, err)
		}
		text, err := exec.Command(f.program+"-save", "-t", "filter").Output()
		if err != nil {
			found = append(found, Finding{fmt.Sprintf("the kernel has rules of %s, which cannot be listed (%v)", f.program, err), "install " + f.program + ", and look whether they drop what is forwarded"})
			continue
		}
		w := readLegacy(string(text), n.Link, f.subnet)
		if w.chain("FORWARD") == drops {
			found = append(found, Finding{
				fmt.Sprintf("the rules of %s drop what is forwarded (chain %s) and none of them accepts: the containers reach nothing outside", f.program, w.dropping),
				fmt.Sprintf("let them accept what comes from and goes to %[2]s: %[1]s -I FORWARD -i %[2]s -j ACCEPT && %[1]s -I FORWARD -o %[2]s -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT; that lasts until the next boot, or do the same where they come from", f.program, n.Link)})
		}
	}
	return found, nil
}

// legacyWalk is a walk through the output of iptables-save(8).
type legacyWalk struct {
	link     string
	subnet   Subnet
	rules    map[string][][]string // what follows "-A CHAIN"
	policies map[string]string
	dropping string
	depth    int
}

func readLegacy(text, link string, subnet Subnet) *legacyWalk {
	w := &legacyWalk{link: link, subnet: subnet, rules: map[string][][]string{}, policies: map[string]string{}}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) >= 2 && strings.HasPrefix(fields[0], ":"):
			w.policies[fields[0][1:]] = fields[1]
		case len(fields) >= 2 && fields[0] == "-A":
			w.rules[fields[1]] = append(w.rules[fields[1]], fields[2:])
		}
	}
	return w
}

// maxLegacyDepth is more than people nest chains; iptables itself refuses loops.
const maxLegacyDepth = 64

func (w *legacyWalk) chain(name string) outcome {
	if w.depth++; w.depth > maxLegacyDepth {
		return goesOn
	}
	defer func() { w.depth-- }()
	for _, rule := range w.rules[name] {
		switch end := w.rule(rule); end {
		case drops:
			if w.dropping == "" {
				w.dropping = name
			}
			return drops
		case accepts:
			return accepts
		case returns:
			return goesOn
		}
	}
	if w.policies[name] == "DROP" {
		w.dropping = name
		return drops
	}
	return goesOn
}

// rule passes by what has a condition that cannot be judged from here; see walk.
func (w *legacyWalk) rule(words []string) outcome {
	not := false
	for i := 0; i < len(words); i++ {
		argument := ""
		if i+1 < len(words) {
			argument = words[i+1]
		}
		holds := false
		switch words[i] {
		case "!":
			not = true
			continue
		case "-j", "-g":
			return w.target(argument, words[i] == "-g")
		case "-i":
			holds = w.named(argument) != not
		case "-o": // it leaves by a link that is not cocker's
			holds = !w.named(argument) || not
		case "-s":
			subnet, err := netip.ParsePrefix(argument)
			holds = err == nil && (subnet.Bits() <= w.subnet.Prefix.Bits() && subnet.Contains(w.subnet.Prefix.Addr())) != not
		case "-p":
			holds = (argument == "tcp") != not
		case "-m":
			holds = argument == "conntrack" || argument == "state" || argument == "comment" || argument == "tcp"
		case "--ctstate", "--state":
			holds = slices.Contains(strings.Split(argument, ","), "NEW") != not
		case "--comment":
			for holds = true; strings.HasPrefix(argument, `"`) && i+1 < len(words)-1 && !strings.HasSuffix(words[i+1], `"`); {
				i++
			}
		}
		if !holds {
			return goesOn
		}
		not = false
		i++
	}
	return goesOn
}

func (w *legacyWalk) named(pattern string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "+"); ok {
		return strings.HasPrefix(w.link, prefix)
	}
	return pattern == w.link
}

func (w *legacyWalk) target(name string, isGoto bool) outcome {
	switch name {
	case "ACCEPT":
		return accepts
	case "DROP", "REJECT":
		return drops
	case "RETURN":
		return returns
	}
	end := w.chain(name)
	if isGoto && end == goesOn {
		return returns
	}
	return end
}
