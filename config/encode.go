package config

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// errEncode says that a string can't be written as TOML.
var errEncode = errors.New("encode container: a string is not valid UTF-8")

// Encode gives the TOML text of a container, which Load reads back as an equal
// one. It writes only what differs from the defaults, one directive's values
// together, and does not check: Parse does.
func Encode(c *Container) ([]byte, error) {
	var w encoder
	w.process(c)
	w.environment(c.Environment)
	w.network(c.Network)
	for _, m := range c.Mounts {
		w.mount(m)
	}
	for _, t := range c.Templates {
		w.template(t)
	}
	w.credentials(c.Credentials)
	for _, p := range c.Processes {
		w.processTable(p)
	}
	w.health(c.Health)
	w.security(c)
	w.sysctls(c.Sysctls)
	for _, d := range c.Devices {
		w.device(d)
	}
	w.resources(c.Resources)
	w.directives("unit", c.Unit)
	w.directives("service", c.Service)
	w.table("install")
	w.list("wanted_by", c.Install.WantedBy)
	w.list("required_by", c.Install.RequiredBy)
	if !utf8.Valid(w.Bytes()) {
		return nil, errEncode
	}
	return w.Bytes(), nil
}

// encoder writes keys; the header of a table comes with its first key.
type encoder struct {
	bytes.Buffer
	header string
}

func (w *encoder) table(name string) { w.header = "[" + name + "]" }

// key writes a key and its value, which is TOML already.
func (w *encoder) key(name, value string) {
	if w.header != "" {
		if w.Len() > 0 {
			w.WriteByte('\n')
		}
		w.WriteString(w.header + "\n")
		w.header = ""
	}
	w.WriteString(name + " = " + value + "\n")
}

func (w *encoder) text(name, value string) {
	if value != "" {
		w.key(name, quote(value))
	}
}

func (w *encoder) number(name string, value uint64) {
	if value != 0 {
		w.key(name, strconv.FormatUint(value, 10))
	}
}

func (w *encoder) list(name string, values []string) {
	if len(values) > 0 {
		w.key(name, quoteList(values))
	}
}

func (w *encoder) process(c *Container) {
	w.text("description", c.Description)
	if len(c.Images) == 1 {
		w.text("image", c.Images[0])
	} else {
		w.list("images", c.Images)
	}
	if c.Pull != PullMissing {
		w.text("pull", string(c.Pull))
	}
	w.text("pull_timeout", c.PullTimeout)
	if c.Entrypoint != nil {
		w.key("entrypoint", quoteList(c.Entrypoint))
	}
	w.list("command", c.Command)
	if c.Init != InitCocker {
		w.text("init", string(c.Init))
	}
	if c.NotifyReady {
		w.key("notify_ready", "true")
	}
	w.text("user", c.User)
	w.text("workdir", c.WorkDir)
	if c.Hostname != c.Name {
		w.text("hostname", c.Hostname)
	}
	w.text("stop_signal", c.StopSignal)
	w.text("reload_signal", c.ReloadSignal)
	w.list("reload_command", c.ReloadCommand)
	w.text("autologin", c.Autologin)
	w.text("pod", c.Pod)
}

func (w *encoder) environment(variables []EnvironmentVariable) {
	w.table("environment")
	for _, v := range variables {
		w.key(v.Name, quote(v.Value)) // an empty value is one too
	}
}

func (w *encoder) network(n Network) {
	w.table("network")
	if n.Mode != NetworkBridge {
		w.text("mode", n.ModeText())
	}
	first := n.Primary()
	name := first.Name
	if name == DefaultNetwork {
		name = ""
	}
	w.join(first, name)
	w.list("ports", FormatPorts(n.Ports))
	w.rate("egress_max", n.EgressMax)
	w.rate("ingress_max", n.IngressMax)
	for _, j := range n.Joins[min(1, len(n.Joins)):] {
		w.table("[network.join]")
		w.join(j, j.Name)
	}
}

func (w *encoder) rate(name string, n uint64) {
	if n != 0 {
		w.text(name, FormatRate(n))
	}
}

func (w *encoder) mount(m Mount) {
	w.table("[mount]")
	w.text("type", string(m.Type))
	w.text("source", m.Source)
	w.text("target", m.Target)
	if m.ReadOnly {
		w.key("read_only", "true")
	}
	if m.IDMap != nil {
		w.key("idmap", strconv.FormatBool(*m.IDMap))
	}
	if m.Size != 0 {
		w.text("size", FormatSize(m.Size))
	}
	w.mode(m.Mode)
	if m.DiskMax != 0 {
		w.text("disk_max", FormatSize(m.DiskMax))
	}
}

func (w *encoder) template(t Template) {
	w.table("[template]")
	w.text("source", t.Source)
	w.text("host_source", t.HostSource)
	w.text("target", t.Target)
	w.text("map", t.Map)
	w.templateValues("values", t.Values)
	w.templateValues("credentials", t.Credentials)
	w.mode(t.Mode)
	w.owner(t.Owner)
}

func (w *encoder) security(c *Container) {
	s := &c.Security
	w.table("security")
	w.text("seccomp", c.Seccomp)
	w.flag("no_new_privileges", c.NoNewPrivileges)
	w.list("add_capabilities", s.AddCapabilities)
	w.list("drop_capabilities", s.DropCapabilities)
	w.flag("read_only", s.ReadOnly)
	if s.PrivateUsers != nil {
		w.key("private_users", strconv.FormatBool(*s.PrivateUsers))
	}
	w.flag("privileged", s.Privileged)
	w.text("apparmor_profile", s.AppArmorProfile)
	w.text("selinux_label", s.SELinuxLabel)
	w.text("selinux_mount_label", s.SELinuxMount)
}

func (w *encoder) flag(name string, set bool) {
	if set {
		w.key(name, "true")
	}
}

func (w *encoder) sysctls(all []Sysctl) {
	w.table("sysctls")
	for _, s := range all {
		w.key(quote(s.Name), quote(s.Value))
	}
}

func (w *encoder) device(d Device) {
	w.table("[device]")
	w.text("source", d.Source)
	if d.Target != d.Source {
		w.text("target", d.Target)
	}
	if d.Access != "rw" {
		w.text("access", d.Access)
	}
	w.mode(d.Mode)
	w.owner(d.Owner)
}

func (w *encoder) mode(mode uint32) {
	if mode != 0 {
		w.text("mode", fmt.Sprintf("%04o", mode))
	}
}

func (w *encoder) owner(o *Owner) {
	if o != nil {
		w.text("owner", fmt.Sprintf("%d:%d", o.UID, o.GID))
	}
}

func (w *encoder) credentials(all []Credential) {
	w.table("credentials")
	for _, c := range all {
		name := c.Name
		if strings.Contains(name, ".") {
			name = quote(name)
		}
		w.key(name, "{ "+string(c.From)+" = "+quote(c.Value)+" }")
	}
}

// processTable writes the header in any case: a table without a key is one, too.
func (w *encoder) processTable(p Process) {
	if w.Len() > 0 {
		w.WriteByte('\n')
	}
	w.header = ""
	w.WriteString("[process." + p.Name + "]\n")
	usual := newProcess(p.Name)
	w.list("command", p.Command)
	w.text("user", p.User)
	w.text("workdir", p.WorkDir)
	w.list("after", p.After)
	if p.Ready != usual.Ready {
		w.text("ready", string(p.Ready))
	}
	if p.Restart != usual.Restart {
		w.text("restart", string(p.Restart))
	}
	w.timeSpan("restart_delay", p.RestartDelay, usual.RestartDelay)
	w.timeSpan("restart_delay_max", p.RestartDelayMax, max(usual.RestartDelayMax, p.RestartDelay))
	if p.RestartLimit != usual.RestartLimit {
		w.key("restart_limit", strconv.Itoa(p.RestartLimit))
	}
	w.text("stop_signal", p.StopSignal)
	w.timeSpan("stop_timeout", p.StopTimeout, usual.StopTimeout)
	w.table("process." + p.Name + "." + environmentTable)
	for _, v := range p.Environment {
		w.key(v.Name, quote(v.Value))
	}
}

func (w *encoder) timeSpan(name string, d, usual time.Duration) {
	if d != usual {
		w.text(name, formatTimeSpan(d))
	}
}

func (w *encoder) templateValues(name string, values []TemplateValue) {
	if len(values) == 0 {
		return
	}
	pairs := make([]string, len(values))
	for i, v := range values {
		pairs[i] = quote(v.Key) + " = " + quote(v.Value)
	}
	w.key(name, "{ "+strings.Join(pairs, ", ")+" }")
}

func (w *encoder) resources(r Resources) {
	w.table("resources")
	w.text("memory_max", r.MemoryMax)
	w.text("memory_high", r.MemoryHigh)
	w.text("memory_low", r.MemoryLow)
	w.text("memory_min", r.MemoryMin)
	w.text("memory_swap_max", r.MemorySwapMax)
	w.text("memory_nodes", r.MemoryNodes)
	w.text("cpu_quota", r.CPUQuota)
	w.number("cpu_weight", r.CPUWeight)
	w.text("cpus", r.CPUs)
	w.text("tasks_max", r.TasksMax)
	w.number("io_weight", r.IOWeight)
	w.deviceLimits("io_read_bandwidth_max", r.IOReadBandwidthMax)
	w.deviceLimits("io_write_bandwidth_max", r.IOWriteBandwidthMax)
	w.deviceLimits("io_read_iops_max", r.IOReadIOPSMax)
	w.deviceLimits("io_write_iops_max", r.IOWriteIOPSMax)
	if r.DiskMax != 0 {
		w.text("disk_max", FormatSize(r.DiskMax))
	}
	if r.View {
		w.key("resource_view", "true")
	}
}

func (w *encoder) deviceLimits(name string, limits []DeviceLimit) {
	values := make([]string, len(limits))
	for i, l := range limits {
		values[i] = l.String()
	}
	w.list(name, values)
}

func (w *encoder) directives(table string, all []Directive) {
	w.table(table)
	done := map[string]bool{}
	for _, d := range all {
		if done[d.Key] {
			continue
		}
		done[d.Key] = true
		var values []string
		for _, other := range all {
			if other.Key == d.Key {
				values = append(values, other.Value)
			}
		}
		if len(values) == 1 {
			w.key(d.Key, quote(values[0]))
		} else {
			w.list(d.Key, values)
		}
	}
}

// FormatSize writes bytes in the largest unit that gives a whole number.
func FormatSize(n uint64) string {
	const suffixes = "KMGTPE"
	suffix := ""
	for i := 0; i < len(suffixes) && n != 0 && n%1024 == 0; i++ {
		n /= 1024
		suffix = suffixes[i : i+1]
	}
	return strconv.FormatUint(n, 10) + suffix
}

func quoteList(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(v)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// quote writes a TOML basic string: the quote, the backslash and the control
// characters must be escaped (TOML 1.0, "String").
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(c))
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c == 0x7f:
			b.WriteString(`\u00` + hex(c))
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func hex(c byte) string {
	const digits = "0123456789abcdef"
	return string(digits[c>>4]) + string(digits[c&15])
}
