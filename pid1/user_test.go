package pid1

import (
	"slices"
	"testing"
)

const (
	testPasswd = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:web:/srv/www:/bin/false\n1000:x:7:8:digits:/d:/bin/sh\nbroken\nbig:x:70000:1::/:/bin/sh\nlast:x:44:45::/last:"
	testGroup  = "root:x:0:\nwww:x:33:\nadm:x:4:root,www\nbackup:x:34:www\n"
)

// passwd(5), group(5); the forms of USER in a Dockerfile.
func TestResolve(t *testing.T) {
	cases := []struct {
		specification string
		uid, gid      uint32
		groups        []uint32
		home          string
	}{
		{"", 0, 0, []uint32{4}, "/root"},
		{"root", 0, 0, []uint32{4}, "/root"},
		{"www", 33, 33, []uint32{4, 34}, "/srv/www"},
		{"33", 33, 33, []uint32{4, 34}, "/srv/www"},
		{"www:root", 33, 0, nil, "/srv/www"},
		{"www:12", 33, 12, nil, "/srv/www"},
		{"5", 5, 0, nil, "/"},
		{"5:6", 5, 6, nil, "/"},
		{"1000", 1000, 0, nil, "/"}, // a number, although an entry has that name
		{"last", 44, 45, nil, "/last"},
		{":4", 0, 4, nil, "/root"},
	}
	for _, c := range cases {
		got, err := resolve(c.specification, testPasswd, testGroup)
		if err != nil {
			t.Errorf("%q: %v", c.specification, err)
			continue
		}
		if got.uid != c.uid || got.gid != c.gid || !slices.Equal(got.groups, c.groups) || got.home != c.home {
			t.Errorf("%q: %+v, want %+v", c.specification, *got, c)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	for _, specification := range []string{"nobody", "www:nogroup", "-1", "65536", "0x10", "4294967296", "big", "www:", "root:70000"} {
		if got, err := resolve(specification, testPasswd, testGroup); err == nil {
			t.Errorf("%q was resolved to %+v", specification, *got)
		}
	}
}

// sd_notify(3): the container may speak of its own state, not of systemd's.
func TestFilterNotification(t *testing.T) {
	for message, want := range map[string]string{
		"READY=1":                             "READY=1",
		"READY=1\nMAINPID=1\nSTATUS=up\n":     "READY=1\nSTATUS=up",
		"FDSTORE=1\nFDNAME=x":                 "",
		"MAINPID=1":                           "",
		"READY":                               "",
		"":                                    "",
		"XREADY=1\nSTOPPING=1":                "STOPPING=1",
		"RELOADING=1\nMONOTONIC_USEC=5\nA=b=": "RELOADING=1\nMONOTONIC_USEC=5",
	} {
		if got := filterNotification(message); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
}
