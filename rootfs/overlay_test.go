package rootfs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// overlayfs.rst: "lowerdir=/lower1:/lower2", the first one is the topmost.
func TestOverlayOptions(t *testing.T) {
	got := overlayOptions(3)
	if !strings.Contains(got, "lowerdir=l/2:l/1:l/0,") {
		t.Errorf("%q does not have the highest layer first", got)
	}
}

// mount(2) takes at most one page of options.
func TestOverlayOptionsFitIntoAPage(t *testing.T) {
	if n := len(overlayOptions(maxLayers)); n >= 4096 {
		t.Errorf("%d bytes of options for %d layers", n, maxLayers)
	}
}

func TestLayerNames(t *testing.T) {
	many := make([]string, maxLayers+1)
	for i := range many {
		many[i] = fmt.Sprintf("/layers/%d", i)
	}
	cases := []struct {
		name   string
		layers []string
		want   []string
		bad    bool
	}{
		{"order", []string{"/layers/sha256/b", "/layers/sha256/a"}, []string{"sha256/b", "sha256/a"}, false},
		{"shared by stacked images", []string{"/layers/base", "/layers/x", "/layers/base", "/layers/y"}, []string{"base", "x", "y"}, false},
		{"none", nil, nil, true},
		{"too many", many, nil, true},
		{"outside", []string{"/etc"}, nil, true},
		{"outside by ..", []string{"/layers/../etc"}, nil, true},
	}
	for _, c := range cases {
		got, err := layerNames("/layers", c.layers)
		if (err != nil) != c.bad || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}
