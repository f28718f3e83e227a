// Package paths names every directory that cocker reads or writes. It imports
// nothing of cocker, so that each path is written down exactly once.
package paths

import "path/filepath"

// Directories of the host. They are constants: a test that needs others boots a
// test host or gives the package under test a directory of its own.
const (
	State      = "/var/lib/cocker"             // images, layers, writable layers
	Runtime    = "/run/cocker"                 // what cannot be read back from systemd or the kernel
	Helpers    = "/usr/libexec/cocker"         // cocker-launch and cocker-init
	Command    = "/usr/bin/cocker"             // what people use
	Containers = "containers"                  // the directory of container files below each of ConfigDirs
	OCI        = State + "/oci"                // the OCI image layout
	Layers     = State + "/layers"             // unpacked layers
	Writable   = State + "/containers"         // writable layers, one directory for each container
	IDRanges   = State + "/idranges"           // one link for each id range in use
	Volumes    = State + "/volumes"            // named volumes, one directory for each
	Networks   = Runtime + "/networks"         // leases, one directory for each network
	Pods       = Runtime + "/pods"             // the namespaces of pods, one directory for each; root's alone
	CNI        = Runtime + "/cni"              // what CNI plugins have made, one directory for each container; root's alone
	CNIConfigs = "/etc/cni/net.d"              // network configurations of CNI
	Registries = "/etc/cocker/registries.toml" // how registries are reached
	Stage      = Runtime + "/stage"            // where root file systems are assembled, each in a mount namespace of its own
	Names      = Runtime + "/dns"              // one file for each network whose names are served
	Running    = Runtime + "/state"            // one file for each running container
	Control    = Runtime + "/control"          // one socket for each container that takes sessions; root's alone
	Kills      = "/run/cocker-oom"             // the pipe of cocker-oom.socket
)

// ConfigDirs are the directories that hold containers/NAME.toml; the first one
// that has a file of a name wins.
func ConfigDirs() []string {
	return []string{"/etc/cocker", "/run/cocker", "/usr/lib/cocker"}
}

// CNIPlugins are the directories of plugins: that of the specification's authors, and those
// of the packages of Debian and of Fedora.
func CNIPlugins() []string { return []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"} }

// ControlDirs are where systemd keeps what "systemctl set-property" has set, the
// drop-ins of each unit in a directory: systemd.unit(5), "Unit File Load Path".
func ControlDirs() []string {
	return []string{"/etc/systemd/system.control", "/run/systemd/system.control"}
}

// Unpulled is there while a container with pull = "always" must not start: from the
// beginning of the pull until it has succeeded.
func Unpulled(container string) string { return filepath.Join(Runtime, "unpulled-"+container) }

// Launcher is the program of ExecStart=.
func Launcher() string { return filepath.Join(Helpers, "cocker-launch") }

// Init is the program that becomes PID 1 of a container.
func Init() string { return filepath.Join(Helpers, "cocker-init") }
