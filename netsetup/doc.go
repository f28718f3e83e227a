// Package netsetup owns what cocker changes in the network of the host: the
// bridge of a network, the nft table "cocker", the leases of addresses, and for
// each container its links and its published ports. It is the only package
// that speaks netlink; of cocker it imports config and internal/paths.
//
// Nothing here has to stay alive. What a network looks like is a desired state
// that Up makes or repairs; a container only adds and removes elements of maps,
// so the number of rules never grows. The names of all things on the host are in
// names.go; what the table looks like is testdata/table.golden.
package netsetup
