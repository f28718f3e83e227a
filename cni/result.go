package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Result is what plugins have done with an interface.
type Result struct {
	V4, V6             netip.Prefix // addresses of the container with the lengths of their networks; zero: none
	Gateway4, Gateway6 netip.Addr
	MAC                string   // of the interface in the container; "": not said
	Host               []string // interfaces that they have made or use on the host
	DNS                DNS
}

// DNS is what is to be in the container's resolv.conf(5).
type DNS struct {
	Servers []string `json:"servers,omitempty"` // addresses
	Search  []string `json:"search,omitempty"`
	Options []string `json:"options,omitempty"`
}

// rawAddress is an address as versions from 0.3.0 on have it, and those before.
type rawAddress struct {
	Address   string `json:"address"`
	Before    string `json:"ip"` // 0.2.0
	Gateway   string `json:"gateway"`
	Interface *int   `json:"interface"`
}

// parseResult reads the result of ADD for an interface. The plugins are the host's, but
// what they say goes into the container's files, and may be from elsewhere: DHCP.
func parseResult(text []byte, container string) (r Result, err error) {
	var raw struct {
		Interfaces []struct {
			Name    string `json:"name"`
			MAC     string `json:"mac"`
			Sandbox string `json:"sandbox"`
		} `json:"interfaces"`
		Addresses []rawAddress `json:"ips"`
		IP4       *rawAddress  `json:"ip4"` // 0.2.0
		IP6       *rawAddress  `json:"ip6"`
		DNS       struct {
			Nameservers []string `json:"nameservers"`
			Domain      string   `json:"domain"`
			Search      []string `json:"search"`
			Options     []string `json:"options"`
		} `json:"dns"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return r, err
	}
	for _, before := range []*rawAddress{raw.IP4, raw.IP6} {
		if before != nil {
			before.Address = before.Before
			raw.Addresses = append(raw.Addresses, *before)
		}
	}
	own := func(index *int) bool {
		return index == nil || *index < 0 || *index >= len(raw.Interfaces) || raw.Interfaces[*index].Name == container && raw.Interfaces[*index].Sandbox != ""
	}
	for _, a := range raw.Addresses {
		if own(a.Interface) {
			err = errors.Join(err, r.add(a))
		}
	}
	for _, i := range raw.Interfaces {
		switch {
		case i.Sandbox == "":
			r.Host = append(r.Host, i.Name)
		case i.Name == container:
			r.MAC = strings.ToLower(i.MAC)
		}
	}
	r.DNS.Search = words(append(raw.DNS.Search, raw.DNS.Domain))
	r.DNS.Options = words(raw.DNS.Options)
	for _, server := range raw.DNS.Nameservers {
		if a, err := netip.ParseAddr(server); err == nil {
			r.DNS.Servers = append(r.DNS.Servers, a.String())
		}
	}
	return r, err
}

// add takes the first address of each family.
func (r *Result) add(a rawAddress) error {
	prefix, err := netip.ParsePrefix(a.Address)
	if err != nil {
		return fmt.Errorf("%q is no address with the length of its network", a.Address)
	}
	gateway, _ := netip.ParseAddr(a.Gateway) // the zero value where there is none
	switch {
	case prefix.Addr().Is4() && !r.V4.IsValid():
		r.V4, r.Gateway4 = prefix, gateway
	case prefix.Addr().Is6() && !r.V6.IsValid():
		r.V6, r.Gateway6 = prefix, gateway
	}
	return nil
}

// words are those that can stand in a line of resolv.conf(5) by themselves.
func words(all []string) (good []string) {
	for _, word := range all {
		bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' || r == ';' }
		if word != "" && !strings.ContainsFunc(word, bad) {
			good = append(good, word)
		}
	}
	return good
}
