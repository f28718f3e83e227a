package netsetup

import "errors"

// Errors a caller branches on. They are wrapped; compare with errors.Is.
var (
	// ErrNotUp: the bridge or the table of the network is missing; Up makes them.
	ErrNotUp = errors.New("network is not up")
	// ErrAddressTaken: another container holds the lease of the address, or the host has it.
	ErrAddressTaken = errors.New("address is already leased")
	// ErrNoAddress: the network has no free address left.
	ErrNoAddress = errors.New("no free address")
	// ErrPortTaken: a container or a process of the host has the port.
	ErrPortTaken = errors.New("port is already used")
)
