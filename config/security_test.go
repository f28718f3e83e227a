package config

import (
	"reflect"
	"testing"
)

// capabilities(7) and linux/capability.h have the numbers.
func TestCapabilities(t *testing.T) {
	const chown, kill, netAdmin, mknod, all = 1 << 0, 1 << 5, 1 << 12, 1 << 27, 1<<41 - 1
	for _, c := range []struct {
		s    Security
		want uint64
	}{
		{Security{}, chown | kill},
		{Security{AddCapabilities: []string{"CAP_NET_ADMIN"}, DropCapabilities: []string{"CAP_KILL"}}, chown | netAdmin},
		{Security{AddCapabilities: []string{"CAP_MKNOD"}, DropCapabilities: []string{AllCapabilities}}, mknod},
		{Security{AddCapabilities: []string{AllCapabilities}, DropCapabilities: []string{"CAP_MKNOD"}}, all &^ mknod},
		{Security{AddCapabilities: []string{"CAP_KILL"}}, chown | kill},
		{Security{Privileged: true}, all},
		{Security{Privileged: true, DropCapabilities: []string{"CAP_KILL"}}, all &^ kill},
		{Security{Privileged: true, DropCapabilities: []string{AllCapabilities}}, 0},
	} {
		if got := c.s.Capabilities(chown | kill); got != c.want {
			t.Errorf("%+v: %#x, want %#x", c.s, got, c.want)
		}
	}
	if got := CapabilityNames(netAdmin | 1<<40); !reflect.DeepEqual(got, []string{"CAP_NET_ADMIN", "CAP_CHECKPOINT_RESTORE"}) {
		t.Errorf("names: %q", got)
	}
}

// A drop-in replaces one switch, however the two files write its name.
func TestSysctlsOfDropIns(t *testing.T) {
	root := tree(t, map[string]string{
		"etc/containers/web.toml":          "image = 'a'\n[sysctls]\nnet.core.somaxconn = 1\n'net.ipv4.tcp_fin_timeout' = 2\n",
		"etc/containers/web.toml.d/1.toml": "[sysctls]\n'net.core.somaxconn' = 3\nnet.ipv4.tcp_syncookies = 4\n",
	})
	c, err := Load([]string{root + "/etc"}, "web")
	if err != nil {
		t.Fatal(err)
	}
	want := []Sysctl{{"net.core.somaxconn", "3"}, {"net.ipv4.tcp_fin_timeout", "2"}, {"net.ipv4.tcp_syncookies", "4"}}
	if !reflect.DeepEqual(c.Sysctls, want) {
		t.Errorf("got %v, want %v", c.Sysctls, want)
	}
}
