package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/vishvananda/netlink"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/netsetup"
	"github.com/cocker/cocker/scope"
)

func networkInspectCommand(s *streams) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use:   "inspect NETWORK",
		Short: "Show all that is known of a network",
		Long: `Inspect shows what the file of a network says, the files that it says it in,
its unit, what is there of it on the host, and which containers run in it: their
addresses, names and published ports.`,
		Example:           "  cocker network inspect cocker0\n  cocker network inspect front --json | jq -r '.containers[].address'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFirstNetwork,
		RunE: func(c *cobra.Command, args []string) error {
			d, err := inspectNetwork(c.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(s.out, d)
			}
			return printOutline(s.out, d)
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return asRoot(command)
}

func completeFirstNetwork(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return completeNetworks(c, args, word)
}

// networkDetails is what "cocker network inspect --json" prints.
type networkDetails struct {
	Name       string          `json:"name"`
	State      string          `json:"state"`
	Files      []string        `json:"files"` // none: the built-in network
	Problems   []string        `json:"problems,omitempty"`
	Config     networkConfig   `json:"config"`
	Subnets    []subnetDetails `json:"subnets"` // as they are, those that were picked too
	Link       *linkDetails    `json:"link,omitempty"`
	Unit       unitDetails     `json:"unit"`
	Containers []member        `json:"containers"`
}

// networkConfig has the keys of the file, with their defaults.
type networkConfig struct {
	Description string `json:"description,omitempty"`
	Kind        string `json:"kind,omitempty"`
	IPv6        bool   `json:"ipv6"`
	MTU         int    `json:"mtu,omitempty"`
	Internal    bool   `json:"internal"`
	Isolated    bool   `json:"isolated"`
	Bridge      string `json:"bridge,omitempty"`
	Parent      string `json:"parent,omitempty"`
	VLAN        uint16 `json:"vlan,omitempty"`
	Mode        string `json:"mode,omitempty"`
	CNI         string `json:"cni,omitempty"`
	DNS         bool   `json:"dns"`
	Keep        bool   `json:"keep"`
}

type subnetDetails struct {
	Subnet  string `json:"subnet"`
	Gateway string `json:"gateway"`
	Range   string `json:"range,omitempty"`
}

type linkDetails struct {
	Name      string   `json:"name"`
	Type      string   `json:"type"`
	State     string   `json:"state"`
	MTU       int      `json:"mtu"`
	Addresses []string `json:"addresses"`
}

func inspectNetwork(ctx context.Context, name string) (*networkDetails, error) {
	m, err := scope.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	found, err := namedNetworks(ctx, m, []string{name})
	if err != nil {
		return nil, err
	}
	n := found[0]
	d := &networkDetails{Name: n.Name, State: n.state(), Files: []string{}, Subnets: []subnetDetails{}, Containers: append([]member{}, n.Members...)}
	if unit, err := m.Unit(ctx, networkEntryOf(n).Unit); err == nil {
		d.Unit = unitDetailsOf(unit)
	}
	for _, p := range config.Problems(n.Problem) {
		d.Problems = append(d.Problems, p.Error())
	}
	if c := n.Definition; c != nil {
		d.Files = append(d.Files, c.Sources...)
		d.Config = networkConfig{c.Description, string(c.Kind), c.IPv6, c.MTU, c.Internal, c.Isolated, c.Bridge, c.Parent, c.VLAN, c.Mode, c.CNI, !c.NoDNS, !c.Temporary}
		if c.Kind != config.KindCNI {
			d.addResolved(n)
		}
	}
	return d, nil
}

// addResolved adds what is on the host, if the network is up.
func (d *networkDetails) addResolved(n network) {
	r, err := n.resolved()
	if err != nil {
		return
	}
	for _, s := range []netsetup.Subnet{r.V4, r.V6} {
		if s.Prefix.IsValid() {
			d.Subnets = append(d.Subnets, subnetDetails{s.Prefix.String(), s.Gateway.String(), s.First.String() + "-" + s.Last.String()})
		}
	}
	link, err := netlink.LinkByName(r.Link)
	if err != nil {
		return
	}
	l := &linkDetails{Name: r.Link, Type: link.Type(), State: link.Attrs().OperState.String(), MTU: link.Attrs().MTU, Addresses: []string{}}
	addresses, _ := netlink.AddrList(link, netlink.FAMILY_ALL) // the link may be gone by now
	for _, a := range addresses {
		l.Addresses = append(l.Addresses, a.IPNet.String())
	}
	d.Link = l
}
