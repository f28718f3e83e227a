package units

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cocker/cocker/config"
)

const header = "Made by cocker from the file of SourcePath=; after a change there, run systemctl daemon-reload."

// row is one directive of a container's unit. values gives none to leave it out.
type row struct {
	section, key string
	values       func(*config.Container) []string
}

// rows are all directives that cocker writes itself, in the order of the file.
// A new key of the schema that becomes one directive is a row here.
var rows = [...]row{ //nolint:gochecknoglobals // a table, never written
	{"Unit", "Description", description},
	{"Unit", "SourcePath", sourcePath},
	{"Unit", "Wants", networksOf},
	{"Unit", "PartOf", networksOf},
	{"Unit", "After", networkOrder},
	{"Unit", "Wants", sharedWith},
	{"Unit", "PartOf", sharedWith},
	{"Unit", "After", sharedWith},
	{"Unit", "Wants", lxcfs},
	{"Unit", "After", lxcfs},
	{"Unit", "RequiresMountsFor", bindSources},
	{"Unit", "RequiresMountsFor", limitedPaths},
	{"Unit", "RequiresMountsFor", templateFiles},
	{"Unit", "RequiresMountsFor", credentialFiles},
	{"Service", "LoadCredential", credentials(config.CredentialLoad)},
	{"Service", "LoadCredentialEncrypted", credentials(config.CredentialEncrypted)},
	{"Service", "SetCredentialEncrypted", credentials(config.CredentialSetEncrypted)},
	{"Service", "KillSignal", killSignal},
	{"Service", "TimeoutStartSec", whereBooted("5min")},
	{"Service", "TimeoutStopSec", whereBooted("2min")},
	{"Service", "RestartForceExitStatus", whereBooted("SIGHUP")},
	{"Service", "SuccessExitStatus", stoppedEarly},
	{"Service", "ExecReload", reload},
	{"Service", "TimeoutStopSec", stopTimeout},
	{"Service", "TimeoutStartSec", startLimit},
	{"Service", "Restart", restartUnhealthy},
	{"Service", "WatchdogSignal", watchdogSignal},
	{"Service", "DevicePolicy", devicePolicy},
	{"Service", "DeviceAllow", deviceAllow},
	{"Service", "MemoryMax", func(c *config.Container) []string { return text(c.Resources.MemoryMax) }},
	{"Service", "MemoryHigh", func(c *config.Container) []string { return text(c.Resources.MemoryHigh) }},
	{"Service", "MemoryLow", func(c *config.Container) []string { return text(c.Resources.MemoryLow) }},
	{"Service", "MemoryMin", func(c *config.Container) []string { return text(c.Resources.MemoryMin) }},
	{"Service", "MemorySwapMax", func(c *config.Container) []string { return text(c.Resources.MemorySwapMax) }},
	{"Service", "AllowedMemoryNodes", func(c *config.Container) []string { return text(c.Resources.MemoryNodes) }},
	{"Service", "CPUQuota", func(c *config.Container) []string { return text(c.Resources.CPUQuota) }},
	{"Service", "CPUWeight", func(c *config.Container) []string { return number(c.Resources.CPUWeight) }},
	{"Service", "AllowedCPUs", func(c *config.Container) []string { return text(c.Resources.CPUs) }},
	{"Service", "TasksMax", func(c *config.Container) []string { return text(c.Resources.TasksMax) }},
	{"Service", "IOWeight", func(c *config.Container) []string { return number(c.Resources.IOWeight) }},
	{"Service", "IOReadBandwidthMax", func(c *config.Container) []string { return deviceLimits(c.Resources.IOReadBandwidthMax) }},
	{"Service", "IOWriteBandwidthMax", func(c *config.Container) []string { return deviceLimits(c.Resources.IOWriteBandwidthMax) }},
	{"Service", "IOReadIOPSMax", func(c *config.Container) []string { return deviceLimits(c.Resources.IOReadIOPSMax) }},
	{"Service", "IOWriteIOPSMax", func(c *config.Container) []string { return deviceLimits(c.Resources.IOWriteIOPSMax) }},
}

// ForContainer gives what a container adds to cocker@.service: the drop-in that
// the generator writes, and the properties of a transient unit. What the user
// passes through comes last, so that it counts where systemd lets the last
// assignment win.
func ForContainer(c *config.Container) File {
	f := File{Header: header}
	for _, section := range []string{"Unit", "Service"} {
		for _, r := range rows {
			if r.section != section {
				continue
			}
			for _, v := range r.values(c) {
				f.Add(section, r.key, v)
			}
		}
		for _, d := range passedThrough(c, section) {
			f.Add(section, d.Key, d.Value)
		}
	}
	return f
}

func passedThrough(c *config.Container, section string) []config.Directive {
	if section == "Unit" {
		return c.Unit
	}
	return c.Service
}

func description(c *config.Container) []string {
	if c.Description == "" {
		return []string{"Container " + c.Name}
	}
	return []string{Literal(c.Description)}
}

// sourcePath is shown by systemctl status, and systemd itself warns when the
// file is newer than what it has loaded.
func sourcePath(c *config.Container) []string {
	if len(c.Sources) == 0 {
		return nil
	}
	return []string{Literal(c.Sources[0])}
}

// networkOrder keeps the network, the host's own too, until the container has
// stopped: systemd.special(7) has network.target for that. It says nothing about
// whether the host has an address already; that is network-online.target.
func networkOrder(c *config.Container) []string {
	if c.Network.Mode == config.NetworkNone {
		return nil
	}
	return append(networksOf(c), "network.target")
}

// lxcfs: not Requires=, or the container would go with it, and without the package its status
// would not say what is missing; the launcher does.
func lxcfs(c *config.Container) []string {
	if !c.Resources.View {
		return nil
	}
	return []string{"lxcfs.service"}
}

func bindSources(c *config.Container) []string {
	var sources []string
	for _, m := range c.Mounts {
		if m.Type == config.MountBind {
			sources = append(sources, Word(m.Source))
		}
	}
	return sources
}

func templateFiles(c *config.Container) []string {
	var files []string
	for _, t := range c.Templates {
		for _, file := range []string{t.HostSource, t.Map} {
			if word := Word(file); file != "" && !slices.Contains(files, word) {
				files = append(files, word)
			}
		}
	}
	return files
}

// credentials are those from one source: NAME:PATH, up to the end of the line, and the
// path with specifiers. What is set in the clear is for the launcher, see config.Credential.
func credentials(from config.CredentialSource) func(*config.Container) []string {
	return func(c *config.Container) (values []string) {
		for _, credential := range c.Credentials {
			if credential.From == from {
				values = append(values, credential.Name+":"+Literal(credential.Value))
			}
		}
		return values
	}
}

func credentialFiles(c *config.Container) (files []string) {
	for _, credential := range c.Credentials {
		if strings.HasPrefix(credential.Value, "/") && (credential.From == config.CredentialLoad || credential.From == config.CredentialEncrypted) {
			files = append(files, Word(credential.Value))
		}
	}
	return files
}

// limitedPaths are those whose disk has a limit: systemd looks up which it is when
// the unit starts, so the file system must be there. A device node stands for itself.
func limitedPaths(c *config.Container) []string {
	var paths []string
	for _, l := range c.Resources.DeviceLimits() {
		word := Word(l.Path)
		if !strings.HasPrefix(l.Path, "/dev/") && !slices.Contains(paths, word) {
			paths = append(paths, word)
		}
	}
	return paths
}

// killSignal is for a command that is PID 1 itself. cocker's init is always
// given SIGTERM and sends the container's stop signal to the command. For systemd
// SIGTERM is a wish to execute itself again; what asks it to halt is SIGRTMIN+3
// (systemd(1), "Signals").
func killSignal(c *config.Container) []string {
	switch {
	case c.Init == config.InitCocker:
		return nil
	case c.Init == config.InitImage && c.StopSignal == "":
		return []string{"SIGRTMIN+3"}
	}
	return text(c.StopSignal)
}

// stoppedEarly: before the launcher handles it, the stop signal ends it, and that is a
// clean end as it would be by SIGTERM.
func stoppedEarly(c *config.Container) []string {
	if c.Init != config.InitImage {
		return nil
	}
	return killSignal(c)
}

// whereBooted gives a value for containers that boot like a machine. They start and stop
// services of their own, with timeouts of their own, 90 seconds each. With reboot(2) of a
// container PID 1 ends by SIGHUP; by SIGINT for all that is no restart, which is a clean
// end for systemd anyway ("Behavior inside PID namespaces" there).
func whereBooted(value string) func(*config.Container) []string {
	return func(c *config.Container) []string {
		if c.Init != config.InitImage {
			return nil
		}
		return []string{value}
	}
}

// reload is there only if it does something: systemctl says of a unit without it that
// reload does not apply.
func reload(c *config.Container) []string {
	if !c.Reloads() {
		return nil
	}
	return []string{"/usr/libexec/cocker/cocker-launch reload " + c.Name}
}

// launchTime is what a start may take until the command runs: systemd's own default
// (systemd-system.conf(5), DefaultTimeoutStartSec=).
const launchTime = 90 * time.Second

// startLimit leaves it to init to say that a container does not become healthy: it knows
// why. Only if it says nothing is it systemd's turn.
func startLimit(c *config.Container) []string {
	if !c.Health.Checked() {
		return nil
	}
	seconds := (launchTime + c.Health.StartLimit() + time.Second - 1) / time.Second
	return []string{strconv.FormatInt(int64(seconds), 10)}
}

// restartUnhealthy is the least that health.on_failure = "restart" means; Restart= in
// [service] replaces it.
func restartUnhealthy(c *config.Container) []string {
	if !c.Health.Restarts() {
		return nil
	}
	return []string{"on-watchdog"}
}

// watchdogSignal is for init's WATCHDOG=trigger (sd_notify(3)): an unhealthy container
// is stopped as any other, where SIGABRT, the default, would kill it. There is no
// WatchdogSec=: its clock does not stop while a container is frozen, and a probe that
// finds init well would cost systemd a message.
func watchdogSignal(c *config.Container) []string {
	if !c.Health.Checked() {
		return nil
	}
	return []string{"SIGTERM"}
}

// devicePolicy lifts that of cocker@.service.
func devicePolicy(c *config.Container) []string {
	if !c.Security.AllDevices() {
		return nil
	}
	return []string{"auto"}
}

// deviceAllow names the devices of the container, and those that a bind mount gives it.
// The launcher, which is in the same cgroup, makes their nodes; with "m", then. With the
// policy "auto" one that is named would forbid all others (systemd.resource-control(5)).
func deviceAllow(c *config.Container) []string {
	if c.Security.AllDevices() {
		return nil
	}
	var allowed []string
	for _, d := range c.Devices {
		allowed = append(allowed, Literal(d.Source)+" "+d.Access+"m")
	}
	for _, m := range c.Mounts {
		if m.Type == config.MountBind && strings.HasPrefix(m.Source, "/dev/") && !strings.ContainsAny(m.Source, " \"'\\") {
			allowed = append(allowed, Literal(m.Source)+" rw")
		}
	}
	return allowed
}

// text is for directives in which systemd expands no specifiers: a limit's
// percent sign stands alone.
func text(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// deviceLimits: systemd expands specifiers in the path, and takes quotes around it.
func deviceLimits(limits []config.DeviceLimit) []string {
	values := make([]string, len(limits))
	for i, l := range limits {
		values[i] = Word(l.Path) + " " + l.Limit
	}
	return values
}

func number(n uint64) []string {
	if n == 0 {
		return nil
	}
	return []string{strconv.FormatUint(n, 10)}
}
