// Package names is what cocker-launch tells cocker-dns of a network whose names it is
// to serve: a file in /run/cocker/dns, written when the sockets listen. It imports
// paths and no other package of cocker, as the launcher must not load a DNS library.
package names

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/cocker/cocker/internal/paths"
)

// Zone is a network as its name server knows it.
type Zone struct {
	Network   string         `json:"network"`
	Link      string         `json:"link"`       // of the host, that the containers are on
	LinkIndex int            `json:"link_index"` // another one when the link was made anew
	Addresses []netip.Addr   `json:"addresses"`  // that the server listens on: the gateways
	Subnets   []netip.Prefix `json:"subnets"`
	Internal  bool           `json:"internal"`          // nothing is asked of the host's resolvers
	Problem   string         `json:"problem,omitempty"` // why there is no server; "": there is one
}

// Socket is the unit that listens for a network's name server.
func Socket(network string) string { return "cocker-dns@" + network + ".socket" }

// Service is the unit of a network's name server.
func Service(network string) string { return "cocker-dns@" + network + ".service" }

// Read returns what is known of a network; fs.ErrNotExist tells that it has no names.
func Read(network string) (*Zone, error) {
	data, err := os.ReadFile(file(network))
	if err != nil {
		return nil, err
	}
	zone := new(Zone)
	if err := json.Unmarshal(data, zone); err != nil {
		return nil, fmt.Errorf("read %q: %w", file(network), err)
	}
	return zone, nil
}

// Write writes the file, whole or not at all; everybody may read it.
func (z *Zone) Write() error {
	data, err := json.Marshal(z)
	if err != nil {
		return fmt.Errorf("write names of network %s: %w", z.Network, err)
	}
	temporary := file(z.Network) + ".new"
	err = os.MkdirAll(paths.Names, 0o755)
	if err == nil {
		err = os.WriteFile(temporary, append(data, '\n'), 0o644)
	}
	if err == nil {
		err = os.Rename(temporary, file(z.Network))
	}
	if err != nil {
		return fmt.Errorf("write names of network %s: %w", z.Network, err)
	}
	return nil
}

// Remove removes the file; what is gone already is success.
func Remove(network string) error {
	err := os.Remove(file(network))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func file(network string) string { return filepath.Join(paths.Names, network+".json") }
