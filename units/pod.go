package units

import "github.com/cocker/cocker/config"

// ForPod gives what a pod adds to cocker-pod@.service.
func ForPod(p *config.Pod) File {
	f := File{Header: header}
	if p.Description != "" {
		f.Add("Unit", "Description", Literal(p.Description))
	}
	f.Add("Unit", "SourcePath", Literal(p.File))
	for _, key := range []string{"Wants", "PartOf", "After"} {
		for _, network := range networkUnits(p.Network) {
			f.Add("Unit", key, network)
		}
	}
	return f
}

// sharedWith is the unit that has namespaces which the container is in. As with a network,
// it is wanted, so that the container's own status tells if it is not there, and its stop
// and its restart, the one after a crash too, are the container's as well.
func sharedWith(c *config.Container) []string {
	switch {
	case c.Pod != "":
		return []string{Pod(c.Pod)}
	case c.Network.Mode == config.NetworkContainer:
		return []string{Service(c.Network.Target)}
	}
	return nil
}
