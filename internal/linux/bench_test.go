package linux

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func BenchmarkNewUserNamespace(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("mapping ids needs root")
	}
	for b.Loop() {
		fd, err := NewUserNamespace(0x70000000)
		if err != nil {
			b.Fatal(err)
		}
		unix.Close(fd)
	}
}
