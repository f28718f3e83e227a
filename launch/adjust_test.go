package launch

import (
	"reflect"
	"testing"

	"github.com/cocker/cocker/config"
)

func TestComparePorts(t *testing.T) {
	tests := []struct {
		name                          string
		published, wanted             []string
		added, removed, moved, result []string
		chosen                        []string // what Publish says of added
	}{
		{name: "the same", published: []string{"80:80"}, wanted: []string{"80:80"}, result: []string{"80:80"}},
		{name: "one more", published: []string{"80:80"}, wanted: []string{"80:80", "81:81"}, added: []string{"81:81"}, result: []string{"80:80", "81:81"}},
		{name: "one less", published: []string{"80:80", "81:81"}, wanted: []string{"81:81"}, removed: []string{"80:80"}, result: []string{"81:81"}},
		{name: "another in its place", published: []string{"80:80"}, wanted: []string{"80:81"}, added: []string{"80:81"}, removed: []string{"80:80"}, moved: []string{"80:80"}, result: []string{"80:81"}},
		{name: "another address of its place", published: []string{"80:80"}, wanted: []string{"127.0.0.1:80:80"}, added: []string{"127.0.0.1:80:80"}, removed: []string{"80:80"}, moved: []string{"80:80"}, result: []string{"127.0.0.1:80:80"}},
		{name: "another protocol", published: []string{"80:80"}, wanted: []string{"80:80/udp"}, added: []string{"80:80/udp"}, removed: []string{"80:80"}, result: []string{"80:80/udp"}},
		{name: "one that was chosen stays", published: []string{"32768:80"}, wanted: []string{":80", "81:81"}, added: []string{"81:81"}, result: []string{"32768:80", "81:81"}},
		{name: "one is chosen", published: []string{"81:81"}, wanted: []string{":80"}, added: []string{":80"}, removed: []string{"81:81"}, chosen: []string{"40000:80"}, result: []string{"40000:80"}},
		{name: "two are chosen", wanted: []string{":80", ":80"}, added: []string{":80", ":80"}, chosen: []string{"40000:80", "40001:80"}, result: []string{"40000:80", "40001:80"}},
		{name: "a fixed one takes what was chosen", published: []string{"40000:80"}, wanted: []string{":80", "40000:80"}, added: []string{":80"}, chosen: []string{"40001:80"}, result: []string{"40001:80", "40000:80"}},
	}
	for _, tt := range tests {
		c := comparePorts(ports(t, tt.published), ports(t, tt.wanted))
		chosen := c.added
		if tt.chosen != nil {
			chosen = ports(t, tt.chosen)
		}
		for what, pair := range map[string][2][]config.Port{
			"added": {c.added, ports(t, tt.added)}, "removed": {c.removed, ports(t, tt.removed)},
			"moved": {c.moved, ports(t, tt.moved)}, "result": {c.result(chosen), ports(t, tt.result)},
		} {
			if len(pair[0])+len(pair[1]) > 0 && !reflect.DeepEqual(pair[0], pair[1]) {
				t.Errorf("%s: %s are %v, want %v", tt.name, what, pair[0], pair[1])
			}
		}
	}
}

func ports(t *testing.T, texts []string) (list []config.Port) {
	t.Helper()
	for _, text := range texts {
		p, err := config.ParsePort(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}
