package machine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	busSocket = "/run/dbus/system_bus_socket"
	busName   = "org.freedesktop.DBus"
	busPath   = dbus.ObjectPath("/org/freedesktop/DBus")

	// maxWait bounds a call whose context has no deadline: a machined that is
	// being started by activation answers in well under a second, and the start
	// of a container must not hang on one that never answers.
	maxWait = 10 * time.Second
)

// Serials of the two messages of a connection; zero is not a valid serial.
const (
	helloSerial = 1
	callSerial  = 2
)

// request is one method call.
type request struct {
	destination string
	path        dbus.ObjectPath
	iface       string
	member      string
	body        []any
}

// call connects to the bus at socket, makes one method call and returns the
// reply's body. Authentication, Hello and the call leave in a single write and
// only the last reply is waited for: one round trip, where a general client
// needs six. sd-bus pipelines in the same way, so every bus daemon copes.
func call(ctx context.Context, socket string, r request) ([]any, error) {
	burst, err := r.burst(os.Geteuid())
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline(ctx)); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()

	if _, err := conn.Write(burst); err != nil {
		return nil, fmt.Errorf("%w: write to the system bus: %w", ErrUnavailable, err)
	}
	return readReply(bufio.NewReader(conn))
}

func deadline(ctx context.Context) time.Time {
	if t, ok := ctx.Deadline(); ok {
		return t
	}
	return time.Now().Add(maxWait)
}

// burst is everything that a client with one call to make has to say: the SASL
// exchange as uid, Hello, and the call.
func (r request) burst(uid int) ([]byte, error) {
	out := bytes.NewBufferString("\x00AUTH EXTERNAL " + hex.EncodeToString([]byte(strconv.Itoa(uid))) + "\r\nBEGIN\r\n")
	hello := request{destination: busName, path: busPath, iface: busName, member: "Hello"}
	if err := hello.encode(out, helloSerial); err != nil {
		return nil, err
	}
	if err := r.encode(out, callSerial); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// encode appends r as a message. The library keeps the serial to itself and
// writes zero, so it is patched in: bytes 8 to 11 of the header, D-Bus
// specification, "Message Format".
func (r request) encode(out *bytes.Buffer, serial uint32) error {
	m := dbus.Message{
		Type: dbus.TypeMethodCall,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(r.destination),
			dbus.FieldPath:        dbus.MakeVariant(r.path),
			dbus.FieldInterface:   dbus.MakeVariant(r.iface),
			dbus.FieldMember:      dbus.MakeVariant(r.member),
		},
		Body: r.body,
	}
	if len(r.body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(r.body...))
	}
	start := out.Len()
	if err := m.EncodeTo(out, binary.LittleEndian); err != nil {
		return fmt.Errorf("encode %s.%s: %w", r.iface, r.member, err)
	}
	binary.LittleEndian.PutUint32(out.Bytes()[start+8:], serial)
	return nil
}

// readReply skips everything up to the reply of the call and returns its body.
func readReply(in *bufio.Reader) ([]any, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%w: authenticate to the system bus: %w", ErrUnavailable, err)
	}
	if !strings.HasPrefix(line, "OK ") {
		return nil, fmt.Errorf("%w: the system bus refused the connection: %q", ErrUnavailable, strings.TrimSpace(line))
	}
	for {
		m, err := dbus.DecodeMessage(in)
		if err != nil {
			return nil, fmt.Errorf("%w: read from the system bus: %w", ErrUnavailable, err)
		}
		serial, _ := m.Headers[dbus.FieldReplySerial].Value().(uint32)
		if m.Type == dbus.TypeError && (serial == callSerial || serial == helloSerial) {
			return nil, busError(m)
		}
		if m.Type == dbus.TypeMethodReply && serial == callSerial {
			return m.Body, nil
		}
	}
}

// busError turns an error message into a Go error with the sentinel that
// callers branch on.
func busError(m *dbus.Message) error {
	name, _ := m.Headers[dbus.FieldErrorName].Value().(string)
	reason := dbus.Error{Name: name, Body: m.Body}
	switch {
	case name == "org.freedesktop.machine1.MachineExists":
		return fmt.Errorf("%w: %w", ErrExists, reason)
	case name == "org.freedesktop.machine1.NoSuchMachine",
		name == "org.freedesktop.DBus.Error.UnknownObject": // it went after its path had been looked up
		return fmt.Errorf("%w: %w", ErrNotFound, reason)
	case isUnavailable(name):
		return fmt.Errorf("%w: %w", ErrUnavailable, reason)
	}
	return reason
}

// isUnavailable reports whether a D-Bus error says that nobody answers for the
// destination: not installed, masked, or its activation failed.
func isUnavailable(name string) bool {
	switch name {
	case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner",
		"org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.TimedOut",
		"org.freedesktop.DBus.Error.Timeout", "org.freedesktop.DBus.Error.Disconnected":
		return true
	}
	return strings.HasPrefix(name, "org.freedesktop.DBus.Error.Spawn.") ||
		strings.HasPrefix(name, "org.freedesktop.systemd1.")
}

// store copies a reply's body into the variables that out points to.
func store(body []any, out ...any) error {
	if err := dbus.Store(body, out...); err != nil {
		return errors.Join(errors.New("unexpected reply"), err)
	}
	return nil
}
