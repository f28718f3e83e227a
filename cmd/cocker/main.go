// Command cocker is the front of cocker: see internal/cli.
package main

import (
	"os"

	"github.com/cocker/cocker/internal/cli"
)

var version = "unknown" // set by the linker

func main() {
	os.Exit(cli.Run(version, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
