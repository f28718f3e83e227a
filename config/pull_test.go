package config

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// A short name is an image of this host; systemd looks for a marker by its path.
func TestPulled(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0", 64)
	for reference, marker := range map[string]string{
		"demo": "", "demo:1.0": "", "team/demo:1.0": "", "demo" + digest: "", digest[1:]: "",
		"registry.example.com/demo":              "registry.example.com+demo",
		"registry.example.com:5000/team/demo":    "registry.example.com:5000+team+demo",
		"localhost/demo:1.0":                     "localhost+demo:1.0",
		"127.0.0.1:5000/team/demo:1.0" + digest:  "127.0.0.1:5000+team+demo" + digest,
		"registry.example.com/demo" + digest:     "registry.example.com+demo" + digest,
		"ssh://me@example.com:22/team/demo:1.0":  "ssh:++me@example.com:22+team+demo:1.0",
		"ssh://me@example.com/demo:1.0" + digest: "ssh:++me@example.com+demo" + digest,
	} {
		c := &Container{Images: []string{"base:1.0", reference}}
		want := []string{reference}
		if marker == "" {
			want = nil
		} else if got := Marker(reference); got != marker {
			t.Errorf("%s: marker %s, want %s", reference, got, marker)
		}
		if got := c.Pulled(); !slices.Equal(got, want) {
			t.Errorf("%s: %v is pulled, want %v", reference, got, want)
		}
		if c.Pull = PullNever; c.Pulled() != nil {
			t.Errorf("%s is pulled with pull = \"never\"", reference)
		}
	}
}

func TestTimeSpan(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"90": 90 * time.Second, "90s": 90 * time.Second, "1h 30min": 90 * time.Minute, "1h30min": 90 * time.Minute, "2 days": 48 * time.Hour,
		"500ms": 500 * time.Millisecond, "1w": 168 * time.Hour, "infinity": math.MaxInt64, " 5min ": 5 * time.Minute,
	} {
		if got, ok := TimeSpan(s); !ok || got != want {
			t.Errorf("%q: %v, %v, want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "0", "0s", "-1", "1x", "s", "1.5h", "1 h h", "9999999999999999999999", "9223372036854775807w", "400d", "300d 300d", "1s\n", "infinity s"} {
		if got, ok := TimeSpan(s); ok {
			t.Errorf("%q: %v", s, got)
		}
	}
}
