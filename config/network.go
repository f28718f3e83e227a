package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// DefaultNetwork is the network of every container with mode "bridge" that names
// none; it exists without a file.
const DefaultNetwork = "cocker0"

// DefaultSubnet is the subnet of DefaultNetwork.
func DefaultSubnet() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 88, 0, 0}), 16)
}

// Gateway is the bridge's own address in a subnet: the first one.
func Gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// Broadcast is the last address of an IPv4 subnet.
func Broadcast(subnet netip.Prefix) netip.Addr {
	a := subnet.Masked().Addr().As4()
	for bit := subnet.Bits(); bit < 32; bit++ {
		a[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(a)
}

// maxInterface is IFNAMSIZ of linux/if.h less the final NUL.
const maxInterface = 15

// ValidInterface tells what is wrong with name as the name of a network interface
// that cocker makes or uses. The kernel takes more (dev_valid_name in
// net/core/dev.c); what it takes besides, nobody uses, and the names go into paths
// below /proc/sys, where all and default are not interfaces.
func ValidInterface(name string) error {
	bad := strings.IndexFunc(name, func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("_.-", r) })
	switch {
	case name == "":
		return fmt.Errorf("the name of an interface may not be empty")
	case len(name) > maxInterface:
		return fmt.Errorf("%q is no name of an interface: longer than %d bytes", name, maxInterface)
	case bad >= 0 || !isAlphanumeric(rune(name[0])):
		return fmt.Errorf("%q is no name of an interface; use letters, digits, \"_\", \".\" and \"-\", and begin with a letter or digit", name)
	case name == "lo" || name == "all" || name == "default":
		return fmt.Errorf("%q has a meaning of its own and is no name for an interface; use another", name)
	}
	return nil
}

// ValidNetwork tells what is wrong with name as the name of a network. Its bridge has
// the name, and a flag takes it in the place of a mode.
func ValidNetwork(name string) error {
	if err := ValidInterface(name); err != nil {
		return fmt.Errorf("%w; it is the name of the network's bridge, too", err)
	}
	switch mode := NetworkMode(name); mode {
	case NetworkBridge, NetworkHost, NetworkNone, NetworkCustom, NetworkContainer, NetworkNamespace:
		return fmt.Errorf("%q is a mode and no name for a network; use another", name)
	}
	return nil
}

// ModeText gives the text of the key network.mode.
func (n Network) ModeText() string {
	if n.Target != "" {
		return string(n.Mode) + ":" + n.Target
	}
	return string(n.Mode)
}

func (b *builder) networkMode(e *entry) {
	s, ok := b.plain(e, e.value)
	if !ok {
		return
	}
	n := &b.c.Network
	switch mode, target, hasTarget := strings.Cut(s, ":"); {
	case hasTarget && mode == string(NetworkContainer):
		n.Mode, n.Target = NetworkContainer, b.targetContainer(e, target)
	case hasTarget && mode == string(NetworkNamespace):
		n.Mode, n.Target = NetworkNamespace, b.path(e, target)
	case s == string(NetworkContainer), s == string(NetworkNamespace):
		b.fail(e, nil, `%q needs to say which: write "container:NAME" or "ns:/PATH"`, s)
	case s == string(NetworkBridge), s == string(NetworkHost), s == string(NetworkNone), s == string(NetworkCustom):
		n.Mode, n.Target = NetworkMode(s), ""
	default:
		b.fail(e, nil, `%q is not one of "bridge" (own address in networks), "host" (the host's network), "none" (loopback only),`+
			` "custom" (own network that somebody else sets up), "container:NAME" (the network of that container) and "ns:/PATH" (of that namespace)`, s)
	}
}

func (b *builder) targetContainer(e *entry, name string) string {
	switch err := ValidName(name); {
	case err != nil:
		b.fail(e, nil, "%v", err)
	case name == b.c.Name:
		b.fail(e, nil, "a container can't share its network with itself; name another")
	default:
		return name
	}
	return ""
}

// checkNetwork refuses what needs a bridge in another mode, and brings the joins into
// one shape: there are some if the mode is bridge.
func (b *builder) checkNetwork(entries []*entry) {
	n := &b.c.Network
	switch {
	case b.c.Pod != "": // see checkPod
		n.Joins = nil
		return
	case n.Mode == NetworkBridge:
		b.checkJoins(entries)
		return
	}
	for _, e := range entries {
		list, isList := e.value.([]any)
		if e.table == "network" && e.key != "mode" && (!isList || len(list) > 0) {
			b.fail(e, nil, `needs mode = "bridge", but mode is %q; leave one of them out`, n.ModeText())
		}
	}
	n.Joins = nil
}
