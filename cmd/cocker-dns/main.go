// Command cocker-dns answers the names of one network's containers while somebody
// asks. Its socket unit starts it.
package main

import (
	"os"

	"github.com/cocker/cocker/dns"
)

func main() {
	os.Exit(dns.Main(os.Args[1:], os.Stderr))
}
