// Package config owns the meaning of cocker's TOML files: the schema, its
// defaults, where files are searched, how drop-ins merge, and every check that
// needs nothing but the text. It imports no other package of cocker.
package config

import (
	"net/netip"
)

// InitMode says which program is PID 1 of a container.
type InitMode string

// The values of the key init.
const (
	InitCocker InitMode = "cocker" // cocker-init is PID 1 and starts the command
	InitNone   InitMode = "none"   // the command itself is PID 1
	InitImage  InitMode = "image"  // the image's own init is PID 1 and boots the container like a machine
)

// NetworkMode says which network namespace a container gets.
type NetworkMode string

// The values of the key network.mode.
const (
	NetworkBridge    NetworkMode = "bridge"    // own namespace, joined to one or several networks
	NetworkHost      NetworkMode = "host"      // the host's namespace
	NetworkNone      NetworkMode = "none"      // own namespace with loopback only
	NetworkCustom    NetworkMode = "custom"    // own namespace that the user's hook or the container sets up
	NetworkContainer NetworkMode = "container" // that of Network.Target, a container
	NetworkNamespace NetworkMode = "ns"        // that of Network.Target, a path
)

// MountType says what a [[mount]] table mounts.
type MountType string

// The values of the key mount.type.
const (
	MountBind   MountType = "bind"
	MountVolume MountType = "volume"
	MountTmpfs  MountType = "tmpfs"
)

// Protocol is the transport protocol of a published port.
type Protocol string

// The protocols a port can be published for.
const (
	TCP  Protocol = "tcp"
	UDP  Protocol = "udp"
	SCTP Protocol = "sctp"
)

// Container is one container as its TOML file and drop-ins describe it, checked
// and with the defaults filled in that do not depend on the image.
type Container struct {
	Name         string   // from the file's name; a valid host name
	Sources      []string // absolute paths: the file first, then its drop-ins in merge order
	Description  string
	Images       []string // references as written, lowest first; at least one
	Pull         PullPolicy
	PullTimeout  string   // as systemd.service(5) TimeoutStartSec=: "30min", "infinity"; "": the default
	Entrypoint   []string // what comes before Command; nil: the image's; empty: nothing
	Command      []string // nil: the image's
	Init         InitMode
	NotifyReady  bool   // the container sends READY=1 itself
	User         string // "", "name", "id", "name:group", ...; resolved inside the container
	WorkDir      string // absolute; "": the image's
	Hostname     string // defaults to Name
	StopSignal   string // "SIGTERM"; "": the image's
	ReloadSignal string // what the command gets at a reload; "": nothing
	Autologin    string // who is logged in at the terminal without a password; "": everybody is asked
	Seccomp      string // the filter of system calls: "", the default; "none"; the absolute path of a profile
	Environment  []EnvironmentVariable
	Network      Network
	Pod          string // the pod whose network, UTS and IPC namespaces it shares; "": none
	Mounts       []Mount
	Templates    []Template
	Credentials  []Credential // [credentials], sorted by name
	Processes    []Process    // [process.NAME], in file order; none: there is only the command
	Health       Health
	Security     Security
	Sysctls      []Sysctl // sorted by name
	Devices      []Device
	Resources    Resources
	Unit         []Directive // [unit], in file order
	Service      []Directive // [service], in file order
	Install      Install

	NoNewPrivileges bool // no program gives more than its caller has: setuid programs are as any other

	ReloadCommand []string // what runs in the container at a reload, its program first; nil: nothing
}

// EnvironmentVariable is one variable of [environment]; they are sorted by name.
type EnvironmentVariable struct {
	Name, Value string
}

// Network is the [network] table.
type Network struct {
	Mode       NetworkMode
	Target     string // of the modes container and ns: its name, its absolute path
	Joins      []Join // mode bridge: at least one; the first has the default route and the published ports
	Ports      []Port
	EgressMax  uint64 // bits in a second that the container sends through each join; 0: no limit
	IngressMax uint64 // bits in a second that it receives; 0: no limit
}

// Join is the part of a container in one network.
type Join struct {
	Name      string     // of the network
	Address   netip.Addr // IPv4; zero: leased
	Address6  netip.Addr // IPv6; zero: follows from the lease
	MAC       string     // as net.ParseMAC reads it; "": follows from the address
	Aliases   []string   // further names that the network's other containers find it by
	Interface string     // in the container; "": eth0, eth1, ...
}

// Primary is the join with the default route and the published ports.
func (n Network) Primary() Join {
	if len(n.Joins) == 0 {
		return Join{Name: DefaultNetwork}
	}
	return n.Joins[0]
}

// Port is one published port: what arrives for HostAddress:HostPort on the host
// goes to ContainerPort of the container.
type Port struct {
	HostAddress   netip.Addr // IPv4 or IPv6; zero: every address of the host, of both
	HostPort      uint16     // 0: one that is free, chosen at the start; the state has it
	ContainerPort uint16
	Protocol      Protocol
}

// Mount is one [[mount]] table.
type Mount struct {
	Type     MountType
	Source   string // absolute path on the host of a bind, name of a volume
	Target   string // absolute path in the container
	ReadOnly bool
	IDMap    *bool  // bind only: whether an owner's number is the same inside; nil: see MapsIDs
	Size     uint64 // bytes; tmpfs only; 0: the kernel's default
	Mode     uint32 // permissions; tmpfs only; 0: 1777
	DiskMax  uint64 // bytes; volume only; 0: its limit stays as it is
}

// Template is one [[template]] table.
type Template struct {
	Source      string          // absolute path in the container, or "" for
	HostSource  string          // absolute path on the host
	Target      string          // absolute path in the container
	Map         string          // absolute path on the host; "": none
	Values      []TemplateValue // sorted by key, as Credentials
	Credentials []TemplateValue // the values are names of the unit's credentials
	Mode        uint32          // permissions; 0: the source's
	Owner       *Owner          // nil: the source's
}

// TemplateValue is what a key of a template stands for.
type TemplateValue struct {
	Key, Value string
}

// Owner is the owner of a file, in the container's numbers.
type Owner struct{ UID, GID uint32 }

// Reloads tells whether there is something to do at a reload.
func (c *Container) Reloads() bool {
	return len(c.Templates) > 0 || c.ReloadSignal != "" || len(c.ReloadCommand) > 0
}

// Resources is the [resources] table. A zero value means: not set.
type Resources struct {
	MemoryMax           string // as systemd.resource-control(5) MemoryMax=: "512M", "50%", "infinity"
	MemoryHigh          string // MemoryHigh=
	MemoryLow           string // MemoryLow=
	MemoryMin           string // MemoryMin=
	MemorySwapMax       string // MemorySwapMax=: "0", "1G", "infinity"
	MemoryNodes         string // AllowedMemoryNodes=: "0,2-3"
	CPUQuota            string // CPUQuota=: "50%"
	CPUWeight           uint64 // CPUWeight=: 1 to 10000
	CPUs                string // AllowedCPUs=: "0-1,4"
	TasksMax            string // TasksMax=: "512", "10%", "infinity"
	IOWeight            uint64 // IOWeight=: 1 to 10000
	IOReadBandwidthMax  []DeviceLimit
	IOWriteBandwidthMax []DeviceLimit
	IOReadIOPSMax       []DeviceLimit
	IOWriteIOPSMax      []DeviceLimit
	DiskMax             uint64 // bytes of the writable layer; 0: no limit
	View                bool   // /proc shows the limits, by lxcfs
}

// DeviceLimit is how much one disk may be used, as IOReadBandwidthMax= and the
// like have it.
type DeviceLimit struct {
	Path  string // absolute: a block device, or a file on the disk that is meant
	Limit string // in a second, in powers of 1000: "10M"
}

// Directive is one line of a unit file that the user passes through.
type Directive struct {
	Key   string
	Value string // one value; a TOML array gives one Directive for each element
}

// Install is the [install] table: unit names whose .wants/.requires directory
// gets a link to the container's unit.
type Install struct {
	WantedBy   []string
	RequiredBy []string
}
