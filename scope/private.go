package scope

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
)

// privateSocket is systemd's own, on which it serves root without a D-Bus daemon.
const privateSocket = "/run/systemd/private"

// dialPrivate connects to a systemd on its own socket.
//
// It says all of the handshake in one write, as systemctl does, and the first message
// only after the answer. sd-bus takes whatever it reads behind BEGIN for the start of
// a message, and looks at that again only when more arrives (bus_socket_read_auth in
// sd-bus/bus-socket.c, systemd 252 and 257): a client that says BEGIN last, as the
// library does, and then calls, waits for good whenever systemd is late to read and
// gets both at once.
func dialPrivate(ctx context.Context, socket string) (*dbus.Conn, error) {
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	conn, err := greet(ctx, raw)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

func greet(ctx context.Context, raw net.Conn) (*dbus.Conn, error) {
	user := strconv.Itoa(os.Geteuid())
	if _, err := fmt.Fprintf(raw, "\x00AUTH EXTERNAL %x\r\nBEGIN\r\n", user); err != nil {
		return nil, err
	}
	in := bufio.NewReader(raw)
	answer, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(answer, "OK ") {
		return nil, fmt.Errorf("systemd refuses user %s: %s", user, strings.TrimSpace(answer))
	}
	// What the library hears of its own handshake; then it hears systemd.
	heard := io.MultiReader(strings.NewReader("REJECTED EXTERNAL\r\n"+answer), in)
	conn, err := dbus.NewConn(&greeted{Reader: heard, raw: raw}, dbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	if err := conn.Auth([]dbus.Auth{knownUser{}}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// greeted is a connection whose handshake is over. It keeps to itself what the library
// says of one.
type greeted struct {
	io.Reader
	raw   net.Conn
	begun bool
}

func (g *greeted) Write(p []byte) (int, error) {
	if g.begun {
		return g.raw.Write(p)
	}
	g.begun = string(p) == "BEGIN\r\n"
	return len(p), nil
}

func (g *greeted) Close() error { return g.raw.Close() }

// knownUser is the library's side of EXTERNAL where the other has agreed already.
type knownUser struct{}

func (knownUser) FirstData() (name, response []byte, status dbus.AuthStatus) {
	return []byte("EXTERNAL"), nil, dbus.AuthOk
}

func (knownUser) HandleData([]byte) (response []byte, status dbus.AuthStatus) {
	return nil, dbus.AuthError
}
