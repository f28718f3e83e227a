package scope

import (
	"context"
	"encoding/binary"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// TestPrivateHandshake is a systemd that forgets what it has read together with BEGIN, as
// sd-bus does until more arrives.
func TestPrivateHandshake(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "private")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	said := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		heard := make([]byte, 4096)
		n, _ := conn.Read(heard)
		said <- string(heard[:n])
		conn.Write([]byte("OK 0123456789abcdef0123456789abcdef\r\n"))
		call, err := dbus.DecodeMessage(conn)
		if err != nil {
			return
		}
		reply := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldReplySerial: dbus.MakeVariant(call.Serial()),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf("")),
		}, Body: []any{call.Headers[dbus.FieldMember].Value()}}
		reply.EncodeTo(conn, binary.LittleEndian)
	}()

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := dialPrivate(ctx, socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if handshake := <-said; !strings.HasPrefix(handshake, "\x00AUTH EXTERNAL ") || !strings.HasSuffix(handshake, "\r\nBEGIN\r\n") {
		t.Errorf("systemd was told %q", handshake)
	}
	var answer string
	call := conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").CallWithContext(ctx, "org.freedesktop.systemd1.Manager.ListJobs", 0)
	if err := call.Store(&answer); err != nil || answer != "ListJobs" {
		t.Errorf("the first call got %q, %v", answer, err)
	}
}

func TestPrivateRefused(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "private")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			conn.Read(make([]byte, 4096))
			conn.Write([]byte("REJECTED\r\n"))
			conn.Close()
		}
	}()
	if _, err := dialPrivate(t.Context(), socket); err == nil || !strings.Contains(err.Error(), "REJECTED") {
		t.Errorf("a refused connection: %v", err)
	}
}
