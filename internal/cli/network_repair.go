package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/scope"
	"github.com/cocker/cocker/units"
)

func networkRepairCommand(s *streams) *cobra.Command {
	all := false
	command := &cobra.Command{
		Use:   "repair NETWORK...",
		Short: "Make again what is missing of networks",
		Long: `Repair makes a network work again for the containers that run in it, after
somebody has flushed the rules ("nft flush ruleset"), deleted the bridge or its
address, or turned forwarding off. It is "systemctl reload
cocker-network@NAME.service", or start if that is not active: the bridge, the
rules, the links of the containers and their published ports are made again
where they are missing, and nothing that works is interrupted. With --all it
repairs each network that is up, has failed, or has containers.`,
		Example:           "  cocker network repair front\n  cocker network repair --all",
		ValidArgsFunction: completeNetworks,
		Args: func(_ *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return errors.New("name the networks, or use --all")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return networkRepair(c.Context(), s, args) },
	}
	command.Flags().BoolVar(&all, "all", false, "repair all networks")
	return asRoot(command)
}

// networkRepair goes on after an error.
func networkRepair(ctx context.Context, s *streams, names []string) error {
	m, err := scope.Open(ctx)
	if err != nil {
		return err
	}
	defer m.Close()
	networks, err := namedNetworks(ctx, m, names)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range networks {
		unused := n.Unit.ActiveState != "active" && n.Unit.ActiveState != "failed" && len(n.Members) == 0
		if unused && len(names) == 0 {
			continue
		}
		if err := n.repair(ctx, m); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(s.out, "%s\n", n.Name)
	}
	return errors.Join(errs...)
}

func (n network) repair(ctx context.Context, m *scope.Manager) error {
	unit := units.Network(n.Name)
	switch {
	case n.Problem != nil:
		return n.Problem
	case n.Unit.ActiveState == "active":
		return m.ReloadUnit(ctx, unit)
	}
	return m.Start(ctx, unit)
}
