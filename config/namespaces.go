package config

// OwnNetwork tells whether the container has a network namespace of its own, which
// belongs to its user namespace.
func (c *Container) OwnNetwork() bool {
	if c.Pod != "" {
		return false
	}
	switch c.Network.Mode {
	case NetworkBridge, NetworkNone, NetworkCustom:
		return true
	}
	return false
}

// HostNetwork tells whether it is in the host's network namespace.
func (c *Container) HostNetwork() bool { return c.Pod == "" && c.Network.Mode == NetworkHost }
