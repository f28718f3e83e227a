package units

import (
	"strings"
	"testing"
)

// Whatever cocker@.service says, the parsed form must say too: every line that
// is neither empty nor a comment nor a section.
func TestTemplateFileIsComplete(t *testing.T) {
	want := 0
	for line := range strings.Lines(templateText) {
		if strings.Contains(line, "=") && !strings.HasPrefix(line, "#") {
			want++
		}
	}
	got := 0
	for _, s := range TemplateFile().Sections {
		got += len(s.Lines)
	}
	if got != want || want == 0 {
		t.Errorf("%d lines parsed, the file has %d", got, want)
	}
	for _, l := range TemplateFile().Section("Service") {
		if l.Key == "KillMode" && l.Value == "mixed" {
			return
		}
	}
	t.Error("KillMode=mixed is not in [Service]")
}
