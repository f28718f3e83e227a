package units

import "github.com/cocker/cocker/config"

// ForNetwork gives what the file of a network adds to cocker-network@.service. The
// built-in network has none.
func ForNetwork(d *config.NetworkDefinition) File {
	f := File{Header: header}
	if d.Description != "" {
		f.Add("Unit", "Description", Literal(d.Description))
	}
	if len(d.Sources) > 0 {
		f.Add("Unit", "SourcePath", Literal(d.Sources[0]))
	}
	if d.Temporary {
		f.Add("Unit", "StopWhenUnneeded", "yes")
	}
	return f
}

// networkUnits are those of the networks that a container joins, or a pod. They are
// wanted and not required: what requires them would not be started at all if one
// failed, and its status would not say why. So it is started, finds the network
// missing as it does when somebody has deleted it, and fails with file, line and
// reason. PartOf= is the rest of what Requires= does: who stops or restarts a network
// does so with what is in it.
func networkUnits(n config.Network) []string {
	if n.Mode != config.NetworkBridge {
		return nil
	}
	var names []string
	for _, j := range n.Joins {
		if j.Name != "" { // a bad file may have such a join
			names = append(names, Network(j.Name))
		}
	}
	return names
}

func networksOf(c *config.Container) []string {
	if c.Pod != "" {
		return nil
	}
	return networkUnits(c.Network)
}
