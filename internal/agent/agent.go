// Package agent runs this very program once more with the ids of a container, to work on
// the container's files as its root could: whatever the container does, the kernel decides
// with the container's ids what the agent may do. It may import internal/linux.
package agent

import (
	"os"
	"os/exec"
	"syscall"

	"github.com/cocker/cocker/internal/linux"
)

// RootFD is the descriptor of the container's root directory in an agent; what else the
// caller passes comes after it.
const RootFD = 3

// Tree is the container's side, as the host's root holds it.
type Tree struct {
	Root   *os.File // a path descriptor of the root directory
	IDBase uint32   // the host's id of the container's root
	Lock   *os.File // what the agent keeps locked; may be nil
}

// Command is this very program, whatever has become of its file, in a user namespace
// of its own with the container's ids. It is not the container's namespace, so that
// nobody in there has power over the process; nor is it in any other namespace of it.
// It inherits the tree's root, files and the tree's lock, in this order. The first that
// the program does must be to open what it needs of the host, and then to call [Confine].
func Command(tree Tree, files []*os.File, arguments ...string) *exec.Cmd {
	c := exec.Command("/proc/self/exe", arguments...)
	c.Env = []string{}
	c.Stderr = os.Stderr
	c.ExtraFiles = append([]*os.File{tree.Root}, files...)
	if tree.Lock != nil {
		c.ExtraFiles = append(c.ExtraFiles, tree.Lock)
	}
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:                 syscall.CLONE_NEWUSER,
		UidMappings:                linux.IDMap(tree.IDBase),
		GidMappings:                linux.IDMap(tree.IDBase),
		GidMappingsEnableSetgroups: true,
		Credential:                 &syscall.Credential{},
		Setpgid:                    true, // the terminal's SIGINT is for the caller
	}
	return c
}
