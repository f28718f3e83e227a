package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
	"github.com/cocker/cocker/scope"
	"github.com/cocker/cocker/units"
)

// setOptions are the flags of "set" that are not about the container.
type setOptions struct {
	dryRun, json bool
	given        []givenFlag
}

func setCommand(s *streams) *cobra.Command {
	o := &setOptions{}
	command := &cobra.Command{
		Use:   "set [flags] NAME [KEY=VALUE...]",
		Short: "Change keys of a container, in its file and while it runs",
		Long: `Set changes a container: in its file, which stays as it is otherwise, with its
comments, and as far as that is possible in the container that runs. There is a
flag for every key of cocker.toml(5) as "cocker create" has it; keys without a
flag are given as KEY=VALUE, such as network.address=10.88.0.9 or command='["httpd"]'.
An empty VALUE is the default.

A flag that may be repeated replaces the whole list, and "" empties it. But --env
sets one variable, --unit and --service one directive, and --volume, --tmpfs and
--mount the mount of one target.

What changes at once is published ports, aliases, rates, and the limits of
[resources] but disk_max; what systemd does with the unit does, too. Connections
through a port that is taken away end. "cocker ps" shows the ports as they are;
the unit's status text, which the container has, those of its start. What changes
at the next start is said. All of it is done or nothing: a port that is taken is
an error, and no file is written then.

A key is changed in the file that sets it, the container's own or a drop-in. If
that is a package's, in /usr, the drop-in 50-set.toml in /etc is written.`,
		Example: `  cocker set web --port-add 8443:443 --memory 1G
  cocker set web --publish 8080:80 --egress-max 100M
  cocker set web resources.memory_max= user=www-data
  cocker set --dry-run web network.address=10.88.0.9`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeSet,
		RunE: func(command *cobra.Command, args []string) error {
			return set(command, s, args[0], args[1:], o)
		},
	}
	command.Flags().BoolVar(&o.dryRun, "dry-run", false, "show what would change in files, and change nothing")
	command.Flags().BoolVar(&o.json, "json", false, "print what was changed as JSON")
	for _, f := range setFlags() {
		flag := command.Flags().VarPF(recordedFlag{f, &o.given}, f.name, f.short, f.usage)
		if f.kind == "" {
			flag.NoOptDefVal = "true"
		}
	}
	command.Flags().SortFlags = false
	command.Flags().SetNormalizeFunc(otherNames)
	completeFlags(command)
	_ = command.RegisterFlagCompletionFunc("port-rm", completePublished) // there is the flag
	return asRoot(command)
}

// otherNames are what "publish" is called, too.
func otherNames(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	switch name {
	case "port":
		name = "publish"
	case "memory-max":
		name = "memory"
	case "publish-add":
		name = "port-add"
	case "publish-rm":
		name = "port-rm"
	}
	return pflag.NormalizedName(name)
}

// givenFlag is one flag of a command line. It waits for the container that it changes.
type givenFlag struct {
	containerFlag
	value string
}

// recordedFlag is a containerFlag as pflag sees it.
type recordedFlag struct {
	containerFlag
	given *[]givenFlag
}

func (f recordedFlag) String() string { return "" }
func (f recordedFlag) Type() string   { return boundFlag{f.containerFlag, nil}.Type() }

func (f recordedFlag) Set(v string) error {
	*f.given = append(*f.given, givenFlag{f.containerFlag, v})
	return nil
}

// setFlags are the flags of "create", the lists of which replace what there is.
func setFlags() []containerFlag {
	flags := append(containerFlags(), installFlags()...)
	for i, f := range flags {
		switch reset := lists()[f.name]; {
		case reset != nil:
			flags[i].set = replacing(reset, f.set)
		case emptied()[f.name] != nil:
			flags[i].set = emptying(emptied()[f.name], f.set)
		case f.name == "unit" || f.name == "service":
			flags[i].set = replacingKey(f.name, f.set)
		case f.name == "volume" || f.name == "tmpfs" || f.name == "mount":
			flags[i].set = replacingTarget(f.set)
		}
	}
	return append(flags,
		containerFlag{"port-add", "", "[ADDRESS:][PORT]:PORT[/udp]", "publish one port more", addPort},
		containerFlag{"port-rm", "", "PORT[:PORT][/udp]", "publish a port no more: the host's, or all of it as --publish has it", removePort},
		containerFlag{"mount-rm", "", "TARGET", "mount nothing there any more", removeMount},
	)
}

// lists empties what flags add to.
func lists() map[string]func(*config.Container) {
	return map[string]func(*config.Container){
		"publish":                func(c *config.Container) { c.Network.Ports = nil },
		"alias":                  func(c *config.Container) { c.Network.Joins[0].Aliases = nil },
		"join":                   func(c *config.Container) { c.Network.Joins = c.Network.Joins[:1] },
		"entrypoint":             func(c *config.Container) { c.Entrypoint = []string{} },
		"io-read-bandwidth-max":  func(c *config.Container) { c.Resources.IOReadBandwidthMax = nil },
		"io-write-bandwidth-max": func(c *config.Container) { c.Resources.IOWriteBandwidthMax = nil },
		"io-read-iops-max":       func(c *config.Container) { c.Resources.IOReadIOPSMax = nil },
		"io-write-iops-max":      func(c *config.Container) { c.Resources.IOWriteIOPSMax = nil },
		"cap-add":                func(c *config.Container) { c.Security.AddCapabilities = nil },
		"cap-drop":               func(c *config.Container) { c.Security.DropCapabilities = nil },
		"device":                 func(c *config.Container) { c.Devices = nil },
		"sysctl":                 func(c *config.Container) { c.Sysctls = nil },
		"wanted-by":              func(c *config.Container) { c.Install.WantedBy = nil },
		"required-by":            func(c *config.Container) { c.Install.RequiredBy = nil },
	}
}

// replacing empties a list before its first value. The empty value adds nothing.
func replacing(reset func(*config.Container), add func(*config.Container, string) error) func(*config.Container, string) error {
	begun := false
	return func(c *config.Container, v string) error {
		if !begun {
			reset(c)
		}
		if begun = true; v == "" {
			return nil
		}
		return add(c, v)
	}
}

// emptied are the defaults of what is no text. "" is the default of all others, too.
func emptied() map[string]func(*config.Container) {
	return map[string]func(*config.Container){
		"address":     func(c *config.Container) { c.Network.Joins[0].Address = netip.Addr{} },
		"address6":    func(c *config.Container) { c.Network.Joins[0].Address6 = netip.Addr{} },
		"egress-max":  func(c *config.Container) { c.Network.EgressMax = 0 },
		"ingress-max": func(c *config.Container) { c.Network.IngressMax = 0 },
		"cpu-weight":  func(c *config.Container) { c.Resources.CPUWeight = 0 },
		"io-weight":   func(c *config.Container) { c.Resources.IOWeight = 0 },
		"disk-max":    func(c *config.Container) { c.Resources.DiskMax = 0 },
	}
}

func emptying(empty func(*config.Container), set func(*config.Container, string) error) func(*config.Container, string) error {
	return func(c *config.Container, v string) error {
		if v != "" {
			return set(c, v)
		}
		empty(c)
		return nil
	}
}

// replacingKey puts a directive's values in the place of those it had.
func replacingKey(section string, add func(*config.Container, string) error) func(*config.Container, string) error {
	var begun []string
	return func(c *config.Container, v string) error {
		list := &c.Unit
		if section == "service" {
			list = &c.Service
		}
		key, _, _ := strings.Cut(v, "=")
		same := func(d config.Directive) bool { return strings.EqualFold(d.Key, key) }
		at := slices.IndexFunc(*list, same)
		if first := !slices.Contains(begun, strings.ToLower(key)); first {
			begun = append(begun, strings.ToLower(key))
			*list = slices.DeleteFunc(*list, same)
		} else if at >= 0 {
			for at < len(*list) && same((*list)[at]) {
				at++
			}
		}
		if err := add(c, v); err != nil || at < 0 {
			return err
		}
		last := len(*list) - 1
		*list = slices.Insert((*list)[:last:last], at, (*list)[last])
		return nil
	}
}

// replacingTarget removes an earlier mount at the place of the new one.
func replacingTarget(add func(*config.Container, string) error) func(*config.Container, string) error {
	return func(c *config.Container, v string) error {
		if err := add(c, v); err != nil {
			return err
		}
		last := c.Mounts[len(c.Mounts)-1]
		c.Mounts = slices.DeleteFunc(c.Mounts[:len(c.Mounts)-1], func(m config.Mount) bool { return m.Target == last.Target })
		c.Mounts = append(c.Mounts, last)
		return nil
	}
}

func removeMount(c *config.Container, v string) error {
	before := len(c.Mounts)
	c.Mounts = slices.DeleteFunc(c.Mounts, func(m config.Mount) bool { return m.Target == v })
	if len(c.Mounts) == before {
		return fmt.Errorf("nothing is mounted at %q", v)
	}
	return nil
}

// removePort takes a port as it was published, or the host's alone.
func removePort(c *config.Container, v string) error {
	var ports []config.Port
	matches := func(p config.Port) bool { return slices.Contains(ports, p) }
	if number, protocol, _ := strings.Cut(v, "/"); !strings.Contains(v, ":") {
		matches = func(p config.Port) bool {
			return fmt.Sprint(p.HostPort) == number && (protocol == "" || string(p.Protocol) == protocol)
		}
	} else {
		var err error
		if ports, err = config.ParsePorts(v); err != nil {
			return err
		}
	}
	before := len(c.Network.Ports)
	c.Network.Ports = slices.DeleteFunc(c.Network.Ports, matches)
	if gone := before - len(c.Network.Ports); gone == 0 || gone < len(ports) {
		return fmt.Errorf("%s is not published; published are: %s", v, strings.Join(config.FormatPorts(c.Network.Ports), ", "))
	}
	return nil
}

// changed is what "set" has done.
type changed struct {
	Name      string   `json:"name"`
	Keys      []string `json:"keys"`
	Files     []string `json:"files"`
	Running   bool     `json:"running"`
	NextStart []string `json:"next_start"` // keys that the running container does not have yet
}

func set(command *cobra.Command, s *streams, name string, pairs []string, o *setOptions) error {
	if len(o.given) == 0 && len(pairs) == 0 {
		return errors.New(`nothing to set; give a flag or KEY=VALUE (see "cocker set --help")`)
	}
	lock, err := lockFiles(command.Context(), name, o.dryRun)
	if err != nil {
		return err
	}
	defer lock.Close()
	location, err := config.Find(paths.ConfigDirs(), name)
	if errors.Is(err, config.ErrNotFound) {
		return notFound(name)
	}
	if err != nil {
		return err
	}
	old, err := location.Read()
	if err != nil {
		return err
	}
	wanted, err := wantedContainer(location, o.given, pairs)
	if err != nil {
		return err
	}
	dropIn := filepath.Join(containerFile(etcDir, name)+".d", "50-set.toml")
	files, keys, err := (&config.Rewriter{Location: location, DropIn: dropIn, Fixed: ofPackage}).Rewrite(wanted)
	if err != nil {
		return err
	}
	if o.dryRun {
		for _, f := range files {
			fmt.Fprint(s.out, unifiedDiff(f.File, f.Old, f.New))
		}
		return nil
	}
	done := changed{Name: name, Keys: keys, Files: []string{}, NextStart: []string{}}
	for _, f := range files {
		done.Files = append(done.Files, f.File)
	}
	if len(files) > 0 {
		err = apply(command, s, old, wanted, files, &done)
	}
	return errors.Join(err, done.print(s, o.json))
}

// lockFiles holds other sets off until it is closed. The lock is on the directory of
// the containers' files, where it leaves nothing behind.
func lockFiles(ctx context.Context, name string, reading bool) (*os.File, error) {
	if err := config.ValidName(name); err != nil {
		return nil, err
	}
	dir := filepath.Dir(containerFile(etcDir, name))
	if reading {
		return os.Open("/")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return lockUpper(ctx, dir)
}

// ofPackage says whether a file is one that a package has installed.
func ofPackage(file string) bool {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	return strings.HasPrefix(file, "/usr/") && !strings.HasPrefix(file, "/usr/local/")
}

// wantedContainer is the container with the flags and keys of the command line.
func wantedContainer(location config.Location, given []givenFlag, pairs []string) (*config.Container, error) {
	c, err := location.Read()
	if err != nil {
		return nil, err
	}
	if len(c.Network.Joins) == 0 { // flags are about the first one
		c.Network.Joins = []config.Join{{Name: config.DefaultNetwork}}
	}
	for _, f := range given {
		if err := f.set(c, f.value); err != nil {
			return nil, fmt.Errorf("--%s %q: %w", f.name, f.value, err)
		}
	}
	if _, c, err = checked(c, location.File); err != nil {
		return nil, err
	}
	for _, pair := range pairs {
		key, value, found := strings.Cut(pair, "=")
		if !found {
			return nil, fmt.Errorf("%q is no KEY=VALUE; to remove a key write %s=", pair, pair)
		}
		if c, err = c.With(key, value); err != nil {
			return nil, fmt.Errorf("%s: %w", pair, withoutFile("", err))
		}
	}
	c.Sources = []string{location.File}
	return c, checkNetworks(c)
}

// apply changes what runs, then the files, and then what systemd knows.
func apply(command *cobra.Command, s *streams, old, wanted *config.Container, files []config.Rewrite, done *changed) (err error) {
	done.Running, err = launch.Adjust(command.Context(), wanted.Name, wanted.Network, func() error { return writeAll(files) })
	if err != nil {
		done.Files = []string{}
		return err
	}
	if err := reload(command, s); err != nil {
		return fmt.Errorf("%w; the file is written, run \"systemctl daemon-reload\"", err)
	}
	if !done.Running {
		return nil
	}
	later, err := limitRunning(command.Context(), old, wanted)
	for _, key := range done.Keys {
		if slices.Contains(later, key) || !changesAtOnce(key, old, wanted) {
			done.NextStart = append(done.NextStart, key)
		}
	}
	return err
}

// changesAtOnce says whether a running container has a key's new value by now.
func changesAtOnce(key string, old, wanted *config.Container) bool {
	table, _, _ := strings.Cut(key, ".")
	switch {
	case key == "description", key == "reload_signal", key == "reload_command", table == "install", table == "unit":
		return true
	case key == "network.join":
		return sameButAliases(old.Network.Joins, wanted.Network.Joins)
	case old.Network.Mode != wanted.Network.Mode && table == "network":
		return false
	}
	switch key {
	case "network.ports", "network.egress_max", "network.ingress_max", "network.aliases":
		return true
	case "resources.disk_max", "resources.resource_view":
		return false
	}
	return table == "resources"
}

func sameButAliases(a, b []config.Join) bool {
	return slices.EqualFunc(a, b, func(x, y config.Join) bool {
		return x.Name == y.Name && x.Address == y.Address && x.Address6 == y.Address6 && x.MAC == y.MAC && x.Interface == y.Interface
	})
}

// limitRunning gives the new limits to the running unit. That of a file has them since the
// reload, and only the kernel may not; no generator writes that of "cocker run". later are
// keys whose default only a start brings back.
func limitRunning(ctx context.Context, old, wanted *config.Container) (later []string, err error) {
	m, err := scope.Open(ctx)
	if errors.Is(err, scope.ErrNoSystemd) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer m.Close()
	u, err := unitOf(ctx, m, wanted.Name)
	if err != nil {
		return nil, err
	}
	before, after := limitsOf(old), limitsOf(wanted)
	if slices.Equal(before, after) {
		return nil, nil
	}
	if u.Name == units.Service(wanted.Name) {
		return nil, errors.Join(m.Realize(ctx, u.Name), outranked(u, before, after))
	}
	kind := scope.Service
	if u.Name == units.Scope(wanted.Name) {
		kind = scope.Scope
	}
	var directives []scope.Directive
	for _, d := range after {
		if !slices.Contains(before, d) {
			directives = append(directives, d)
		}
	}
	for _, d := range before {
		if !slices.ContainsFunc(after, func(a scope.Directive) bool { return a.Key == d.Key }) {
			later = append(later, config.ResourceKey(d.Key))
		}
	}
	if len(directives) == 0 {
		return later, nil
	}
	return later, m.SetProperties(ctx, kind, u.Name, directives)
}

// outranked tells of limits of "systemctl set-property", which count before those that
// have changed in the file.
func outranked(u scope.Unit, before, after []scope.Directive) error {
	for _, l := range slices.Concat(before, after) {
		if slices.Contains(before, l) && slices.Contains(after, l) {
			continue
		}
		for _, dir := range paths.ControlDirs() {
			if dropIn := filepath.Join(dir, units.DropInDir(u.Name), "50-"+l.Key+".conf"); slices.Contains(u.DropIns, dropIn) {
				return fmt.Errorf("the file is written, but %s, made by \"systemctl set-property\", counts before it; \"systemctl revert %s\" removes all of those", dropIn, u.Name)
			}
		}
	}
	return nil
}

// limitsOf are the directives that the keys of [resources] become.
func limitsOf(c *config.Container) (limits []scope.Directive) {
	for _, l := range units.ForContainer(&config.Container{Name: c.Name, Network: c.Network, Resources: c.Resources}).Section("Service") {
		if config.ResourceKey(l.Key) != "" {
			limits = append(limits, scope.Directive{Section: "Service", Key: l.Key, Value: l.Value})
		}
	}
	return limits
}

func (d *changed) print(s *streams, asJSON bool) error {
	if asJSON {
		return printJSON(s.out, d)
	}
	for _, file := range d.Files {
		fmt.Fprintln(s.out, file)
	}
	if len(d.NextStart) > 0 {
		fmt.Fprintf(s.err, "%s runs; this takes effect at its next start: %s\n", d.Name, strings.Join(d.NextStart, ", "))
	}
	return nil
}

// writeAll writes all files or none.
func writeAll(files []config.Rewrite) error {
	for i, f := range files {
		if err := rewrite(f); err != nil {
			for _, done := range files[:i] {
				back := config.Rewrite{File: done.File, Old: done.New, New: done.Old}
				err = errors.Join(err, rewrite(back))
			}
			return err
		}
	}
	return nil
}

// rewrite gives a file another text, whole or not at all, with the same owner and mode.
// One that somebody else has changed meanwhile stays. Nothing is lost with a power cut
// once it returns.
func rewrite(f config.Rewrite) error {
	file, err := filepath.EvalSymlinks(f.File)
	if errors.Is(err, os.ErrNotExist) && f.Old == "" {
		return writeNew(f.File, []byte(f.New))
	}
	if err != nil {
		return err
	}
	if f.New == "" {
		return errors.Join(os.Remove(file), syncDir(filepath.Dir(file)))
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	var owner unix.Stat_t
	if err := unix.Stat(file, &owner); err != nil {
		return &os.PathError{Op: "stat", Path: file, Err: err}
	}
	// One name, so that a killed set leaves at most one, which the next one takes.
	temporary := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".new")
	if err := writeCopy(temporary, f.New, info.Mode(), int(owner.Uid), int(owner.Gid)); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != f.Old {
		return errors.Join(fmt.Errorf("%s has changed meanwhile; try again", file), err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, file); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return syncDir(filepath.Dir(file))
}

func writeCopy(file, text string, mode os.FileMode, uid, gid int) (err error) {
	w, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := w.WriteString(text); err != nil {
		return err
	}
	if err := errors.Join(w.Chown(uid, gid), w.Chmod(mode)); err != nil {
		return err
	}
	return w.Sync()
}
