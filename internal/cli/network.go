package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
	"github.com/cocker/cocker/netsetup"
	"github.com/cocker/cocker/scope"
	"github.com/cocker/cocker/units"
)

func networkCommand(s *streams) *cobra.Command {
	command := &cobra.Command{
		Use:   "network",
		Short: "List, check and repair networks",
		Long: `A network is a file, /etc/cocker/networks/NAME.toml, and a unit,
cocker-network@NAME.service, which the containers start that join it; see
cocker-network.toml(5). The network cocker0 exists without a file.`,
		Args: func(c *cobra.Command, args []string) error {
			return fmt.Errorf("say what to do: ls, inspect, check or repair (see \"%s --help\")", c.CommandPath())
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	for _, add := range []func(*streams) *cobra.Command{
		networkListCommand, networkInspectCommand, networkCheckCommand, networkRepairCommand,
	} {
		command.AddCommand(add(s))
	}
	return command
}

// completeNetworks offers the networks that are not on the line yet.
func completeNetworks(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	names, _ := config.ListNetworks(paths.ConfigDirs())
	return without(names, args), noFiles
}

// completeNetworkFlag offers networks, modes, and containers for one of these.
func completeNetworkFlag(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	names, _ := config.ListNetworks(paths.ConfigDirs())
	names = append(names, string(config.NetworkHost), string(config.NetworkNone), string(config.NetworkCustom))
	containers, _ := config.List(paths.ConfigDirs())
	for _, name := range containers {
		names = append(names, string(config.NetworkContainer)+":"+name)
	}
	return append(names, string(config.NetworkNamespace)+":/"), noFiles | cobra.ShellCompDirectiveNoSpace
}

// network is one network as its file, systemd and the containers know it.
type network struct {
	Name       string
	Definition *config.NetworkDefinition // what is right in the file; nil without a file
	Problem    error                     // what is wrong with the file
	Unit       scope.Unit
	Members    []member
}

// member is a container that runs in the network.
type member struct {
	Container     string   `json:"container"`
	Address       string   `json:"address,omitempty"`
	Address6      string   `json:"address6,omitempty"`
	MAC           string   `json:"mac,omitempty"`
	Interface     string   `json:"interface,omitempty"`
	HostInterface string   `json:"host_interface,omitempty"`
	Aliases       []string `json:"aliases"`
	Ports         []string `json:"ports"`

	owner     string // of the ports and the interface: the container, or its pod
	published []config.Port
}

func (m member) lease() netsetup.Lease {
	lease := netsetup.Lease{}
	lease.V4, _ = netip.ParsePrefix(m.Address) // the zero value where there is none
	lease.V6, _ = netip.ParsePrefix(m.Address6)
	return lease
}

// collectNetworks finds every network that has a file or a loaded unit, by name.
func collectNetworks(ctx context.Context, m *scope.Manager) ([]network, error) {
	locations, err := config.ScanNetworks(paths.ConfigDirs())
	var all []network
	for _, l := range locations {
		n := network{Name: l.Name}
		n.Definition, n.Problem = l.ReadNetwork()
		all = append(all, n)
	}
	loaded, listErr := m.List(ctx, units.Network("*"))
	for _, u := range loaded {
		name, ok := units.NetworkOf(u.Name)
		i := slices.IndexFunc(all, func(n network) bool { return n.Name == name })
		switch {
		case i >= 0:
			all[i].Unit = u
		case ok && u.Running():
			all = append(all, network{Name: name, Unit: u, Problem: fmt.Errorf("its file is gone: no %s.toml in the directories of networks", name)})
		}
	}
	slices.SortFunc(all, func(a, b network) int { return strings.Compare(a.Name, b.Name) })
	members, stateErr := allMembers()
	for i := range all {
		all[i].Members = members[all[i].Name]
	}
	return all, errors.Join(err, listErr, stateErr)
}

// allMembers are the containers that run, by their networks.
func allMembers() (map[string][]member, error) {
	states, err := launch.States()
	members := map[string][]member{}
	for _, state := range states {
		if !state.Running() {
			continue
		}
		for i, j := range state.Parts() {
			m := member{Container: state.Name, Address: j.Address, Address6: j.Address6, MAC: j.MAC, Interface: j.Interface,
				HostInterface: j.HostInterface, Aliases: append([]string{}, j.Aliases...), Ports: []string{}, owner: state.Owner()}
			if i == 0 {
				m.Ports = append(m.Ports, config.FormatPorts(state.Ports)...)
				m.published = state.Ports
			}
			members[j.Network] = append(members[j.Network], m)
		}
	}
	return members, err
}

// state is the word that people read.
func (n network) state() string {
	switch {
	case n.Unit.ActiveState == "active" && n.Definition == nil:
		return "no file"
	case n.Problem != nil:
		return "bad file"
	}
	words := map[string]string{"active": "up", "inactive": "down", "": "down", "activating": "starting", "deactivating": "stopping"}
	if word, ok := words[n.Unit.ActiveState]; ok {
		return word
	}
	return n.Unit.ActiveState
}

// resolved is the network with the subnets that were picked for it. What is not up has
// none yet, and asking would pick.
func (n network) resolved() (netsetup.Network, error) {
	switch {
	case n.Problem != nil:
		return netsetup.Network{}, n.Problem
	case n.Unit.ActiveState != "active":
		return netsetup.Network{}, fmt.Errorf("network %s is not up", n.Name)
	}
	return netsetup.Resolve(paths.Networks, *n.Definition)
}

// subnets are those of the file, or else those that were picked; "auto" stands for what
// will be.
func (n network) subnets() []string {
	subnets := []string{}
	if n.Definition == nil {
		return subnets
	}
	if r, err := n.resolved(); err == nil && n.Definition.Kind != config.KindCNI {
		for _, s := range []netsetup.Subnet{r.V4, r.V6} {
			if s.Prefix.IsValid() {
				subnets = append(subnets, s.Prefix.String())
			}
		}
		return subnets
	}
	for _, s := range n.Definition.Subnets {
		subnets = append(subnets, s.Prefix.String())
	}
	if len(subnets) == 0 && n.Definition.Kind != config.KindCNI && n.Problem == nil {
		subnets = append(subnets, "auto")
	}
	return subnets
}

func (n network) kind() string {
	if n.Definition == nil {
		return ""
	}
	return string(n.Definition.Kind)
}

func (n network) file() string {
	if n.Definition == nil {
		return ""
	}
	return n.Definition.File
}

// namedNetworks are those of the names, or all. A name that is none is an error.
func namedNetworks(ctx context.Context, m *scope.Manager, names []string) ([]network, error) {
	all, err := collectNetworks(ctx, m)
	if err != nil || len(names) == 0 {
		return all, err
	}
	var found []network
	for _, name := range names {
		i := slices.IndexFunc(all, func(n network) bool { return n.Name == name })
		if i < 0 {
			_, err := config.FindNetwork(paths.ConfigDirs(), name)
			return nil, cmpError(err, fmt.Errorf("no such network as %q", name))
		}
		found = append(found, all[i])
	}
	return found, nil
}
