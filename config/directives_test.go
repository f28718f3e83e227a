package config

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestDirectiveName(t *testing.T) {
	for key, want := range map[string]string{
		"Restart": "Restart", "restart": "Restart", "timeout_stop_sec": "TimeoutStopSec", "cpu_quota": "CPUQuota",
		"io_weight": "IOWeight", "oom_policy": "OOMPolicy", "limit_nofile": "LimitNOFILE", "TimeoutStopSec": "TimeoutStopSec",
		"Restart_Sec": "", "TIMEOUTSTOPSEC": "", "x": "", "": "", " ": "", "Restart RestartSec": "", "restart restartsec": "",
	} {
		if got, _ := directiveName(key, serviceDirectives); got != want {
			t.Errorf("%q: %q, want %q", key, got, want)
		}
	}
}

func TestDirectivesAreListedOnce(t *testing.T) {
	for section, groups := range map[string][]directiveGroup{"Unit": unitDirectives, "Service": serviceDirectives} {
		seen := map[string]bool{}
		for _, g := range groups {
			if !strings.HasPrefix(g.names, " ") || !strings.HasSuffix(g.names, " ") || strings.Contains(g.names, "  ") {
				t.Errorf("[%s]: names must be between single spaces: %q", section, g.names)
			}
			for name := range strings.FieldsSeq(g.names) {
				if seen[foldDirective(name)] {
					t.Errorf("[%s] %s is listed twice", section, name)
				}
				seen[foldDirective(name)] = true
			}
		}
	}
}

// Each directive that the installed systemd has must be known here, allowed or
// refused. What a newer systemd has is not an error there.
func TestDirectivesOfSystemd(t *testing.T) {
	const systemd = "/usr/lib/systemd/systemd"
	if _, err := os.Stat(systemd); err != nil {
		t.Skip("needs systemd on this machine to compare with")
	}
	out, err := exec.Command(systemd, "--dump-configuration-items").Output()
	if err != nil {
		t.Skipf("%s --dump-configuration-items: %v", systemd, err)
	}
	tables := map[string][]directiveGroup{"[Unit]": unitDirectives, "[Service]": serviceDirectives}
	var groups []directiveGroup
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			groups = tables[line]
		}
		key, _, isKey := strings.Cut(line, "=")
		if isKey && groups != nil {
			if name, _ := directiveName(key, groups); name == "" {
				t.Errorf("%s is not listed", key)
			}
		}
	}
}
