package cli

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
	"github.com/cocker/cocker/netsetup"
	"github.com/cocker/cocker/scope"
	"github.com/cocker/cocker/units"
)

func networkCheckCommand(s *streams) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use:   "check [NETWORK...]",
		Short: "Check that networks work",
		Long: `Check looks for what keeps containers of the networks, or of all networks, from
being reached or from reaching others: files that are wrong, networks that did
not start and, of those that are up, an interface that is missing or has lost
its address, rules that somebody has flushed, forwarding that is off, addresses
that somebody else has, too, and firewalls of the host, of nftables, firewalld
or iptables, that drop what is forwarded or queries for names. Of CNI networks
it looks for the configuration and the plugins, and asks these (CHECK) for the
interfaces of the containers. It changes nothing; "cocker network repair" makes again what is
cocker's.

The exit status is 0 if all is well, else 1.`,
		Example:           "  cocker network check\n  cocker network check front",
		ValidArgsFunction: completeNetworks,
		RunE:              func(c *cobra.Command, args []string) error { return networkCheck(c.Context(), s, args, asJSON) },
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return asRoot(command)
}

// checkedNetworks is what "cocker network check --json" prints.
type checkedNetworks struct {
	Clean    bool             `json:"clean"`
	Findings []networkFinding `json:"findings"`
}

type networkFinding struct {
	Network    string `json:"network"`
	Problem    string `json:"problem"`
	Advice     string `json:"advice,omitempty"`
	Repairable bool   `json:"repairable"` // by "cocker network repair"
}

func networkCheck(ctx context.Context, s *streams, names []string, asJSON bool) error {
	m, err := scope.Open(ctx)
	if err != nil {
		return err
	}
	defer m.Close()
	networks, err := namedNetworks(ctx, m, names)
	if err != nil {
		return err
	}
	result := checkedNetworks{Findings: []networkFinding{}}
	for _, n := range networks {
		found, err := n.check(ctx)
		if err != nil {
			return err
		}
		result.Findings = append(result.Findings, found...)
	}
	if len(names) == 0 {
		result.Findings = append(result.Findings, overlaps(networks)...)
	}
	result.Clean = len(result.Findings) == 0
	if asJSON {
		err = printJSON(s.out, result)
	} else {
		printNetworkFindings(s.out, result, len(networks))
	}
	if err == nil && !result.Clean {
		err = exitError(exitFailure)
	}
	return err
}

func (n network) check(ctx context.Context) (found []networkFinding, err error) {
	unit := units.Network(n.Name)
	switch {
	case n.Problem != nil:
		for line := range strings.SplitSeq(n.Problem.Error(), "\n") {
			found = append(found, networkFinding{Network: n.Name, Problem: line, Advice: "no container can start in it; edit the file"})
		}
		return found, nil
	case n.Unit.ActiveState == "failed":
		return []networkFinding{{n.Name, unit + " has failed", "journalctl -u " + unit + " tells why", true}}, nil
	case n.Unit.ActiveState != "active" && len(n.Members) > 0:
		return []networkFinding{{n.Name, fmt.Sprintf("%s is %s, but containers run in it", unit, n.state()), "", true}}, nil
	case n.Unit.ActiveState != "active":
		return nil, nil
	case n.Definition.Kind == config.KindCNI:
		return n.checkPlugins(ctx), nil
	}
	r, err := netsetup.Resolve(paths.Networks, *n.Definition)
	if err != nil {
		return nil, err
	}
	findings, err := netsetup.Check(r)
	for _, f := range findings {
		found = append(found, networkFinding{n.Name, f.Problem, f.Advice, f.Advice == ""})
	}
	if err != nil || len(found) > 0 && found[0].Repairable { // the ports have gone with the rest
		return found, err
	}
	return append(append(found, n.elsewhere(r)...), n.unpublished()...), nil
}

// elsewhere are containers with an address that the network had before its file was
// changed, or that somebody else has as well.
func (n network) elsewhere(r netsetup.Network) (found []networkFinding) {
	add := func(m member, advice, problem string, arguments ...any) {
		found = append(found, networkFinding{n.Name, m.Container + " " + fmt.Sprintf(problem, arguments...), advice, false})
	}
	neighbours, err := netsetup.Neighbours(r)
	if err != nil {
		found = append(found, networkFinding{Network: n.Name, Problem: err.Error()})
	}
	for _, m := range n.Members {
		lease := m.lease()
		if !r.Holds(lease) {
			add(m, "systemctl restart "+units.Network(n.Name)+" restarts its containers with new addresses",
				"runs with the address %s, which the network's file does not give it any more", lease.Address())
		}
		for _, prefix := range []netip.Prefix{lease.V4, lease.V6} {
			if err := netsetup.CheckHost(prefix.Addr()); err != nil {
				add(m, "", "is not reached: %v", err)
			}
			if other := neighbours[prefix.Addr()]; other != "" && m.MAC != "" && other != m.MAC {
				add(m, "find who has that hardware address, or give the container another address", "is not who answers for its address %s: that is %s", prefix.Addr(), other)
			}
		}
	}
	return found
}

// checkPlugins asks the plugins of a network of CNI.
func (n network) checkPlugins(ctx context.Context) (found []networkFinding) {
	owners := map[string]string{}
	for _, m := range n.Members {
		owners[m.owner] = m.Interface
	}
	for _, f := range launch.CheckCNI(ctx, n.Definition, owners) {
		found = append(found, networkFinding{Network: n.Name, Problem: f.Problem, Advice: f.Advice})
	}
	return found
}

// unpublished are ports of containers that have their first join here.
func (n network) unpublished() (found []networkFinding) {
	for _, m := range n.Members {
		missing, err := netsetup.Unpublished(m.owner, m.lease(), m.published)
		for _, p := range missing {
			found = append(found, networkFinding{n.Name, fmt.Sprintf("the port %s of %s is not published any more", p, m.Container), "", true})
		}
		if err != nil {
			found = append(found, networkFinding{Network: n.Name, Problem: err.Error()})
		}
	}
	return found
}

// overlaps are the problems that only two files together have.
func overlaps(networks []network) (found []networkFinding) {
	known := map[string]bool{}
	for _, n := range networks {
		for _, p := range config.Problems(n.Problem) {
			known[p.Error()] = true
		}
	}
	_, err := config.CheckNetworks(paths.ConfigDirs())
	for _, p := range config.Problems(err) {
		if !known[p.Error()] {
			found = append(found, networkFinding{Problem: p.Error(), Advice: "edit one of the files"})
		}
	}
	return found
}

func printNetworkFindings(w io.Writer, result checkedNetworks, networks int) {
	repairable := map[string]bool{}
	var names []string
	for _, f := range result.Findings {
		text := f.Problem
		if f.Network != "" {
			text = f.Network + ": " + text
		}
		fmt.Fprintln(w, oneLine(text))
		if f.Advice != "" {
			fmt.Fprintln(w, "  "+oneLine(f.Advice))
		}
		if f.Repairable && !repairable[f.Network] {
			repairable[f.Network] = true
			names = append(names, f.Network)
		}
	}
	switch {
	case result.Clean:
		fmt.Fprintln(w, countOf(networks, "network is fine", "networks are fine"))
	case len(names) > 0:
		fmt.Fprintf(w, "\"cocker network repair %s\" makes again what is missing\n", strings.Join(names, " "))
	}
}
