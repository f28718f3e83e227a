package scope

import (
	"fmt"
	"strings"

	sd "github.com/coreos/go-systemd/v22/dbus"
)

// Directive is one line of a unit file with the section that it stands in,
// "Unit" or "Service".
type Directive struct {
	Section, Key, Value string
}

// Kind is a type of unit.
type Kind string

// The types of transient units that cocker makes.
const (
	Service Kind = "service"
	Scope   Kind = "scope"
)

// Properties turns directives into the properties that the D-Bus call
// StartTransientUnit takes for a unit of that kind and name, in the same order.
// A directive that cannot be set over D-Bus, or that a scope does not have, is
// an error: it is never left out.
func Properties(kind Kind, unit string, directives []Directive) ([]sd.Property, error) {
	table := rulesByKey()
	var properties []sd.Property
	for _, d := range directives {
		some, err := d.convert(table, kind, unit)
		if err != nil {
			return nil, fmt.Errorf("[%s] %s=: %w", d.Section, d.Key, err)
		}
		properties = append(properties, some...)
	}
	return properties, nil
}

func (d Directive) convert(table map[string]rule, kind Kind, unit string) ([]sd.Property, error) {
	key := d.Key
	if d.Section == "Unit" && isCondition(key) {
		key = anyCondition
	}
	r, ok := table[d.Section+"."+key]
	switch {
	case !ok:
		return nil, fmt.Errorf("%w; put the container into a file of /etc/cocker/containers to use it", errUnknown)
	case kind == Scope && r.applies == onlyService:
		return nil, fmt.Errorf("%w; run the container with --detach, which makes it a service", errNoScope)
	}
	if r.applies == shares {
		return r.convert(d.Key, d.Value)
	}
	value, err := expand(unit, d.Value)
	if err != nil {
		return nil, err
	}
	return r.convert(d.Key, value)
}

// applies says which transient units have a directive of section [Service].
type applies int

const (
	everywhere  applies = iota
	onlyService         // scopes have no main process, no restart and no environment
	shares              // everywhere; "%" is a share of something, and systemd expands no specifiers
)

// rule says how the directives in keys are converted.
type rule struct {
	section string
	applies applies
	convert func(key, value string) ([]sd.Property, error)
	keys    string // separated by blanks
}

func rulesByKey() map[string]rule {
	table := make(map[string]rule, 256)
	for _, r := range rules() {
		for key := range strings.FieldsSeq(r.keys) {
			table[r.section+"."+key] = r
		}
	}
	return table
}

const anyCondition = "Condition*"

// isCondition reports whether a key of [Unit] is one of the many Condition…=
// and Assert…=, which D-Bus has as one property each.
func isCondition(key string) bool {
	return strings.HasPrefix(key, "Condition") || strings.HasPrefix(key, "Assert")
}

// rules is the whole table. The types are those that systemd's own D-Bus
// interface declares: org.freedesktop.systemd1(5). ExecStart and the like that
// need more than a conversion of their value are in exec.go.
func rules() []rule {
	return append(append(unitRules(), resourceRules()...), serviceRules()...)
}

func unitRules() []rule {
	return []rule{
		{"Unit", everywhere, text, `Description SourcePath CollectMode OnFailureJobMode OnSuccessJobMode
			JobTimeoutAction JobTimeoutRebootArgument StartLimitAction FailureAction SuccessAction RebootArgument`},
		{"Unit", everywhere, words, `Documentation After Before Requires Requisite Wants BindsTo PartOf Upholds
			Conflicts OnFailure OnSuccess PropagatesReloadTo ReloadPropagatedFrom PropagatesStopTo
			StopPropagatedFrom JoinsNamespaceOf RequiresMountsFor WantsMountsFor`},
		{"Unit", everywhere, boolean, `DefaultDependencies StopWhenUnneeded RefuseManualStart RefuseManualStop
			AllowIsolate IgnoreOnIsolate SurviveFinalKillSignal`},
		{"Unit", everywhere, timeSpan, `JobTimeoutSec JobRunningTimeoutSec StartLimitIntervalSec`},
		{"Unit", everywhere, number[uint32], `StartLimitBurst`},
		{"Unit", everywhere, number[int32], `FailureActionExitStatus SuccessActionExitStatus`},
		{"Unit", everywhere, condition, anyCondition},
	}
}

// resourceRules are what systemd.resource-control(5) and systemd.kill(5) give
// to every unit that holds processes.
func resourceRules() []rule {
	return []rule{
		{"Service", everywhere, text, `Slice DevicePolicy ManagedOOMSwap ManagedOOMMemoryPressure
			ManagedOOMPreference MemoryPressureWatch KillMode OOMPolicy DelegateSubgroup`},
		{"Service", everywhere, boolean, `CPUAccounting MemoryAccounting TasksAccounting IOAccounting IPAccounting
			MemoryZSwapWriteback SendSIGKILL SendSIGHUP`},
		{"Service", shares, size, `MemoryMin MemoryLow MemoryHigh MemoryMax MemorySwapMax MemoryZSwapMax
			DefaultMemoryMin DefaultMemoryLow StartupMemoryLow StartupMemoryHigh StartupMemoryMax
			StartupMemorySwapMax StartupMemoryZSwapMax DefaultStartupMemoryLow`},
		{"Service", shares, tasks, `TasksMax`},
		{"Service", shares, cpuQuota, `CPUQuota`},
		{"Service", everywhere, cpuWeight, `CPUWeight StartupCPUWeight`},
		{"Service", everywhere, number[uint64], `IOWeight StartupIOWeight`},
		{"Service", everywhere, cpus, `AllowedCPUs StartupAllowedCPUs AllowedMemoryNodes StartupAllowedMemoryNodes`},
		{"Service", everywhere, timeSpan, `CPUQuotaPeriodSec TimeoutStopSec RuntimeMaxSec RuntimeRandomizedExtraSec
			MemoryPressureThresholdSec ManagedOOMMemoryPressureDurationSec`},
		{"Service", everywhere, signal, `KillSignal RestartKillSignal FinalKillSignal WatchdogSignal`},
		{"Service", everywhere, words, `DisableControllers IPIngressFilterPath IPEgressFilterPath`},
		{"Service", everywhere, delegate, `Delegate`},
		{"Service", everywhere, devices, `DeviceAllow`},
		{"Service", everywhere, deviceSize, `IOReadBandwidthMax IOWriteBandwidthMax IOReadIOPSMax IOWriteIOPSMax`},
		{"Service", everywhere, deviceWeight, `IODeviceWeight`},
		{"Service", everywhere, deviceTime, `IODeviceLatencyTargetSec`},
		{"Service", everywhere, prefixes, `IPAddressAllow IPAddressDeny`},
	}
}

func serviceRules() []rule {
	return []rule{
		{"Service", onlyService, text, `Type ExitType Restart RestartMode NotifyAccess PIDFile BusName
			TimeoutStartFailureMode TimeoutStopFailureMode SyslogIdentifier LogNamespace TTYPath
			StandardInput StandardOutput StandardError User Group WorkingDirectory
			RuntimeDirectoryPreserve`},
		{"Service", onlyService, choice("other", "fifo", "rr", "batch", "", "idle"), `CPUSchedulingPolicy`},
		{"Service", onlyService, choice("none", "realtime", "best-effort", "idle"), `IOSchedulingClass`},
		{"Service", onlyService, boolean, `RemainAfterExit GuessMainPID SyslogLevelPrefix NonBlocking
			IgnoreSIGPIPE RootDirectoryStartOnly CPUSchedulingResetOnFork MemoryKSM CoredumpReceive`},
		{"Service", onlyService, timeSpan, `RestartSec RestartMaxDelaySec TimeoutStartSec TimeoutAbortSec
			TimeoutCleanSec WatchdogSec LogRateLimitIntervalSec`},
		{"Service", onlyService, timeoutBoth, `TimeoutSec`},
		{"Service", onlyService, number[uint32], `RestartSteps FileDescriptorStoreMax LogRateLimitBurst`},
		{"Service", onlyService, number[int32], `Nice OOMScoreAdjust IOSchedulingPriority CPUSchedulingPriority`},
		{"Service", onlyService, signal, `ReloadSignal`},
		{"Service", onlyService, logLevel, `LogLevelMax SyslogLevel`},
		{"Service", onlyService, words, `Environment PassEnvironment UnsetEnvironment RuntimeDirectory StateDirectory
			CacheDirectory LogsDirectory ConfigurationDirectory`},
		{"Service", onlyService, environmentFile, `EnvironmentFile`},
		{"Service", onlyService, loadCredential, `LoadCredential LoadCredentialEncrypted`},
		{"Service", onlyService, encryptedCredential, `SetCredentialEncrypted`},
		{"Service", onlyService, octal, `UMask RuntimeDirectoryMode StateDirectoryMode CacheDirectoryMode
			LogsDirectoryMode ConfigurationDirectoryMode`},
		{"Service", onlyService, cpus, `CPUAffinity`},
		{"Service", onlyService, facility, `SyslogFacility`},
		{"Service", onlyService, limit, `LimitCPU LimitFSIZE LimitDATA LimitSTACK LimitCORE LimitRSS LimitNOFILE
			LimitAS LimitNPROC LimitMEMLOCK LimitLOCKS LimitSIGPENDING LimitMSGQUEUE LimitNICE LimitRTPRIO`},
		{"Service", onlyService, statuses, `RestartForceExitStatus RestartPreventExitStatus SuccessExitStatus`},
		{"Service", onlyService, command, `ExecStart ExecStartPre ExecStartPost ExecCondition ExecReload ExecStop
			ExecStopPost`},
	}
}
