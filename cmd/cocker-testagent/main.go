// Command cocker-testagent runs commands in the virtual machines of the system tests.
// It owns its command line; package tests/host/agent does the work. It is not installed.
//
//	cocker-testagent serve PORT            in the virtual machine
//	cocker-testagent exec DIR COMMAND...   outside; descriptor 3 is a stream of the connection
package main

import (
	"fmt"
	"os"

	"github.com/cocker/cocker/tests/host/agent"
)

func main() {
	status, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "cocker-testagent:", err)
		status = 255
	}
	os.Exit(status)
}

func run(args []string) (int, error) {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return 1, agent.Serve(args[1])
	case len(args) >= 3 && args[0] == "exec":
		return agent.Exec(os.NewFile(3, "stream"), args[1], args[2:])
	}
	return 2, fmt.Errorf("usage: serve PORT | exec DIR COMMAND [ARGUMENT...]")
}
