package netsetup

import (
	"testing"

	"github.com/cocker/cocker/config"
)

// A list comes in parts (netlink_dump of the kernel), and several questions at once have
// each its own answer, whatever the others' are.
func TestQuestions(t *testing.T) {
	up(t)
	e, err := openElements()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	const parts, each = 30, 100
	lease := leaseOf("10.88.0.5")
	for part := range parts {
		var ports []config.Port
		for i := range each {
			ports = append(ports, config.Port{HostPort: uint16(10000 + part*each + i), ContainerPort: 80, Protocol: config.TCP})
		}
		if err := e.tryAdd("web", e.bindings(lease, ports)); err != nil {
			t.Fatal(err)
		}
	}
	found, err := e.all(e.v4.ports)
	if err != nil || len(found) != parts*each {
		t.Errorf("%d elements, want %d: %v", len(found), parts*each, err)
	}
	key := func(port uint16) []byte { return portKey(config.Port{HostPort: port, Protocol: config.TCP}) }
	answers, err := e.ask(elementQuestion(e.v4.ports, key(9)), chainQuestion(e.Table), elementQuestion(e.v4.ports, key(10007)), elementQuestion(e.v6.ports, key(10007)))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int]string{0: "", 2: "web", 3: ""} {
		if element, err := answers[i].element(e.v4.ports); element.owner != want || err != nil {
			t.Errorf("answer %d: owner %q, want %q: %v", i, element.owner, want, err)
		}
	}
	uses, err := answers[1].uses(e.Table)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range chainSizes() {
		if uses[c.name] < c.rules {
			t.Errorf("chain %s has %d rules, want %d", c.name, uses[c.name], c.rules)
		}
	}
}
