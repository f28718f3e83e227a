// Command cocker-generator is the systemd generator of cocker.
package main

import (
	"os"

	"github.com/cocker/cocker/generator"
)

func main() {
	os.Exit(generator.Run(os.Args[1:], os.Stdout, os.Stderr))
}
