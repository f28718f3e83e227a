package machine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// fakeBus answers one connection as a bus daemon does: OK, the reply of Hello, a
// NameAcquired signal, and then the message that answer returns.
func fakeBus(t *testing.T, answer func(call *dbus.Message) *dbus.Message) client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(t, conn, answer)
		}
	}()
	return client{path}
}

func serve(t *testing.T, conn net.Conn, answer func(call *dbus.Message) *dbus.Message) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for range 2 { // AUTH and BEGIN
		if _, err := in.ReadString('\n'); err != nil {
			t.Errorf("read SASL line: %v", err)
			return
		}
	}
	hello, err := dbus.DecodeMessage(in)
	if err != nil || hello.Serial() == 0 {
		t.Errorf("hello: %v, serial %d", err, hello.Serial())
		return
	}
	call, err := dbus.DecodeMessage(in)
	if err != nil || call.Serial() == 0 || call.Serial() == hello.Serial() {
		t.Errorf("call: %v, serial %d", err, call.Serial())
		return
	}
	out := bytes.NewBufferString("OK 0123456789abcdef0123456789abcdef\r\n")
	encode(t, out, reply(hello, ":1.7"))
	encode(t, out, &dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(busPath), dbus.FieldInterface: dbus.MakeVariant(busName),
		dbus.FieldMember: dbus.MakeVariant("NameAcquired")}})
	encode(t, out, answer(call))
	conn.Write(out.Bytes())
}

func encode(t *testing.T, out *bytes.Buffer, m *dbus.Message) {
	start := out.Len()
	if err := m.EncodeTo(out, binary.LittleEndian); err != nil {
		t.Errorf("encode: %v", err)
	}
	binary.LittleEndian.PutUint32(out.Bytes()[start+8:], 77)
}

func reply(to *dbus.Message, body ...any) *dbus.Message {
	m := &dbus.Message{Type: dbus.TypeMethodReply, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(to.Serial())}}
	if len(body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	return m
}

func failure(to *dbus.Message, name string) *dbus.Message {
	m := reply(to, "the reason")
	m.Type = dbus.TypeError
	m.Headers[dbus.FieldErrorName] = dbus.MakeVariant(name)
	return m
}

// The signature is the one machined publishes (org.freedesktop.machine1(5)).
func TestRegisterSendsTheDocumentedCall(t *testing.T) {
	var got *dbus.Message
	c := fakeBus(t, func(m *dbus.Message) *dbus.Message { got = m; return reply(m, dbus.ObjectPath("/x")) })
	id := [16]byte{1, 2, 3, 15: 16}
	err := c.register(context.Background(), Registration{Name: "web", ID: id, Leader: 4242, Interfaces: []int{7}})
	if err != nil {
		t.Fatal(err)
	}
	if s := got.Headers[dbus.FieldSignature].Value().(dbus.Signature).String(); s != "sayssusai" {
		t.Errorf("signature %q", s)
	}
	if m := got.Headers[dbus.FieldMember].Value(); m != "RegisterMachineWithNetwork" {
		t.Errorf("member %v", m)
	}
	want := []any{"web", id[:], "cocker", "container", uint32(4242), "", []int32{7}}
	if !reflect.DeepEqual(got.Body, want) {
		t.Errorf("body\n got %v\nwant %v", got.Body, want)
	}
}

func TestErrorsOfMachined(t *testing.T) {
	tests := []struct {
		name string
		want error
	}{
		{"org.freedesktop.machine1.NoSuchMachine", ErrNotFound},
		{"org.freedesktop.DBus.Error.UnknownObject", ErrNotFound},
		{"org.freedesktop.DBus.Error.ServiceUnknown", ErrUnavailable},
		{"org.freedesktop.DBus.Error.Spawn.ChildExited", ErrUnavailable},
		{"org.freedesktop.systemd1.UnitMasked", ErrUnavailable},
	}
	for _, tt := range tests {
		c := fakeBus(t, func(m *dbus.Message) *dbus.Message { return failure(m, tt.name) })
		if err := c.register(context.Background(), Registration{Name: "web"}); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	c := fakeBus(t, func(m *dbus.Message) *dbus.Message { return failure(m, "org.freedesktop.DBus.Error.InvalidArgs") })
	err := c.register(context.Background(), Registration{Name: "web"})
	if err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("invalid arguments are an error of ours, got %v", err)
	}
}

// A name that a living machine has is refused. That of a dead one is free as soon
// as machined has forgotten it, which it is asked to do.
func TestRegisterTakesTheNameOfTheDead(t *testing.T) {
	const ended = 1<<22 + 1 // no process has such a number: PID_MAX_LIMIT, linux/threads.h
	for _, tt := range []struct {
		leader   int
		want     error
		attempts int
	}{{os.Getpid(), ErrExists, 1}, {ended, nil, 4}, {0, nil, 4}} {
		attempts, forgotten := 0, false
		c := fakeBus(t, func(m *dbus.Message) *dbus.Message {
			switch m.Headers[dbus.FieldMember].Value() {
			case "RegisterMachineWithNetwork":
				if attempts++; !forgotten || attempts < 4 {
					return failure(m, "org.freedesktop.machine1.MachineExists")
				}
			case "GetAll":
				return reply(m, map[string]dbus.Variant{"Leader": dbus.MakeVariant(uint32(tt.leader))})
			case "UnregisterMachine":
				forgotten = true
			}
			return reply(m, dbus.ObjectPath("/x"))
		})
		err := c.register(context.Background(), Registration{Name: "web"})
		if !errors.Is(err, tt.want) || attempts != tt.attempts {
			t.Errorf("leader %d: %v after %d attempts, want %v after %d", tt.leader, err, attempts, tt.want, tt.attempts)
		}
	}
}

// On a host where hundreds of containers start, machined forgets a dead one late. That is no
// reason to refuse a start, as another machine of the name would be.
func TestRegisterGivesUpOnTheDead(t *testing.T) {
	c := fakeBus(t, func(m *dbus.Message) *dbus.Message {
		switch m.Headers[dbus.FieldMember].Value() {
		case "RegisterMachineWithNetwork":
			return failure(m, "org.freedesktop.machine1.MachineExists")
		case "GetAll":
			return reply(m, map[string]dbus.Variant{"Leader": dbus.MakeVariant(uint32(0))})
		}
		return reply(m, dbus.ObjectPath("/x"))
	})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := c.register(ctx, Registration{Name: "web"}); err == nil || errors.Is(err, ErrExists) {
		t.Errorf("got %v", err)
	}
}

func TestNoBusIsUnavailable(t *testing.T) {
	c := client{filepath.Join(t.TempDir(), "none")}
	if err := c.register(context.Background(), Registration{Name: "web"}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestSilentBusEndsWithTheContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			io.Copy(io.Discard, conn)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := (client{path}).register(ctx, Registration{Name: "web"}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestLookups(t *testing.T) {
	path := dbus.ObjectPath("/org/freedesktop/machine1/machine/web")
	c := fakeBus(t, func(m *dbus.Message) *dbus.Message {
		switch m.Headers[dbus.FieldMember].Value() {
		case "GetMachine":
			return reply(m, path)
		case "GetAll":
			return reply(m, map[string]dbus.Variant{"Name": dbus.MakeVariant("web"), "Leader": dbus.MakeVariant(uint32(9)),
				"Unit": dbus.MakeVariant("cocker@web.service")})
		case "ListMachines":
			type entry struct {
				Name, Class, Service string
				Path                 dbus.ObjectPath
			}
			return reply(m, []entry{{".host", "host", "", path}, {"web", "container", "cocker", path}, {"x", "container", "nspawn", path}})
		default:
			type entry struct {
				Family  int32
				Address []byte
			}
			return reply(m, []entry{{2, []byte{10, 88, 0, 2}}})
		}
	})
	ctx := context.Background()
	if m, err := c.get(ctx, "web"); err != nil || m.Leader != 9 || m.Unit != "cocker@web.service" {
		t.Errorf("get: %+v, %v", m, err)
	}
	if names, err := c.list(ctx); err != nil || !reflect.DeepEqual(names, []string{"web"}) {
		t.Errorf("list: %v, %v", names, err)
	}
	if a, err := c.addresses(ctx, "web"); err != nil || !reflect.DeepEqual(a, []netip.Addr{netip.MustParseAddr("10.88.0.2")}) {
		t.Errorf("addresses: %v, %v", a, err)
	}
}

// A value that the wire format cannot carry is an error, not a broken message.
func TestRegisterRejectsInvalidUTF8(t *testing.T) {
	c := client{filepath.Join(t.TempDir(), "none")}
	err := c.register(context.Background(), Registration{Name: "a\xff"})
	if err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}
