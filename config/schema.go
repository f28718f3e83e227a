package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// keySpec is one key of the schema.
type keySpec struct {
	table string
	key   string
	set   func(*builder, *entry)
}

// schema lists every key. A new key is a row here; it does not exist before
// something acts on it. The compiler lays the table out; nothing writes to it.
var schema = [...]keySpec{ //nolint:gochecknoglobals // a table
	{"", "description", func(b *builder, e *entry) { b.c.Description = b.line(e) }},
	{"", "image", func(b *builder, e *entry) { b.c.Images = b.image(e) }},
	{"", "images", func(b *builder, e *entry) { b.c.Images = b.images(e) }},
	{"", "pull", (*builder).pull},
	{"", "pull_timeout", (*builder).pullTimeout},
	{"", "entrypoint", (*builder).entrypoint},
	{"", "command", (*builder).command},
	{"", "init", (*builder).init},
	{"", "notify_ready", func(b *builder, e *entry) { b.c.NotifyReady = b.boolean(e) }},
	{"", "user", func(b *builder, e *entry) { b.c.User = b.account(e) }},
	{"", "workdir", func(b *builder, e *entry) { b.c.WorkDir = b.path(e, e.value) }},
	{"", "hostname", (*builder).hostname},
	{"", "stop_signal", (*builder).stopSignal},
	{"", "reload_signal", (*builder).reloadSignal},
	{"", "reload_command", (*builder).reloadCommand},
	{"", "autologin", (*builder).autologin},
	{"", "mount", (*builder).mounts},
	{"", "template", (*builder).templates},
	{"", "device", (*builder).devices},
	{"", "pod", (*builder).pod},
	{"network", "mode", (*builder).networkMode},
	{"network", "name", primary},
	{"network", "address", primary},
	{"network", "address6", primary},
	{"network", "mac", primary},
	{"network", "aliases", primary},
	{"network", "interface", primary},
	{"network", "ports", (*builder).ports},
	{"network", "egress_max", func(b *builder, e *entry) { b.c.Network.EgressMax = b.rate(e) }},
	{"network", "ingress_max", func(b *builder, e *entry) { b.c.Network.IngressMax = b.rate(e) }},
	{"network", "join", (*builder).joins},
	{"resources", "memory_max", func(b *builder, e *entry) { b.c.Resources.MemoryMax = b.memoryMax(e) }},
	{"resources", "memory_high", func(b *builder, e *entry) { b.c.Resources.MemoryHigh = b.memory(e) }},
	{"resources", "memory_low", func(b *builder, e *entry) { b.c.Resources.MemoryLow = b.memory(e) }},
	{"resources", "memory_min", func(b *builder, e *entry) { b.c.Resources.MemoryMin = b.memory(e) }},
	{"resources", "memory_swap_max", func(b *builder, e *entry) { b.c.Resources.MemorySwapMax = b.swap(e) }},
	{"resources", "memory_nodes", func(b *builder, e *entry) { b.c.Resources.MemoryNodes = b.numbers(e, memoryNodes) }},
	{"resources", "cpu_quota", func(b *builder, e *entry) { b.c.Resources.CPUQuota = b.quota(e) }},
	{"resources", "cpu_weight", func(b *builder, e *entry) { b.c.Resources.CPUWeight = b.weight(e) }},
	{"resources", "cpus", func(b *builder, e *entry) { b.c.Resources.CPUs = b.numbers(e, cpus) }},
	{"resources", "tasks_max", func(b *builder, e *entry) { b.c.Resources.TasksMax = b.tasks(e) }},
	{"resources", "io_weight", func(b *builder, e *entry) { b.c.Resources.IOWeight = b.weight(e) }},
	{"resources", "io_read_bandwidth_max", func(b *builder, e *entry) { b.c.Resources.IOReadBandwidthMax = b.deviceLimits(e) }},
	{"resources", "io_write_bandwidth_max", func(b *builder, e *entry) { b.c.Resources.IOWriteBandwidthMax = b.deviceLimits(e) }},
	{"resources", "io_read_iops_max", func(b *builder, e *entry) { b.c.Resources.IOReadIOPSMax = b.deviceLimits(e) }},
	{"resources", "io_write_iops_max", func(b *builder, e *entry) { b.c.Resources.IOWriteIOPSMax = b.deviceLimits(e) }},
	{"resources", "disk_max", func(b *builder, e *entry) { b.c.Resources.DiskMax = b.diskSize(e, e.value) }},
	{"resources", "resource_view", func(b *builder, e *entry) { b.c.Resources.View = b.boolean(e) }},
	{"health", "command", (*builder).healthCommand},
	{"health", "user", func(b *builder, e *entry) { b.c.Health.User = b.account(e) }},
	{"health", "interval", func(b *builder, e *entry) { b.c.Health.Interval = b.healthTime(e) }},
	{"health", "timeout", func(b *builder, e *entry) { b.c.Health.Timeout = b.healthTime(e) }},
	{"health", "retries", func(b *builder, e *entry) { b.c.Health.Retries = int(b.integer(e, 1, 1000)) }}, //nolint:gosec // checked
	{"health", "start_period", func(b *builder, e *entry) { b.c.Health.StartPeriod = b.startPeriod(e) }},
	{"health", "start_interval", func(b *builder, e *entry) { b.c.Health.StartInterval = b.healthTime(e) }},
	{"health", "on_failure", (*builder).onFailure},
	{"security", "seccomp", (*builder).seccomp},
	{"security", "no_new_privileges", func(b *builder, e *entry) { b.c.NoNewPrivileges = b.boolean(e) }},
	{"security", "add_capabilities", func(b *builder, e *entry) { b.c.Security.AddCapabilities = b.capabilities(e) }},
	{"security", "drop_capabilities", func(b *builder, e *entry) { b.c.Security.DropCapabilities = b.capabilities(e) }},
	{"security", "read_only", func(b *builder, e *entry) { b.c.Security.ReadOnly = b.boolean(e) }},
	{"security", "private_users", func(b *builder, e *entry) { own := b.boolean(e); b.c.Security.PrivateUsers = &own }},
	{"security", "privileged", func(b *builder, e *entry) { b.c.Security.Privileged = b.boolean(e) }},
	{"security", "apparmor_profile", func(b *builder, e *entry) { b.c.Security.AppArmorProfile = b.profile(e) }},
	{"security", "selinux_label", func(b *builder, e *entry) { b.c.Security.SELinuxLabel = b.label(e) }},
	{"security", "selinux_mount_label", func(b *builder, e *entry) { b.c.Security.SELinuxMount = b.label(e) }},
	{"install", "wanted_by", func(b *builder, e *entry) { b.c.Install.WantedBy = b.unitNames(e) }},
	{"install", "required_by", func(b *builder, e *entry) { b.c.Install.RequiredBy = b.unitNames(e) }},
	{"environment", anyKey, (*builder).environment},
	{"credentials", anyKey, (*builder).credential},
	{"sysctls", anyKey, (*builder).sysctl},
	{"unit", anyKey, (*builder).unitDirective},
	{"service", anyKey, (*builder).serviceDirective},
	{"process", anyKey, (*builder).process},
}

// anyKey marks a table whose keys are checked by its own function.
const anyKey = "*"

// knownTable says whether the keys of a top-level table are entries of their own.
func knownTable(name string) bool {
	switch name {
	case "network", "health", "resources", "install", "environment", "credentials", "security", "sysctls", "unit", "service", "process":
		return true
	}
	return false
}

// slot gives what a key sets: image and images are two ways to say the same, as
// are the two spellings of a directive.
func slot(table, key string) string {
	switch {
	case table == "" && key == "images":
		return "image"
	case table == "unit" || table == "service":
		return foldDirective(key)
	}
	return key
}

// builder fills a container from entries and collects what is wrong.
type builder struct {
	c        *Container
	file     string
	keys     []keySpec
	problems []*Problem
}

func newBuilder(l Location) *builder {
	b := &builder{file: l.File, keys: schema[:]}
	b.c = &Container{Name: l.Name, Pull: PullMissing, Init: InitCocker, Hostname: l.Name, Network: Network{Mode: NetworkBridge, Joins: []Join{{Name: DefaultNetwork}}}}
	if err := ValidName(l.Name); err != nil {
		b.problems = append(b.problems, &Problem{File: l.File, Text: err.Error() + "; rename the file"})
	}
	return b
}

// fail notes a problem at e, or at what rest names inside it.
func (b *builder) fail(e *entry, rest []any, format string, args ...any) {
	b.problems = append(b.problems, e.problem(rest, format, args...))
}

// joined gives the problems in the order of the files and their lines.
func (b *builder) joined() error {
	order := func(p *Problem) int { return slices.Index(b.c.Sources, p.File) }
	slices.SortStableFunc(b.problems, func(x, y *Problem) int {
		return cmp.Or(cmp.Compare(order(x), order(y)), cmp.Compare(x.Line, y.Line))
	})
	errs := make([]error, len(b.problems))
	for i, p := range b.problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}

func (b *builder) set(e *entry) {
	for _, k := range b.keys {
		if k.table == e.table && (k.key == e.key || k.key == anyKey) {
			k.set(b, e)
			return
		}
	}
	if e.table == "" && e.key == "process" {
		b.fail(e, nil, "must be tables; write [process.NAME] on a line of its own for each")
		return
	}
	if e.table == "" && knownTable(e.key) {
		b.fail(e, nil, "must be a table; write [%s] on a line of its own and its keys below", e.key)
		return
	}
	b.unknown(e, e.path(), b.siblings(e.table))
}

// siblings are the keys that e could have been meant to be.
func (b *builder) siblings(table string) []string {
	var names []string
	for _, k := range b.keys {
		if k.table == table && k.key != anyKey {
			names = append(names, k.key)
		}
		if table == "" && k.table != "" {
			names = append(names, k.table)
		}
	}
	return names
}

// unknown reports the last part of path as a key that does not exist.
func (b *builder) unknown(e *entry, path []any, candidates []string) {
	parent, key := path[:len(path)-1], path[len(path)-1].(string)
	text := fmt.Sprintf("unknown key %q", key)
	if len(parent) > 0 {
		text += " in " + showPath(parent)
	}
	if near := nearest(key, candidates); near != "" {
		text += fmt.Sprintf(" (did you mean %q?)", near)
	} else if table := b.home(key); table != "" && len(parent) == 0 {
		text += fmt.Sprintf(" (it belongs below [%s])", table)
	} else if len(candidates) <= 16 {
		text += "; known are " + strings.Join(candidates, ", ")
	}
	b.problems = append(b.problems, &Problem{File: e.src.file, Line: e.src.line(path), Text: text})
}

// home finds the table that a key belongs to that was written at the top.
func (b *builder) home(key string) string {
	for _, k := range b.keys {
		if k.key == key && k.table != "" {
			return k.table
		}
	}
	return ""
}

// checkWhole makes the checks that need more than one key.
func (b *builder) checkWhole(entries []*entry) {
	if find(entries, "", "image") == nil {
		b.problems = append(b.problems, &Problem{File: b.file, Text: `no image; set image = "NAME:TAG", or images = [...], lowest first`})
	}
	b.checkPull(entries)
	b.checkReload(entries)
	b.checkInit(entries)
	b.checkNetwork(entries)
	b.checkPod(entries)
	b.checkHealth(entries)
	b.checkResources(entries)
	b.checkAutologin(entries)
	b.checkSecurity(entries)
	b.checkProcesses(entries)
	b.checkCredentials(entries)
	b.sortEnvironment()
}

// find gives the entry that sets a slot, or nil.
func find(entries []*entry, table, slot string) *entry {
	for _, e := range entries {
		if e.table == table && e.slot == slot {
			return e
		}
	}
	return nil
}
