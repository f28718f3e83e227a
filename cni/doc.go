// Package cni connects network namespaces by CNI plugins, as the CNI specification 1.1
// (SPEC.md of github.com/containernetworking/cni) has it: programs of the host that are
// given a configuration, and undo with DEL what they have done with ADD.
//
// What DEL needs is written down before the first plugin runs: a file for each interface,
//
//	STATE/OWNER/INTERFACE.json
//
// with the configuration as it was then, since plugins want to undo with the same that
// they have done with, and since that file or its plugins may be gone by then. It is
// there for as long as anything of the attachment may be. The library of the
// specification, libcni, writes its cache after all plugins have succeeded, and gives
// up a DEL at the first plugin that fails; its version 1.3.1 also has OpenTelemetry
// come into every launcher, 1.3 MB.
package cni

// Host is where configurations, plugins and the files of this package are.
type Host struct {
	Configs string   // a directory of configurations
	Plugins []string // directories of plugins, the first one that has it wins
	State   string   // a directory for each owner of attachments
}
