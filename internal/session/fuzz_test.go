package session

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzPackets: a container's init may have been taken over, and so may a client.
func FuzzPackets(f *testing.F) {
	f.Add([]byte{Running})
	f.Add([]byte{Ended, 0, 1, 0, 0})
	f.Add([]byte("F\x7fno such file"))
	f.Add([]byte{signalPacket, 15})
	f.Fuzz(func(t *testing.T, packet []byte) {
		if r, err := parseReport(packet); (r == nil) != (err != nil) {
			t.Errorf("%q: %v, %v", packet, r, err)
		}
		if number := ParseSignal(packet); number < 0 || number > 64 {
			t.Errorf("%q: signal %d", packet, number)
		}
	})
}

// FuzzRequest reads what a client asks for.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"Command":["sh"],"Environment":["A=b"],"Terminal":true,"Rows":24}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		fd, err := unix.MemfdCreate("request", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(fd), "request")
		defer file.Close()
		if _, err := file.Write(data); err != nil {
			t.Fatal(err)
		}
		r, err := Load(file)
		if err != nil {
			return
		}
		again, err := r.Save()
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if _, err := Load(again); err != nil {
			t.Errorf("%q: %v", data, err)
		}
	})
}
