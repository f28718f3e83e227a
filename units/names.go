// Package units owns unit files: the names of cocker's units, the model of a
// unit file, quoting, atomic writing, and what a container means in directives.
// It imports config and no other package of cocker.
package units

import "strings"

// Names of units that do not depend on a container. systemd.special(7) gives
// machine.slice to virtual machines and containers.
const (
	Slice    = "machine.slice"
	Template = "cocker@.service"
)

// StaticDir is where the package installs the units of this directory; the
// links of [install] point there.
const StaticDir = "/usr/lib/systemd/system"

// A container's name is a host name, so it holds no "/" and nothing that
// systemd.unit(5) "String escaping" would change, save a "-" that only %I and
// %P turn into "/"; the units use %i.
const (
	servicePrefix   = "cocker@"
	transientPrefix = "cocker-"
	networkPrefix   = "cocker-network@"
	podPrefix       = "cocker-pod@"
	serviceSuffix   = ".service"
	scopeSuffix     = ".scope"
)

// Service is the unit of a container that has a TOML file.
func Service(name string) string { return servicePrefix + name + serviceSuffix }

// TransientService is the unit of a container started by "cocker run -d".
func TransientService(name string) string { return transientPrefix + name + serviceSuffix }

// Taken says that the name of a container's transient unit is that of another unit of
// cocker.
func Taken(name string) bool { return isOwn(TransientService(name)) }

// isOwn: of all the units of cocker, these alone look like those of containers "prune",
// "network-rules" and "oom".
func isOwn(unit string) bool {
	return unit == "cocker-prune.service" || unit == "cocker-network-rules.service" || unit == "cocker-oom.service"
}

// Scope is the unit of a container started by "cocker run" in the foreground.
func Scope(name string) string { return transientPrefix + name + scopeSuffix }

// Freeze is the transient unit that keeps a container frozen.
func Freeze(name string) string { return "cocker-freeze@" + name + serviceSuffix }

// Network is the unit that sets up a network.
func Network(network string) string { return networkPrefix + network + serviceSuffix }

// NetworkOf is the inverse of Network.
func NetworkOf(unit string) (network string, ok bool) {
	rest, found := strings.CutPrefix(unit, networkPrefix)
	if !found {
		return "", false
	}
	return instance(rest, serviceSuffix)
}

// Pod is the unit that has the namespaces of a pod.
func Pod(pod string) string { return podPrefix + pod + serviceSuffix }

// DropInDir is the name of the directory of a unit's drop-ins.
func DropInDir(unit string) string { return unit + ".d" }

// DropIn is the path of cocker's own drop-in of a unit, below a unit directory.
// It sorts before what an administrator adds with "systemctl edit" (override.conf)
// and "systemctl set-property" (50-MemoryMax.conf), wherever that lies: drop-ins of
// all directories are read in the order of their names (systemd.unit(5)), so that a
// limit set by hand would be undone by the next daemon-reload otherwise.
func DropIn(unit string) string { return DropInDir(unit) + "/10-cocker.conf" }

// WantsDir is the directory of links to the units that a unit wants.
func WantsDir(unit string) string { return unit + ".wants" }

// RequiresDir is the directory of links to the units that a unit requires.
func RequiresDir(unit string) string { return unit + ".requires" }

// ContainerOf is the inverse of Service, TransientService and Scope.
func ContainerOf(unit string) (name string, ok bool) {
	if rest, found := strings.CutPrefix(unit, servicePrefix); found {
		return instance(rest, serviceSuffix)
	}
	rest, found := strings.CutPrefix(unit, transientPrefix)
	if !found || isOwn(unit) {
		return "", false
	}
	if name, ok = instance(rest, serviceSuffix); ok {
		return name, true
	}
	return instance(rest, scopeSuffix)
}

// instance cuts the suffix. An "@" is in no container's name; it marks another
// template, such as the network's.
func instance(rest, suffix string) (string, bool) {
	name, ok := strings.CutSuffix(rest, suffix)
	if !ok || name == "" || strings.Contains(name, "@") {
		return "", false
	}
	return name, true
}
