package launch

import (
	"errors"
	"fmt"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/netsetup"
)

// Rates are the limits of each of a container's links, in bits in a second; 0: none.
type Rates struct {
	EgressMax  uint64 `json:"egress_max,omitempty"`
	IngressMax uint64 `json:"ingress_max,omitempty"`
}

func ratesOf(n config.Network) Rates { return Rates{n.EgressMax, n.IngressMax} }

// limitRates sets the rates of all links. The state names links and rates by then, so
// that freeRates finds what it left if it is killed.
func (c *Connection) limitRates(r Rates) error {
	if r == (Rates{}) && c.Rates == r {
		return nil
	}
	for _, join := range c.Parts() {
		if join.HostInterface == "" {
			return fmt.Errorf("network %s has no link on the host for each of its containers, so that egress_max and ingress_max cannot be kept; leave them out", join.Network)
		}
		if err := netsetup.SetRate(join.HostInterface, r.EgressMax, r.IngressMax); err != nil {
			return err
		}
	}
	return nil
}

// freeRates takes away what SetRate has made beside the links.
func (c *Connection) freeRates() error {
	var errs []error
	for _, join := range c.Parts() {
		if c.Rates != (Rates{}) && join.HostInterface != "" {
			errs = append(errs, netsetup.SetRate(join.HostInterface, 0, 0))
		}
	}
	return errors.Join(errs...)
}
