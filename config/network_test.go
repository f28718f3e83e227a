package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestNetworkModes(t *testing.T) {
	for mode, want := range map[string]Network{
		"bridge":        {Mode: NetworkBridge, Joins: []Join{{Name: DefaultNetwork}}},
		"host":          {Mode: NetworkHost},
		"none":          {Mode: NetworkNone},
		"custom":        {Mode: NetworkCustom},
		"container:db":  {Mode: NetworkContainer, Target: "db"},
		"ns:/run/net/a": {Mode: NetworkNamespace, Target: "/run/net/a"},
	} {
		c, err := Parse("web", "/e/web.toml", "image = 'a'\n[network]\nmode = '"+mode+"'\nports = []\n")
		if err != nil || !reflect.DeepEqual(c.Network, want) || c.Network.ModeText() != mode {
			t.Errorf("%s: %+v, %v", mode, c, err)
			continue
		}
		roundTrip(t, c)
	}
	c, err := Parse("web", "/e/web.toml", "image = 'a'\npod = 'shop'\n")
	if err != nil || c.Pod != "shop" || len(c.Network.Joins) != 0 {
		t.Fatalf("pod: %+v, %v", c, err)
	}
	roundTrip(t, c)
}

func TestNetworkProblems(t *testing.T) {
	for _, c := range []struct {
		network string // from line 3
		want    []string
	}{
		{"mode = 'container'", []string{`3: network.mode: "container" needs to say which: write "container:NAME"`}},
		{"mode = 'container:web'", []string{"3: network.mode: a container can't share its network with itself"}},
		{"mode = 'container:a_b'", []string{`3: network.mode: "a_b" is no valid container name`}},
		{"mode = 'ns:run/x'", []string{`3: network.mode: "run/x" must be an absolute path`}},
		{"mode = 'none'\naddress = '10.88.0.9'\negress_max = '1M'\n[[network.join]]\nname = 'a'", []string{`4: network.address: needs mode = "bridge", but mode is "none"`, "5: network.egress_max: needs", "6: network.join: needs"}},
		{"mode = 'container:db'\nports = ['1:1']", []string{`4: network.ports: needs mode = "bridge", but mode is "container:db"`}},
		{"name = 'a b'", []string{`3: network.name: "a b" is no name of an interface`}},
		{"name = 'sixteen-bytes-00'", []string{"longer than 15 bytes"}},
		{"name = 'host'", []string{`"host" is a mode and no name for a network`}},
		{"name = 'default'", []string{`"default" has a meaning of its own`}},
		{"address = '10.88.0'", []string{`3: network.address: "10.88.0" is no IP address`}},
		{"address = 'fd00::1'", []string{"3: network.address: fd00::1 is for the key address6"}},
		{"address6 = '10.88.0.1'", []string{"3: network.address6: 10.88.0.1 is for the key address;"}},
		{"address = '127.0.0.1'", []string{"127.0.0.1 is a loopback address"}},
		{"address = '224.0.0.1'", []string{"a multicast address"}},
		{"address = '169.254.1.1'", []string{"a link-local address"}},
		{"address = '0.0.0.0'", []string{"the unspecified address"}},
		{"address = '255.255.255.255'", []string{"a reserved address"}},
		{"address6 = 'fe80::1'", []string{"a link-local address"}},
		{"address6 = 'fd00::1%eth0'", []string{"is no IP address"}},
		{"address6 = '::ffff:1.2.3.4'", []string{"IPv4 address in IPv6 notation"}},
		{"mac = '02:00:00:00:00'", []string{"3: network.mac: ", "is no MAC address"}},
		{"mac = '2:0:0:0:0:1'", []string{"is no MAC address"}},
		{"mac = '01:00:5e:00:00:01'", []string{"is a multicast address"}},
		{"mac = '00:00:00:00:00:00'", []string{"is no address that an interface can have"}},
		{"aliases = 'db'", []string{"3: network.aliases: must be an array of host names"}},
		{"aliases = ['a', 'a_b', 'A', '10.0.0.1', 'localhost']", []string{`3: network.aliases[1]: "a_b" is no valid host name`, `aliases[2]: "a" is there twice`, `aliases[3]: "10.0.0.1" has a meaning`, `aliases[4]: "localhost" has`}},
		{"interface = 'lo'", []string{`3: network.interface: "lo" has a meaning`}},
		{"interface = 'a/b'", []string{"is no name of an interface"}},
		{"egress_max = 10", []string{`3: network.egress_max: must be a string with its unit: "10M" are 10 megabit/s`}},
		{"ingress_max = '10Mbit'", []string{`3: network.ingress_max: "10Mbit" is no rate; write bits in a second`}},
		{"ports = [':1-1000', ':1001-1025']", []string{"3: network.ports[1]: ", "would publish 1025 ports; it may publish 1024"}},
		{"ports = ['8000-8002:1-3', '8002:9']", []string{"3: network.ports[1]: ", "tcp port 8002 of every address is published already"}},
		{"join = 'a'", []string{"3: network.join: must be an array of tables"}},
		{"[[network.join]]\naddress = '10.1.0.2'", []string{"3: network.join[0]: name is missing"}},
		{"[[network.join]]\nname = 'a'\nnmae = 'b'\nalias = ['x']", []string{`unknown key "nmae" in network.join[0] (did you mean "name"?)`, `unknown key "alias" in network.join[0] (did you mean "aliases"?)`}},
		{"[[network.join]]\nname = 'cocker0'", []string{"4: network.join[0].name: the container is in cocker0 already, the network of [network]"}},
		{"[[network.join]]\nname = 'a'\n[[network.join]]\nname = 'a'", []string{"6: network.join[1].name: the container is in a already by join[0]"}},
		{"interface = 'eth1'\n[[network.join]]\nname = 'a'", []string{"network.join[0].interface: the interface of cocker0 is named eth1, too"}},
		{"mac = '02:00:00:00:00:01'\n[[network.join]]\nname = 'a'\nmac = '02:00:00:00:00:01'", []string{"6: network.join[0].mac: cocker0 has the address"}},
	} {
		checkProblem(t, "image = 'a'\n[network]\n"+c.network, c.want)
	}
	checkProblem(t, "image = 'a'\npod = 'a_b'", []string{`2: pod: "a_b" is no valid pod name`})
	checkProblem(t, "image = 'a'\npod = 'shop'\nhostname = 'b'\n[network]\nports = ['1:1']", []string{"3: hostname: the pod shop decides", "5: network.ports: the pod shop decides"})
}

// What only the network's file knows is checked by Load and Check, with the line of
// the container's file.
func TestAddressesOfNetworks(t *testing.T) {
	root := tree(t, map[string]string{
		"networks/six.toml":    "subnets = ['10.6.0.0/24', 'fd00:6::/64']\ngateway = '10.6.0.254'\n",
		"networks/picked.toml": "ipv6 = true\n",
		"networks/lan.toml":    "kind = 'macvlan'\nparent = 'eth0'\nsubnets = ['192.168.1.0/24']\n",
		"networks/bad.toml":    "knd = 'x'\n",
		"networks/hidden.toml": "-> /dev/null",
	})
	dir := root + "/containers/"
	for _, c := range []struct{ network, want string }{
		{"address = '10.88.0.1'", "web.toml:3: network.address: 10.88.0.1 is the bridge's own address, the gateway; use another of 10.88.0.0/16"},
		{"address = '10.88.0.0'", "web.toml:3: network.address: 10.88.0.0 is the address of the subnet itself; use another of 10.88.0.0/16"},
		{"address = '10.88.255.255'", "web.toml:3: network.address: 10.88.255.255 is the broadcast address; use another of 10.88.0.0/16"},
		{"address = '10.89.0.2'", "web.toml:3: network.address: 10.89.0.2 is not in the subnet of cocker0, 10.88.0.0/16"},
		{"name = 'six'\naddress = '10.6.0.254'", "web.toml:4: network.address: 10.6.0.254 is the bridge's own"},
		{"name = 'six'\naddress = '10.6.0.1'", ""},
		{"name = 'six'\naddress6 = 'fd00:6::1'", "web.toml:4: network.address6: fd00:6::1 is the bridge's own"},
		{"name = 'six'\naddress6 = 'fd00:6::'", "web.toml:4: network.address6: fd00:6:: is the address of all routers"},
		{"name = 'six'\naddress6 = 'fd00:6::2'", ""},
		{"name = 'picked'\naddress = '10.1.0.2'", "web.toml:4: network.address: the subnet of the network picked is picked when it starts; for a fixed address set subnets in " + root},
		{"name = 'picked'\naddress6 = 'fd00::2'", "web.toml:4: network.address6: the subnet of the network picked is picked"},
		{"name = 'lan'\naddress = '192.168.1.1'", "web.toml:4: network.address: 192.168.1.1 is the gateway; use"},
		{"name = 'lan'\naddress6 = 'fd00::2'", "web.toml:4: network.address6: fd00::2 is IPv6, which the network lan does not have"},
		{"name = 'lan'\nports = ['80:80']", "web.toml:4: network.ports: the network lan is not behind this host"},
		{"[[network.join]]\nname = 'sxi'", "web.toml:4: network.join[0].name: no such network as \"sxi\": no sxi.toml in " + root + "/networks; write that file, see cocker-network.toml(5), or name another network (did you mean \"six\"?)"},
		{"name = 'hidden'", "web.toml:3: network.name: no such network as \"hidden\": " + root + "/networks/hidden.toml is a link to /dev/null, which hides it"},
	} {
		writeFile(t, dir+"web.toml", "image = 'a'\n[network]\n"+c.network)
		_, err := Load([]string{root}, "web")
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), dir+c.want)) {
			t.Errorf("%q:\n got %v\nwant %s", c.network, err, c.want)
		}
	}
	writeFile(t, dir+"web.toml", "image = 'a'\n[network]\nname = 'bad'")
	want := root + `/networks/bad.toml:1: unknown key "knd" (did you mean "kind"?)`
	if _, err := Load([]string{root}, "web"); err == nil || err.Error() != want {
		t.Errorf("a bad network: %v", err)
	}
	good, err := Check([]string{root})
	if len(good) != 0 || err == nil || strings.TrimSpace(err.Error()) != want {
		t.Errorf("Check: good %v, %v", good, err)
	}
}
