package launch

import "github.com/cocker/cocker/config"

// Capabilities are those that the processes of a container can have.
func Capabilities(c *config.Container) uint64 { return capabilitiesOf(c) }
