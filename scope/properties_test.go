package scope

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// The wanted types and values are those that "systemd-run -p" of systemd 252
// and 257 sends for the same directive, and org.freedesktop.systemd1(5) declares.
func TestProperties(t *testing.T) {
	tests := []struct {
		section, key, value string
		name, signature     string
		want                string
	}{
		{"Unit", "Description", "Web 100%%", "Description", "s", "Web 100%"},
		{"Unit", "After", "a.service b.service", "After", "as", "[a.service b.service]"},
		{"Unit", "RequiresMountsFor", `"/srv/a b" /x`, "RequiresMountsFor", "as", "[/srv/a b /x]"},
		{"Unit", "StartLimitIntervalSec", "1min 30s", "StartLimitIntervalUSec", "t", "90000000"},
		{"Unit", "ConditionPathExists", "|!/etc/x", "Conditions", "a(sbbs)", "[{ConditionPathExists true true /etc/x}]"},
		{"Unit", "StopWhenUnneeded", "yes", "StopWhenUnneeded", "b", "true"},
		{"Service", "MemoryMax", "512M", "MemoryMax", "t", "536870912"},
		{"Service", "MemoryMax", "1.5K", "MemoryMax", "t", "1536"},
		{"Service", "MemoryMax", "infinity", "MemoryMax", "t", fmt.Sprint(uint64(math.MaxUint64))},
		{"Service", "MemoryMax", "50%", "MemoryMaxScale", "u", "2147483648"},
		{"Service", "MemoryHigh", "100%", "MemoryHighScale", "u", "4294967295"},
		{"Service", "CPUQuota", "50%", "CPUQuotaPerSecUSec", "t", "500000"},
		{"Service", "CPUQuota", "250%", "CPUQuotaPerSecUSec", "t", "2500000"},
		{"Service", "AllowedCPUs", "0-1,9", "AllowedCPUs", "ay", "[3 2]"},
		{"Service", "CPUWeight", "200", "CPUWeight", "t", "200"},
		{"Service", "CPUWeight", "idle", "CPUWeight", "t", "0"},
		{"Service", "TasksMax", "512", "TasksMax", "t", "512"},
		{"Service", "TasksMax", "10%", "TasksMaxScale", "u", "429496730"},
		{"Service", "KillSignal", "SIGRTMIN+3", "KillSignal", "i", "37"},
		{"Service", "KillMode", "mixed", "KillMode", "s", "mixed"},
		{"Service", "Delegate", "yes", "Delegate", "b", "true"},
		{"Service", "Delegate", "cpu memory", "DelegateControllers", "as", "[cpu memory]"},
		{"Service", "TimeoutStopSec", "0", "TimeoutStopUSec", "t", fmt.Sprint(uint64(math.MaxUint64))},
		{"Service", "RestartSec", "100ms", "RestartUSec", "t", "100000"},
		{"Service", "Restart", "on-failure", "Restart", "s", "on-failure"},
		{"Service", "Environment", `"A=b c" 'D=e' F=\x41`, "Environment", "as", "[A=b c D=e F=A]"},
		{"Service", "EnvironmentFile", "-/etc/x", "EnvironmentFiles", "a(sb)", "[{/etc/x true}]"},
		{"Service", "LoadCredential", "a:/x y%%", "LoadCredential", "a(ss)", "[{a /x y%}]"},
		{"Service", "LoadCredential", "a", "LoadCredential", "a(ss)", "[{a a}]"},
		{"Service", "LoadCredentialEncrypted", "a:/x", "LoadCredentialEncrypted", "a(ss)", "[{a /x}]"},
		{"Service", "SetCredentialEncrypted", "a:AQI=", "SetCredentialEncrypted", "a(say)", "[{a [1 2]}]"},
		{"Service", "RestartForceExitStatus", "133 SIGKILL", "RestartForceExitStatus", "(aiai)", "{[133] [9]}"},
		{"Service", "ExecStart", `/usr/bin/x "a b" %n`, "ExecStart", "a(sasb)", "[{/usr/bin/x [/usr/bin/x a b u.service] false}]"},
		{"Service", "ExecStopPost", "-/usr/bin/x y", "ExecStopPost", "a(sasb)", "[{/usr/bin/x [/usr/bin/x y] true}]"},
		{"Service", "ExecStartPre", "+@/bin/x name z", "ExecStartPreEx", "a(sasas)", "[{/bin/x [name z] [privileged]}]"},
		{"Service", "UMask", "0027", "UMask", "u", "23"},
		{"Service", "IPAddressDeny", "10.0.0.0/8 ::1", "IPAddressDeny", "a(iayu)",
			"[{2 [10 0 0 0] 8} {10 [0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1] 128}]"},
		{"Service", "IOReadBandwidthMax", "/dev/sda 5M", "IOReadBandwidthMax", "a(st)", "[{/dev/sda 5000000}]"},
		{"Service", "IOWriteBandwidthMax", `"/srv/a b%%c" 1.5K`, "IOWriteBandwidthMax", "a(st)", "[{/srv/a b%c 1500}]"},
		{"Service", "IOReadIOPSMax", "/srv infinity", "IOReadIOPSMax", "a(st)", fmt.Sprintf("[{/srv %d}]", uint64(math.MaxUint64))},
		{"Service", "IOWriteIOPSMax", "", "IOWriteIOPSMax", "a(st)", "[]"},
		{"Service", "IODeviceWeight", "/dev/sda 7", "IODeviceWeight", "a(st)", "[{/dev/sda 7}]"},
		{"Service", "IODeviceLatencyTargetSec", "/dev/sda 25ms", "IODeviceLatencyTargetUSec", "a(st)", "[{/dev/sda 25000}]"},
		{"Service", "MemorySwapMax", "0", "MemorySwapMax", "t", "0"},
		{"Service", "AllowedMemoryNodes", "0", "AllowedMemoryNodes", "ay", "[1]"},
		{"Service", "LimitNOFILE", "1024:4096", "LimitNOFILE", "t", "4096"},
		{"Service", "LogLevelMax", "warning", "LogLevelMax", "i", "4"},
	}
	for _, tt := range tests {
		got, err := Properties(Service, "u.service", []Directive{{tt.section, tt.key, tt.value}})
		if err != nil {
			t.Errorf("%s=%s: %v", tt.key, tt.value, err)
			continue
		}
		p := got[0]
		if p.Name != tt.name || p.Value.Signature().String() != tt.signature || fmt.Sprint(p.Value.Value()) != tt.want {
			t.Errorf("%s=%s:\n got %s %s %v\nwant %s %s %s", tt.key, tt.value,
				p.Name, p.Value.Signature(), p.Value.Value(), tt.name, tt.signature, tt.want)
		}
	}
}

func TestPropertiesRefuse(t *testing.T) {
	tests := []struct{ section, key, value, want string }{
		{"Service", "MemoryMax", "much", "MemoryMax"},
		{"Service", "MemoryMax", "150%", "more than 100%"},
		{"Service", "CPUQuota", "50", "percentage"},
		{"Service", "AllowedCPUs", "3-1", "list of CPUs"},
		{"Service", "KillSignal", "SIGNOPE", "no signal"},
		{"Service", "ExecStart", "relative x", "absolute"},
		{"Service", "ExecStart", `/bin/x "y`, "unbalanced"},
		{"Service", "ExecStart", "/bin/x ; /bin/y", "more than one"},
		{"Service", "ExecStart", "/bin/x %H", "specifier %H"},
		{"Service", "ExecStart", `/bin/x \q`, "unknown escape"},
		{"Service", "RestartForceExitStatus", "256", "exit status"},
		{"Service", "TimeoutStopSec", "soon", "time span"},
		{"Service", "CPUWeight", "-1", "no number"},
		{"Service", "RestartSteps", "4294967296", "no number"},
		{"Service", "IOReadIOPSMax", "/dev/sda", "no size"},
		{"Service", "IOReadIOPSMax", `"/dev/sda 5`, "unbalanced"},
		{"Service", "ProtectSystem", "yes", "cannot be set"},
		{"Unit", "Restart", "always", "[Unit] Restart="},
		{"Unit", "StopWhenUnneeded", "perhaps", "neither yes nor no"},
	}
	for _, tt := range tests {
		_, err := Properties(Service, "u.service", []Directive{{tt.section, tt.key, tt.value}})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.key) {
			t.Errorf("%s=%s: got %v, want an error with %q that names the key", tt.key, tt.value, err, tt.want)
		}
	}
}

func TestScopeTakesWhatScopesHave(t *testing.T) {
	for _, d := range []Directive{{"Service", "MemoryMax", "1G"}, {"Service", "KillMode", "mixed"}, {"Unit", "After", "x.service"}} {
		if _, err := Properties(Scope, "u.scope", []Directive{d}); err != nil {
			t.Errorf("%s: %v", d.Key, err)
		}
	}
	for _, d := range []Directive{{"Service", "Restart", "always"}, {"Service", "ExecStart", "/bin/x"}} {
		if _, err := Properties(Scope, "u.scope", []Directive{d}); !errors.Is(err, errNoScope) {
			t.Errorf("%s: got %v", d.Key, err)
		}
	}
}

// Nothing in a value may make the parsers panic or loop.
func FuzzProperties(f *testing.F) {
	f.Add("Service", "ExecStart", `/x "\x41" %n`)
	f.Add("Service", "MemoryMax", "5G")
	f.Add("Service", "AllowedCPUs", "0-8191")
	f.Fuzz(func(t *testing.T, section, key, value string) {
		Properties(Service, "u.service", []Directive{{section, key, value}})
	})
}
