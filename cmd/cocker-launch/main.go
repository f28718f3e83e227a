// Command cocker-launch starts a container and is gone. Units call it; people
// use systemctl(1) or cocker(1).
package main

import (
	"os"

	"github.com/cocker/cocker/launch"
)

func main() {
	os.Exit(launch.Main(os.Args[1:], os.Stderr))
}
