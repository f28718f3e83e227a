package cli

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestEscape(t *testing.T) {
	const key = "\x1d"
	start := time.Unix(1, 0)
	tests := []struct {
		name, keys string
		pause      time.Duration
		want       bool
	}{
		{"three", key + key + key, 100 * time.Millisecond, true},
		{"two", key + key, 0, false},
		{"too slow", key + key + key, 600 * time.Millisecond, false},
		{"broken", key + key + "a" + key, 0, false},
		{"after others", "ab" + key + "c" + key + key + key, 0, true},
	}
	for _, tt := range tests {
		e, left := &escape{}, false
		for i := range tt.keys {
			left = left || e.sees(tt.keys[i], start.Add(time.Duration(i)*tt.pause))
		}
		if left != tt.want {
			t.Errorf("%s: %v", tt.name, left)
		}
	}
	left := 0
	text, err := io.ReadAll(&escape{typed: strings.NewReader("abc" + key + key), leave: func() { left++ }})
	if string(text) != "abc"+key+key || err != nil || left != 0 {
		t.Errorf("what is typed: %q, %v, left %d times", text, err, left)
	}
	_, _ = io.ReadAll(&escape{typed: strings.NewReader(key + key + key), leave: func() { left++ }})
	if left != 1 {
		t.Errorf("left %d times", left)
	}
}
