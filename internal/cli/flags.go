package cli

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cocker/cocker/config"
)

// containerFlag is one flag that sets something of a container. The flags of
// "create" and "run" are the rows of containerFlags, so that each key of the
// schema is written down once.
type containerFlag struct {
	name, short string
	kind        string // what the help calls the value; "": a switch
	usage       string
	set         func(c *config.Container, value string) error
}

func containerFlags() []containerFlag {
	return slices.Concat(processFlags(), healthFlags(), placeFlags(), resourceFlags(), securityFlags(), unitFlags())
}

func processFlags() []containerFlag {
	return []containerFlag{
		{"description", "", "TEXT", "what the container is, for systemctl status", func(c *config.Container, v string) error { c.Description = v; return nil }},
		{"init", "", "MODE", `PID 1: "cocker" (cocker's init), "none" (the command) or "image" (the image's own init boots)`, func(c *config.Container, v string) error { c.Init = config.InitMode(v); return nil }},
		{"notify-ready", "", "", "the container sends READY=1 itself (sd_notify)", func(c *config.Container, v string) error { c.NotifyReady = v == "true"; return nil }},
		{"pull", "", "WHEN", `pull images before the start: "missing", "always" or "never"`, func(c *config.Container, v string) error { c.Pull = config.PullPolicy(v); return nil }},
		{"pull-timeout", "", "TIME", "how long that may take: 90s, 30min, infinity (default: 1h)", func(c *config.Container, v string) error { c.PullTimeout = v; return nil }},
		{"entrypoint", "", "WORD", "the program in front of the command, once for each of its words; \"\": none", setEntrypoint},
		{"user", "u", "USER[:GROUP]", "who runs the command, by name or number", func(c *config.Container, v string) error { c.User = v; return nil }},
		{"workdir", "w", "DIR", "where the command starts", func(c *config.Container, v string) error { c.WorkDir = v; return nil }},
		{"hostname", "", "NAME", "the container's host name (default: its name)", func(c *config.Container, v string) error { c.Hostname = v; return nil }},
		{"stop-signal", "", "SIGNAL", "what asks the command to end (default: the image's, SIGTERM)", func(c *config.Container, v string) error { c.StopSignal = v; return nil }},
		{"reload-signal", "", "SIGNAL", "what \"systemctl reload\" sends to the command (default: nothing)", func(c *config.Container, v string) error { c.ReloadSignal = v; return nil }},
		{"reload-command", "", "TEXT", "what \"systemctl reload\" makes the container's /bin/sh run, instead of a signal", setReloadCommand},
		{"autologin", "", "USER", "whom \"machinectl login\" logs in without a password (default: nobody)", func(c *config.Container, v string) error { c.Autologin = v; return nil }},
		{"seccomp", "", "WHICH", `the filter of system calls: "default", "none", or the path of a profile in JSON`, setSeccomp},
		{"no-new-privileges", "", "", "no program gives more than its caller has: setuid programs are as any other", func(c *config.Container, v string) error {
			c.NoNewPrivileges = v == "true"
			return nil
		}},
		{"env", "e", "NAME[=VALUE]", "set a variable; without a value: as it is here", setVariable},
		{"env-file", "", "FILE", "set variables from lines NAME=VALUE", setVariables},
	}
}

// healthFlags have the names that they have in docker-run(1).
func healthFlags() []containerFlag {
	return []containerFlag{
		{"health-cmd", "", "SCRIPT", "what checks that the container is well, for the shell in it", func(c *config.Container, v string) error {
			c.Health.Command = []string{"/bin/sh", "-c", v}
			return nil
		}},
		{"health-user", "", "USER[:GROUP]", "who runs that (default: who runs the command)", func(c *config.Container, v string) error { c.Health.User = v; return nil }},
		{"health-interval", "", "TIME", "time between two checks (default: 30s)", func(c *config.Container, v string) error { return setTime(&c.Health.Interval, v) }},
		{"health-timeout", "", "TIME", "how long a check may take (default: 30s)", func(c *config.Container, v string) error { return setTime(&c.Health.Timeout, v) }},
		{"health-retries", "", "NUMBER", "how many in a row must fail until it is unhealthy (default: 3)", func(c *config.Container, v string) (err error) {
			c.Health.Retries, err = strconv.Atoi(v)
			return err
		}},
		{"health-start-period", "", "TIME", "time in which failures don't count (default: none)", func(c *config.Container, v string) error { return setTime(&c.Health.StartPeriod, v) }},
		{"health-start-interval", "", "TIME", "longest time between two checks until one succeeds (default: 1s)", func(c *config.Container, v string) error { return setTime(&c.Health.StartInterval, v) }},
		{"health-on-failure", "", "WHAT", `if it is unhealthy: "restart" or "none"`, func(c *config.Container, v string) error { c.Health.OnFailure = config.OnFailure(v); return nil }},
	}
}

func placeFlags() []containerFlag {
	return []containerFlag{
		{"network", "", "NETWORK|MODE", `a network to join (default: cocker0), or "host", "none", "custom", "container:NAME", "ns:/PATH"`, setNetwork},
		{"address", "", "ADDRESS", "a fixed IPv4 address in the network (default: leased)", func(c *config.Container, v string) error { return setAddress(&c.Network.Joins[0].Address, v) }},
		{"address6", "", "ADDRESS", "a fixed IPv6 address (default: follows from the other)", func(c *config.Container, v string) error { return setAddress(&c.Network.Joins[0].Address6, v) }},
		{"mac", "", "ADDRESS", "the hardware address (default: follows from the IP address)", func(c *config.Container, v string) error { c.Network.Joins[0].MAC = v; return nil }},
		{"alias", "", "NAME", "a further name in the network; may be repeated", func(c *config.Container, v string) error {
			c.Network.Joins[0].Aliases = append(c.Network.Joins[0].Aliases, v)
			return nil
		}},
		{"interface", "", "NAME", "the interface's name in the container (default: eth0)", func(c *config.Container, v string) error { c.Network.Joins[0].Interface = v; return nil }},
		{"join", "", "NETWORK[,KEY=VALUE...]", "join a further network, with the keys of [[network.join]], and alias for each alias", addJoin},
		{"pod", "", "POD", "the pod whose network it shares", func(c *config.Container, v string) error { c.Pod = v; return nil }},
		{"publish", "p", "[ADDRESS:][PORT]:PORT[/udp|/sctp]", "publish a port: the host's, or none for any that is free, then the container's; both may be ranges", addPort},
		{"egress-max", "", "RATE", "what it may send: 10M are 10 megabit/s", func(c *config.Container, v string) error { return setRate(&c.Network.EgressMax, v) }},
		{"ingress-max", "", "RATE", "what it may receive", func(c *config.Container, v string) error { return setRate(&c.Network.IngressMax, v) }},
		{"volume", "v", "SOURCE:TARGET[:OPTION,...]", "mount a path of the host, or a volume by its name; options are ro, rw, idmap, noidmap", addBind},
		{"tmpfs", "", "TARGET[:SIZE]", "mount memory", addTmpfs},
		{"mount", "", "KEY=VALUE,...", "mount with the keys of [[mount]], such as type, source, target, disk_max", addMount},
	}
}

func resourceFlags() []containerFlag {
	return []containerFlag{
		{"memory", "m", "SIZE", "hard limit of memory: 512M, 50%, infinity (MemoryMax=); also --memory-max", func(c *config.Container, v string) error { c.Resources.MemoryMax = v; return nil }},
		{"memory-high", "", "SIZE", "memory above this is slowed down and reclaimed (MemoryHigh=)", func(c *config.Container, v string) error { c.Resources.MemoryHigh = v; return nil }},
		{"memory-low", "", "SIZE", "memory that is not reclaimed as long as there is other (MemoryLow=)", func(c *config.Container, v string) error { c.Resources.MemoryLow = v; return nil }},
		{"memory-min", "", "SIZE", "memory that is never reclaimed (MemoryMin=)", func(c *config.Container, v string) error { c.Resources.MemoryMin = v; return nil }},
		{"memory-swap-max", "", "SIZE", "hard limit of swap: 1G, 0, infinity (MemorySwapMax=)", func(c *config.Container, v string) error { c.Resources.MemorySwapMax = v; return nil }},
		{"memory-nodes", "", "LIST", "memory nodes it may use: 0,2-3 (AllowedMemoryNodes=)", func(c *config.Container, v string) error { c.Resources.MemoryNodes = v; return nil }},
		{"cpu-quota", "", "PERCENT", "CPU time: 50%, or 200% for two CPUs (CPUQuota=)", func(c *config.Container, v string) error { c.Resources.CPUQuota = v; return nil }},
		{"cpu-weight", "", "1..10000", "share of the CPU time (CPUWeight=, default 100)", func(c *config.Container, v string) error { return setWeight(&c.Resources.CPUWeight, v) }},
		{"cpus", "", "LIST", "CPUs it may use: 0-1,4 (AllowedCPUs=)", func(c *config.Container, v string) error { c.Resources.CPUs = v; return nil }},
		{"tasks-max", "", "NUMBER", "limit of processes and threads (TasksMax=)", func(c *config.Container, v string) error { c.Resources.TasksMax = v; return nil }},
		{"io-weight", "", "1..10000", "share of the disks' time (IOWeight=, default 100)", func(c *config.Container, v string) error { return setWeight(&c.Resources.IOWeight, v) }},
		{"io-read-bandwidth-max", "", "PATH LIMIT", "bytes a second from the disk of a path: '/dev/vda 10M', '/srv 10M' (IOReadBandwidthMax=)", func(c *config.Container, v string) error { return addDeviceLimit(&c.Resources.IOReadBandwidthMax, v) }},
		{"io-write-bandwidth-max", "", "PATH LIMIT", "bytes a second to it (IOWriteBandwidthMax=)", func(c *config.Container, v string) error { return addDeviceLimit(&c.Resources.IOWriteBandwidthMax, v) }},
		{"io-read-iops-max", "", "PATH LIMIT", "reads a second from it (IOReadIOPSMax=)", func(c *config.Container, v string) error { return addDeviceLimit(&c.Resources.IOReadIOPSMax, v) }},
		{"io-write-iops-max", "", "PATH LIMIT", "writes a second to it (IOWriteIOPSMax=)", func(c *config.Container, v string) error { return addDeviceLimit(&c.Resources.IOWriteIOPSMax, v) }},
		{"disk-max", "", "SIZE", "how much it may write to its own layer: 10G", func(c *config.Container, v string) (err error) {
			c.Resources.DiskMax, err = config.ParseSize(v)
			return err
		}},
		{"resource-view", "", "", "/proc shows what the limits leave, by lxcfs", func(c *config.Container, v string) error { c.Resources.View = v == "true"; return nil }},
	}
}

func unitFlags() []containerFlag {
	return []containerFlag{
		{"load-credential", "", "NAME[:PATH]", "show a file of the host, or its credential of that name, as a credential (LoadCredential=)", func(c *config.Container, v string) error {
			return addCredential(c, config.CredentialLoad, v)
		}},
		{"load-credential-encrypted", "", "NAME[:PATH]", "the same for what systemd-creds(1) has encrypted", func(c *config.Container, v string) error {
			return addCredential(c, config.CredentialEncrypted, v)
		}},
		{"unit", "", "KEY=VALUE", "a directive of systemd.unit(5)", func(c *config.Container, v string) error { return addDirective(&c.Unit, v) }},
		{"service", "", "KEY=VALUE", "a directive of systemd.service(5) and the pages it names", func(c *config.Container, v string) error { return addDirective(&c.Service, v) }},
	}
}

// installFlags are those of containers that outlive a reboot.
func installFlags() []containerFlag {
	return []containerFlag{
		{"wanted-by", "", "UNIT", "start it with this unit, such as multi-user.target", func(c *config.Container, v string) error {
			c.Install.WantedBy = append(c.Install.WantedBy, v)
			return nil
		}},
		{"required-by", "", "UNIT", "as --wanted-by; the unit fails if the container does", func(c *config.Container, v string) error {
			c.Install.RequiredBy = append(c.Install.RequiredBy, v)
			return nil
		}},
	}
}

// boundFlag is a containerFlag as pflag sees it.
type boundFlag struct {
	containerFlag
	container *config.Container
}

func (f boundFlag) String() string     { return "" }
func (f boundFlag) Set(v string) error { return f.set(f.container, v) }

// Type is what the help shows for the value; pflag shows none for a "bool".
func (f boundFlag) Type() string {
	if f.kind == "" {
		return "bool"
	}
	return f.kind
}

// bind adds flags to a command that set parts of c.
func bind(c *config.Container, command *cobra.Command, flags []containerFlag) {
	for _, f := range flags {
		flag := command.Flags().VarPF(boundFlag{f, c}, f.name, f.short, f.usage)
		if f.kind == "" {
			flag.NoOptDefVal = "true"
		}
	}
	command.Flags().SortFlags = false
	command.Flags().SetInterspersed(false) // what follows the image is the command's
	command.Flags().SetNormalizeFunc(otherNames)
	completeFlags(command)
}

var _ pflag.Value = boundFlag{}

// newContainer is a container with the defaults of a file that says nothing.
func newContainer() *config.Container {
	return &config.Container{Init: config.InitCocker, Network: config.Network{Mode: config.NetworkBridge, Joins: []config.Join{{Name: config.DefaultNetwork}}}}
}

// setImage takes the argument IMAGE: one name, or several from the lowest up.
func setImage(c *config.Container, argument string) { c.Images = strings.Split(argument, ",") }

func setReloadCommand(c *config.Container, v string) error {
	c.ReloadCommand = config.ShellCommand(v)
	return nil
}

// setEntrypoint adds a word. The empty one stands for an entry point of no words,
// which takes the image's away.
func setEntrypoint(c *config.Container, v string) error {
	if c.Entrypoint == nil {
		c.Entrypoint = []string{}
	}
	if v != "" {
		c.Entrypoint = append(c.Entrypoint, v)
	}
	return nil
}

func setVariable(c *config.Container, v string) error {
	name, value, given := strings.Cut(v, "=")
	if !given {
		if value, given = os.LookupEnv(name); !given {
			return fmt.Errorf("%q is not set here; write %s=VALUE", name, name)
		}
	}
	c.Environment = slices.DeleteFunc(c.Environment, func(e config.EnvironmentVariable) bool { return e.Name == name })
	c.Environment = append(c.Environment, config.EnvironmentVariable{Name: name, Value: value})
	return nil
}

// setVariables reads lines as docker does: a line is a variable or, with "#", a
// comment; there are no quotes.
func setVariables(c *config.Container, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' {
			continue
		}
		if err := setVariable(c, strings.TrimLeft(line, " \t")); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

func setTime(to *time.Duration, v string) error {
	span, ok := config.TimeSpan(v)
	if !ok {
		return fmt.Errorf("%q is no time above 0; write 10s, 1min 30s, 500ms", v)
	}
	*to = span
	return nil
}

func setAddress(to *netip.Addr, v string) (err error) {
	*to, err = netip.ParseAddr(v)
	return err
}

// setNetwork takes a mode, or else the name of a network: no network has the name of a
// mode.
func setNetwork(c *config.Container, v string) error {
	mode, target, _ := strings.Cut(v, ":")
	switch m := config.NetworkMode(mode); m {
	case config.NetworkBridge, config.NetworkHost, config.NetworkNone, config.NetworkCustom, config.NetworkContainer, config.NetworkNamespace:
		c.Network.Mode, c.Network.Target = m, target
	default:
		c.Network.Joins[0].Name = v
	}
	return nil
}

func addJoin(c *config.Container, v string) (err error) {
	name, rest, more := strings.Cut(v, ",")
	j := config.Join{Name: name}
	for more {
		var field string
		field, rest, more = strings.Cut(rest, ",")
		switch key, value, _ := strings.Cut(field, "="); key {
		case "address":
			err = setAddress(&j.Address, value)
		case "address6":
			err = setAddress(&j.Address6, value)
		case "mac":
			j.MAC = value
		case "alias":
			j.Aliases = append(j.Aliases, value)
		case "interface":
			j.Interface = value
		default:
			err = fmt.Errorf("unknown key %q; known are address, address6, mac, alias, interface", key)
		}
		if err != nil {
			return err
		}
	}
	c.Network.Joins = append(c.Network.Joins, j)
	return nil
}

func setRate(to *uint64, v string) (err error) {
	*to, err = config.ParseRate(v)
	return err
}

func addPort(c *config.Container, v string) error {
	ports, err := config.ParsePorts(v)
	c.Network.Ports = append(c.Network.Ports, ports...)
	return err
}

// addBind takes a source below the current directory when it begins with "./"
// or "../", as a shell would; other names without "/" are volumes.
func addBind(c *config.Container, v string) error {
	parts := strings.Split(v, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return fmt.Errorf("write SOURCE:TARGET or SOURCE:TARGET:ro; for a path with a colon use --mount")
	}
	m := config.Mount{Type: config.MountBind, Source: parts[0], Target: parts[1]}
	if !strings.Contains(m.Source, "/") && m.Source != "." && m.Source != ".." {
		m.Type = config.MountVolume
	}
	if len(parts) == 3 {
		for option := range strings.SplitSeq(parts[2], ",") {
			if err := setBindOption(&m, option); err != nil {
				return err
			}
		}
	}
	return appendMount(c, m)
}

// addCredential takes no value: everybody can read the command line of a process.
func addCredential(c *config.Container, from config.CredentialSource, v string) error {
	name, path, given := strings.Cut(v, ":")
	if !given {
		path = name
	}
	if strings.HasPrefix(path, "./") || strings.HasPrefix(path, "../") {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		path = absolute
	}
	c.Credentials = slices.DeleteFunc(c.Credentials, func(o config.Credential) bool { return o.Name == name })
	c.Credentials = append(c.Credentials, config.Credential{Name: name, From: from, Value: path})
	return nil
}

func setBindOption(m *config.Mount, option string) error {
	switch option {
	case "ro", "rw":
		m.ReadOnly = option == "ro"
	case "idmap", "noidmap":
		m.IDMap = new(bool)
		*m.IDMap = option == "idmap"
	default:
		return fmt.Errorf("%q is not an option; known are ro, rw, idmap, noidmap", option)
	}
	return nil
}

func appendMount(c *config.Container, m config.Mount) (err error) {
	if strings.HasPrefix(m.Source, "./") || strings.HasPrefix(m.Source, "../") || m.Source == "." || m.Source == ".." {
		if m.Source, err = filepath.Abs(m.Source); err != nil {
			return err
		}
	}
	c.Mounts = append(c.Mounts, m)
	return nil
}

func addTmpfs(c *config.Container, v string) (err error) {
	target, size, sized := strings.Cut(v, ":")
	m := config.Mount{Type: config.MountTmpfs, Target: target}
	if sized {
		if m.Size, err = config.ParseSize(size); err != nil {
			return err
		}
	}
	return appendMount(c, m)
}

func addMount(c *config.Container, v string) (err error) {
	m := config.Mount{Type: config.MountBind}
	for field := range strings.SplitSeq(v, ",") {
		key, value, given := strings.Cut(field, "=")
		switch key {
		case "type":
			m.Type = config.MountType(value)
		case "source":
			m.Source = value
		case "target":
			m.Target = value
		case "read_only":
			m.ReadOnly = value == "true" || !given
		case "idmap":
			m.IDMap = new(bool)
			*m.IDMap = value == "true" || !given
		case "size":
			m.Size, err = config.ParseSize(value)
		case "mode":
			m.Mode, err = parseMode(value)
		case "disk_max":
			m.DiskMax, err = config.ParseSize(value)
		default:
			err = fmt.Errorf("unknown key %q; known are type, source, target, read_only, idmap, size, mode, disk_max", key)
		}
		if err != nil {
			return err
		}
	}
	return appendMount(c, m)
}

func parseMode(v string) (uint32, error) {
	mode, err := strconv.ParseUint(v, 8, 12)
	if err != nil || mode == 0 {
		return 0, fmt.Errorf("%q is no mode; write octal digits, such as 0755", v)
	}
	return uint32(mode), nil
}

func setWeight(to *uint64, v string) error {
	if _, err := fmt.Sscanf(v, "%d", to); err != nil || fmt.Sprint(*to) != v || *to == 0 {
		return fmt.Errorf("%q is no number from 1 to 10000", v)
	}
	return nil
}

func addDeviceLimit(to *[]config.DeviceLimit, v string) error {
	limit, err := config.ParseDeviceLimit(v)
	*to = append(*to, limit)
	return err
}

func addDirective(to *[]config.Directive, v string) error {
	key, value, given := strings.Cut(v, "=")
	if !given {
		return fmt.Errorf("write KEY=VALUE")
	}
	*to = append(*to, config.Directive{Key: key, Value: value})
	return nil
}

// setSeccomp makes a path absolute, as the file is read elsewhere.
func setSeccomp(c *config.Container, value string) (err error) {
	c.Seccomp = value
	switch value {
	case config.SeccompDefault:
		c.Seccomp = ""
	case config.SeccompNone, "":
	default:
		c.Seccomp, err = filepath.Abs(value)
	}
	return err
}
