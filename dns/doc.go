// Package dns answers the containers of one network: their names from what runs, all
// others from the host's resolvers.
//
// The core is pure: Zone and Names and a question give an answer (answer.go). Around it
// are the readers of what runs (world.go) and of the host's resolvers (resolvconf.go, forward.go), and
// the sockets (serve.go). What arrives is hostile: it comes from containers, and the
// answers of resolvers from anywhere.
//
// A name is that of a container, or one of its aliases in this network; either may be
// followed by the network's own, as in web.cocker0. A container's name goes before
// another's alias. What ends in the network's name is answered here and nowhere else, and
// so are the addresses of its subnets; the rest goes to the host's resolvers, unless the
// network is internal: it has no way out, so names have none (as netavark has it). Before
// that, a container in further networks is told their names.
package dns
