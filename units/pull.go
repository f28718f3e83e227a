package units

import (
	"strings"

	"github.com/cocker/cocker/config"
)

const pullPrefix = "cocker-pull@"

// NamesDir is where package image keeps a marker for each image that there is.
const NamesDir = "/var/lib/cocker/names"

// Pull is the unit that gets the images of a container that has a TOML file, before
// that starts.
func Pull(name string) string { return pullPrefix + name + serviceSuffix }

// PulledFor is the inverse of Pull; "" for other units.
func PulledFor(unit string) string {
	rest, found := strings.CutPrefix(unit, pullPrefix)
	if name, ok := instance(rest, serviceSuffix); ok && found {
		return name
	}
	return ""
}

// ForDeclared gives what the generator adds to cocker@.service: ForContainer, and the
// pull before the start. A container of "cocker run" is pulled for by the client.
//
// It is Wants= for pull = "always" too, and the launcher refuses to start what was not
// pulled. With Requires= the start would have failed with its dependency, and there would be
// no Restart=: systemd 257 leaves a unit that it restarts then in the state
// auto-restart-queued for good, 252 in inactive.
func ForDeclared(c *config.Container) File {
	f := ForContainer(c)
	if len(c.Pulled()) == 0 {
		return f
	}
	f.Add("Unit", "Wants", Pull(c.Name))
	f.Add("Unit", "After", Pull(c.Name))
	return f
}

// ForPull gives what a container adds to cocker-pull@.service. The conditions are
// looked at when all that the unit is ordered after is there, /var/lib/cocker too; of
// those with a "|" one must hold (systemd.unit(5)).
func ForPull(c *config.Container) File {
	f := File{Header: header}
	for _, v := range sourcePath(c) {
		f.Add("Unit", "SourcePath", v)
	}
	if c.Pull != config.PullAlways {
		for _, reference := range c.Pulled() {
			f.Add("Unit", "ConditionPathExists", "|!"+NamesDir+"/"+Literal(config.Marker(reference)))
		}
	}
	if c.PullTimeout != "" {
		f.Add("Service", "TimeoutStartSec", c.PullTimeout)
	}
	return f
}
