package units

import "testing"

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		Service("a-b.c"): "cocker@a-b.c.service", TransientService("web"): "cocker-web.service", Scope("web"): "cocker-web.scope",
		Network("cocker0"): "cocker-network@cocker0.service", DropIn(Service("web")): "cocker@web.service.d/10-cocker.conf",
		WantsDir("multi-user.target"): "multi-user.target.wants", RequiresDir("a.service"): "a.service.requires",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestContainerOf(t *testing.T) {
	for _, name := range []string{"web", "a-b", "a.b", "network", "service", "a.service"} {
		for _, unit := range []string{Service(name), TransientService(name), Scope(name)} {
			if got, ok := ContainerOf(unit); !ok || got != name {
				t.Errorf("%s: %q, %v", unit, got, ok)
			}
		}
	}
	for _, unit := range []string{"", "cocker@.service", "cocker-.scope", "cocker.service", "ssh.service", "cocker@web.timer", "cocker@web", Network("cocker0"), "cocker@a@b.service"} {
		if got, ok := ContainerOf(unit); ok {
			t.Errorf("%s is taken for container %q", unit, got)
		}
	}
}
