package journal

import "testing"

// No value can begin a field of its own.
func TestEntry(t *testing.T) {
	got := string(entry(Warning, "web", "killed\nPRIORITY=0", []string{"cocker@web.service"}))
	want := "PRIORITY=4\nSYSLOG_IDENTIFIER\n\x03\x00\x00\x00\x00\x00\x00\x00web\n" +
		"OBJECT_SYSTEMD_UNIT\n\x12\x00\x00\x00\x00\x00\x00\x00cocker@web.service\n" +
		"MESSAGE\n\x11\x00\x00\x00\x00\x00\x00\x00killed\nPRIORITY=0\n"
	if got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
