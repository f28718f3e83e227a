package config

import (
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const fullNetwork = `description = "What faces the world"
kind = "bridge"
subnets = ["10.1.0.0/24", "fd00:1::/64"]
gateway = "10.1.0.254"
gateway6 = "fd00:1::fe"
range = "10.1.0.100-10.1.0.200"
ipv6 = true
mtu = 1400
isolated = true
dns = false
keep = false
`

func TestEveryNetworkKey(t *testing.T) {
	address := netip.MustParseAddr
	for text, want := range map[string]NetworkDefinition{
		"": {Kind: KindBridge},
		fullNetwork: {
			Kind: KindBridge, Description: "What faces the world", IPv6: true, MTU: 1400, Isolated: true, NoDNS: true, Temporary: true,
			Subnets: []Subnet{
				{netip.MustParsePrefix("10.1.0.0/24"), address("10.1.0.254"), address("10.1.0.100"), address("10.1.0.200")},
				{Prefix: netip.MustParsePrefix("fd00:1::/64"), Gateway: address("fd00:1::fe")},
			},
		},
		"internal = true\ndns = true\nkeep = true\n": {Kind: KindBridge, Internal: true},
		"bridge = 'br0'\nsubnets = ['10.1.0.0/24']":  {Kind: KindBridge, Bridge: "br0", Subnets: []Subnet{{Prefix: netip.MustParsePrefix("10.1.0.0/24")}}},
		"subnets = ['fd00::/64']\nrange = ['fd00::10 - fd00::20']": {
			Kind: KindBridge, Subnets: []Subnet{{Prefix: netip.MustParsePrefix("fd00::/64"), First: address("fd00::10"), Last: address("fd00::20")}},
		},
		"kind = 'macvlan'\nparent = 'eth0'\nvlan = 4094\nmode = 'vepa'\nsubnets = ['10.1.0.0/24']": {
			Kind: KindMacvlan, Parent: "eth0", VLAN: 4094, Mode: "vepa", Subnets: []Subnet{{Prefix: netip.MustParsePrefix("10.1.0.0/24")}},
		},
		"kind = 'ipvlan'\nparent = 'eth0'\nmode = 'l3s'\nsubnets = ['10.1.0.0/24']": {
			Kind: KindIPvlan, Parent: "eth0", Mode: "l3s", Subnets: []Subnet{{Prefix: netip.MustParsePrefix("10.1.0.0/24")}},
		},
		"parent = 'eth0'\nvlan = 10\nsubnets = ['10.1.0.0/24']": {
			Kind: KindBridge, Parent: "eth0", VLAN: 10, Subnets: []Subnet{{Prefix: netip.MustParsePrefix("10.1.0.0/24")}},
		},
		"cni = 'dbnet'": {Kind: KindCNI, CNI: "dbnet"},
	} {
		got, err := ParseNetwork("front", "/n/front.toml", text)
		want.Name, want.File, want.Sources = "front", "/n/front.toml", []string{"/n/front.toml"}
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", text, err, got, want)
		}
	}
}

func TestNetworkFileProblems(t *testing.T) {
	const lan = "kind = 'macvlan'\nparent = 'eth0'\nsubnets = ['10.1.0.0/24']\n"
	for _, c := range []struct {
		text string
		want []string
	}{
		{"subnet = '10.1.0.0/24'", []string{`1: unknown key "subnet" (did you mean "subnets"?)`}},
		{"[network]\nkind = 'bridge'", []string{"2: network.kind: a network's file has no tables; write its keys without [network]"}},
		{"kind = 'overlay'", []string{`1: kind: "overlay" is not one of "bridge" "macvlan" "ipvlan" "cni"`}},
		{"kind = 1", []string{"1: kind: must be a string"}},
		{"subnets = '10.1.0.0/24'", []string{"1: subnets: must be an array of subnets"}},
		{"subnets = ['10.1.0.0']", []string{`1: subnets[0]: "10.1.0.0" is no subnet`}},
		{"subnets = ['10.1.0.5/24']", []string{`1: subnets[0]: 10.1.0.5/24 is an address in a subnet; write the subnet, "10.1.0.0/24"`}},
		{"subnets = [\n'10.1.0.0/24',\n'10.2.0.0/24']", []string{"3: subnets[1]: there is a subnet of IPv4 already"}},
		{"subnets = ['10.1.0.0/31']", []string{"has no room for a gateway and a container"}},
		{"subnets = ['10.0.0.0/7']", []string{"10.0.0.0/7 is too large"}},
		{"subnets = ['0.0.0.0/0']", []string{"is too large"}},
		{"subnets = ['127.0.1.0/24']", []string{"127.0.1.0/24 holds loopback addresses (127.0.0.0/8)"}},
		{"subnets = ['169.254.0.0/16']", []string{"link-local addresses"}},
		{"subnets = ['224.0.0.0/24']", []string{"multicast addresses"}},
		{"subnets = ['fe80::/64']", []string{"link-local addresses"}},
		{"subnets = ['ff00::/64']", []string{"multicast addresses"}},
		{"subnets = ['::/64']", []string{"reserved addresses, among them loopback"}},
		{"subnets = ['fd00::/127']", []string{"has no room"}},
		{"subnets = ['10.1.0.0/16', 'fd00::/120']", []string{"1: subnets: fd00::/120 has fewer addresses than 10.1.0.0/16"}},
		{"subnets = ['10.1.0.0/24']\ngateway = '10.2.0.1'", []string{"2: gateway: 10.2.0.1 is outside of the subnet 10.1.0.0/24"}},
		{"subnets = ['10.1.0.0/24']\ngateway = '10.1.0.255'", []string{"2: gateway: 10.1.0.255 is the broadcast address"}},
		{"subnets = ['10.1.0.0/24']\ngateway = '10.1.0.0'", []string{"2: gateway: 10.1.0.0 is the address of the subnet itself"}},
		{"subnets = ['fd00::/64']\ngateway6 = 'fd00::'", []string{"2: gateway6: fd00:: is the address of all routers"}},
		{"subnets = ['10.1.0.0/24']\ngateway6 = 'fd00::1'", []string{"2: gateway6: fd00::1 is IPv6, but there is no subnet of that"}},
		{"gateway = '10.1.0.1'", []string{"1: gateway: there are no subnets that it could be in"}},
		{"range = '10.1.0.1-10.1.0.2'", []string{"1: range: there are no subnets"}},
		{"subnets = ['10.1.0.0/24']\nrange = '10.1.0.9'", []string{`2: range: "10.1.0.9" is no range of addresses`}},
		{"subnets = ['10.1.0.0/24']\nrange = '10.1.0.9-10.1.0.8'", []string{"ends before it begins"}},
		{"subnets = ['10.1.0.0/24']\nrange = '10.1.0.9-10.1.1.8'", []string{"2: range: 10.1.1.8 is outside of the subnet"}},
		{"subnets = ['10.1.0.0/24']\nrange = '10.1.0.9-10.1.0.255'", []string{"10.1.0.255 is the broadcast address; end with another"}},
		{"subnets = ['10.1.0.0/24']\nrange = '10.1.0.0-10.1.0.9'", []string{"begin with another"}},
		{"subnets = ['10.1.0.0/24']\nrange = '10.1.0.1-10.1.0.1'", []string{"there is nothing in it but the gateway"}},
		{"subnets = ['10.1.0.0/24']\nrange = ['10.1.0.2-10.1.0.3', '10.1.0.5-10.1.0.6']", []string{"2: range[1]: there is a range of IPv4 already"}},
		{"subnets = ['10.1.0.0/24', 'fd00::/64']\nrange = ['fd00::1-fd00::9']", []string{"2: range[0]: with IPv4, a container's IPv6 address has the number of its IPv4 address"}},
		{"mtu = 67", []string{"1: mtu: 67 is out of range; use 68 to 65535"}},
		{"mtu = 65536", []string{"out of range"}},
		{"mtu = 1279\nipv6 = true", []string{"1: mtu: 1279 is too small for IPv6; use 1280 or more"}},
		{"mtu = 1279\nsubnets = ['fd00::/64']", []string{"too small for IPv6"}},
		{"ipv6 = false\nsubnets = ['fd00::/64']", []string{"1: ipv6: there is a subnet of IPv6"}},
		{"parent = 'eth0'\nsubnets = ['10.1.0.0/24']\nvlan = 4095", []string{"3: vlan: 4095 is out of range; use 1 to 4094"}},
		{"parent = 'eth0'\nsubnets = ['10.1.0.0/24']\nvlan = 0", []string{"out of range"}},
		{"vlan = 5", []string{"1: vlan: which interface the VLAN is on is missing"}},
		{"parent = 'eth0'", []string{"1: parent: a bridge uses the parent for a VLAN only"}},
		{"parent = 'enp0s31f6abcd'\nvlan = 100\nsubnets = ['10.1.0.0/24']", []string{`the interface of the VLAN would be "enp0s31f6abcd.100", longer than 15 bytes`}},
		{"parent = 'eth0'\nvlan = 100", []string{"1: parent: the addresses that the containers may have on that network are missing"}},
		{"bridge = 'a b'", []string{`1: bridge: "a b" is no name of an interface`}},
		{"bridge = 'br0'", []string{"1: bridge: the addresses that the containers may have"}},
		{"bridge = 'br0'\nvlan = 3\nsubnets = ['10.1.0.0/24']", []string{"1: bridge: an existing bridge has the ports that it has"}},
		{"bridge = 'br0'\ninternal = true\nsubnets = ['10.1.0.0/24']", []string{"2: internal: the way out of an existing bridge is not cocker's"}},
		{"bridge = 'br0'\nisolated = true\nsubnets = ['10.1.0.0/24']", []string{"2: isolated: the host's rules do not see"}},
		{"kind = 'macvlan'\nsubnets = ['10.1.0.0/24']", []string{"1: kind: the host's interface is missing; set parent"}},
		{"kind = 'ipvlan'\nparent = 'eth0'", []string{"2: parent: the addresses that the containers may have"}},
		{lan + "internal = true", []string{"4: internal: a network of the kind macvlan has no bridge"}},
		{lan + "isolated = true\nbridge = 'br0'", []string{"4: isolated: ", "5: bridge: "}},
		{lan + "mode = 'l2'", []string{`4: mode: "l2" is no mode of macvlan; use one of ["bridge" "private" "vepa" "passthru"]`}},
		{"mode = 'bridge'", []string{`1: mode: only the kinds "macvlan" and "ipvlan" have modes`}},
		{"kind = 'cni'", []string{`1: kind: the name of the CNI network is missing; set cni = "NAME"`}},
		{"cni = '../x'", []string{`1: cni: "../x" is no name of a CNI network`}},
		{"cni = 'a'\nsubnets = ['10.1.0.0/24']", []string{`2: subnets: in a network of the kind "cni" this is for its own file`}},
		{"kind = 'bridge'\ncni = 'a'", []string{`2: cni: only the kinds`}},
		{"keep = 1", []string{"1: keep: must be true or false"}},
		{"a = [", []string{"1: not valid TOML"}},
	} {
		_, err := ParseNetwork("front", "/n/front.toml", c.text)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q:\n got %v\nwant %s", c.text, err, want)
			}
		}
		if len(Problems(err)) != len(c.want) {
			t.Errorf("%q: %d problems: %v", c.text, len(Problems(err)), err)
		}
	}
	if _, err := ParseNetwork("Front_of_the_house", "/n/x.toml", ""); err == nil || !strings.Contains(err.Error(), "longer than 15 bytes; it is the name of the network's bridge, too; rename the file") {
		t.Errorf("a long name: %v", err)
	}
}

func TestFindNetwork(t *testing.T) {
	root := tree(t, map[string]string{
		"etc/networks/front.toml":            "subnets = ['10.1.0.0/24']\nmtu = 1400\n",
		"usr/networks/front.toml":            "this is not read",
		"usr/networks/front.toml.d/10-.toml": "mtu = 1300\n",
		"etc/networks/hidden.toml":           "-> /dev/null",
		"usr/networks/hidden.toml":           "",
		"usr/networks/back.toml":             "",
		"etc/containers/not.toml":            "",
	})
	dirs := []string{root + "/etc", root + "/run", root + "/usr"}
	d, err := FindNetwork(dirs, "front")
	if err != nil || d.MTU != 1300 || d.File != root+"/etc/networks/front.toml" || len(d.Sources) != 2 {
		t.Errorf("front: %+v, %v", d, err)
	}
	d, err = FindNetwork(dirs, "cocker0")
	if want := []Subnet{{Prefix: DefaultSubnet()}}; err != nil || d.File != "" || !reflect.DeepEqual(d.Subnets, want) {
		t.Errorf("cocker0: %+v, %v", d, err)
	}
	for name, want := range map[string]string{
		"absent": `no such network as "absent": no absent.toml in ` + root + "/etc/networks, ",
		"hidden": `no such network as "hidden": ` + root + "/etc/networks/hidden.toml is a link to /dev/null",
	} {
		if _, err := FindNetwork(dirs, name); !errors.Is(err, ErrNotFound) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := FindNetwork(dirs, "../x"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("a bad name: %v", err)
	}
	if names, err := ListNetworks(dirs); err != nil || !slices.Equal(names, []string{"back", "cocker0", "front"}) {
		t.Errorf("ListNetworks: %v, %v", names, err)
	}
}

// The built-in network is there without a file, with a drop-in alone, and with a file,
// and not if it is masked.
func TestDefaultNetworkFile(t *testing.T) {
	for text, want := range map[string]string{"mtu = 1400": "10.88.0.0/16", "subnets = ['10.7.0.0/24']": "10.7.0.0/24", "gateway = '10.88.0.2'": "10.88.0.0/16"} {
		for _, file := range []string{"networks/cocker0.toml", "networks/cocker0.toml.d/1.toml"} {
			root := tree(t, map[string]string{file: text})
			d, err := FindNetwork([]string{root}, DefaultNetwork)
			if err != nil || d.Subnets[0].Prefix.String() != want || len(d.Sources) != 1 {
				t.Errorf("%s in %s: %+v, %v", text, file, d, err)
			}
		}
	}
	root := tree(t, map[string]string{"networks/cocker0.toml": "-> /dev/null"})
	if _, err := FindNetwork([]string{root}, DefaultNetwork); !errors.Is(err, ErrNotFound) {
		t.Errorf("masked: %v", err)
	}
	if names, err := ListNetworks([]string{root}); err != nil || len(names) != 0 {
		t.Errorf("masked: %v, %v", names, err)
	}
}

func TestCheckNetworks(t *testing.T) {
	root := tree(t, map[string]string{
		"networks/a.toml": "subnets = ['10.88.4.0/24']\n",
		"networks/b.toml": "\nsubnets = ['fd00::/64', '10.88.4.128/25']\n",
		"networks/c.toml": "kind = 'macvlan'\nparent = 'eth0'\nsubnets = ['10.88.4.0/24']\n",
		"networks/d.toml": "mtu = 1\n",
	})
	good, err := CheckNetworks([]string{root})
	dir := root + "/networks/"
	want := []string{
		dir + "b.toml:2: subnets[1]: 10.88.4.128/25 overlaps 10.88.4.0/24 of the network a, " + dir + "a.toml; give one of them another",
		": subnets: 10.88.0.0/16 overlaps 10.88.4.0/24 of the network a",
		": subnets: 10.88.0.0/16 overlaps 10.88.4.128/25 of the network b",
		dir + "d.toml:1: mtu: 1 is out of range",
	}
	problems := Problems(err)
	if len(good) != 4 || len(problems) != len(want) {
		t.Fatalf("good: %d, %v", len(good), err)
	}
	for i, p := range problems {
		if !strings.HasPrefix(p.Error(), want[i]) {
			t.Errorf("got  %s\nwant %s", p, want[i])
		}
	}
}

// cocker-network.toml(5) describes every key, and nothing else.
func TestNetworkManualHasEveryKey(t *testing.T) {
	page, err := os.ReadFile("../docs/man/cocker-network.toml.5")
	if err != nil {
		t.Fatal(err)
	}
	got, want := manualKeys(string(page)), map[string]bool{}
	for _, k := range networkKeys {
		want[k.key] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("described are %v, the keys are %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// No text makes the reader panic; each problem is one line with a place; and what is
// taken makes sense.
func FuzzNetwork(f *testing.F) {
	f.Add(fullNetwork, "mtu = 1280\n")
	f.Add("kind='macvlan'\nparent='e'\nvlan=1\nsubnets=['10.0.0.0/8']\nrange=['10.0.0.1-10.0.0.9']", "mode='vepa'\n[a]\nb=1")
	f.Add("cni='x'", "subnets=[1,'::/0',\"fd00::/64\"]\ngateway6='fd00::1%a'")
	f.Fuzz(func(t *testing.T, text, dropIn string) {
		sources := []*source{{file: "/n/a.toml", text: text}, {file: "/n/a.toml.d/1.toml", text: dropIn}}
		d, _, err := buildNetwork(Location{Name: "a", File: "/n/a.toml"}, sources, nil)
		if d == nil || err != nil && len(Problems(err)) == 0 {
			t.Fatalf("definition %v, error %v", d, err)
		}
		for _, p := range Problems(err) {
			checkShape(t, p)
		}
		if err == nil {
			checkSense(t, d)
		}
	})
}

func checkSense(t *testing.T, d *NetworkDefinition) {
	t.Helper()
	for _, s := range d.Subnets {
		inside := s.Prefix.Contains(s.gateway()) && s.Prefix == s.Prefix.Masked()
		if s.First.IsValid() {
			inside = inside && s.Prefix.Contains(s.First) && s.Prefix.Contains(s.Last) && !s.Last.Less(s.First)
		}
		if !inside || s.unusable(s.gateway()) != "" {
			t.Errorf("subnet %+v", s)
		}
	}
	for _, name := range []string{d.Bridge, d.Parent} {
		if name != "" && ValidInterface(name) != nil {
			t.Errorf("interface %q", name)
		}
	}
	if len(d.Subnets) > 2 || d.MTU != 0 && (d.MTU < minMTU || d.MTU > maxMTU) || d.VLAN > maxVLAN {
		t.Errorf("%+v", d)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The examples of cocker-network.toml(5) are good files.
func TestExamplesOfTheNetworkManual(t *testing.T) {
	page, err := os.ReadFile("../docs/man/cocker-network.toml.5")
	if err != nil {
		t.Fatal(err)
	}
	_, examples, _ := strings.Cut(string(page), ".SH EXAMPLES\n")
	parts := strings.Split(examples, ".nf\n")[1:]
	for _, part := range parts {
		text, _, _ := strings.Cut(part, ".fi\n")
		if _, err := ParseNetwork("a", "cocker-network.toml.5", text); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
	if len(parts) < 3 {
		t.Errorf("%d examples", len(parts))
	}
}
