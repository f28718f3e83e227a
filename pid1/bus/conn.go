// Package bus is as much of a D-Bus, and of a systemd on it, as machined asks for when
// it opens a shell or a login in a container: the authentication, Hello, and one call.
// The client is not trusted, and everything it says is bounded. It imports nothing of
// cocker but internal/session, and no D-Bus library: it is a part of cocker-init.
package bus

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/session"
)

// Conn is a connection of a client, from its first byte.
type Conn struct {
	fd     int
	buffer []byte // received and not used yet
	files  []int  // received and not taken yet
	serial uint32
}

// NewConn returns the server's end of a connected stream socket.
func NewConn(fd int) *Conn { return &Conn{fd: fd} }

// ErrEnd is the end of the connection.
var ErrEnd = errors.New("the client has closed the connection")

const (
	maxLine    = 1024 // of the authentication
	maxLines   = 16
	chunk      = 4096
	maxFiles   = 3 // standard input, output and error
	uniqueName = ":1.1"
	driver     = "org.freedesktop.DBus"
)

// more receives what comes next.
func (c *Conn) more() error {
	packet, files, err := session.Receive(c.fd, chunk, maxFiles)
	switch {
	case err != nil:
		return err
	case len(packet) == 0:
		return ErrEnd
	case len(c.files)+len(files) > maxFiles:
		session.CloseAll(files)
		return fmt.Errorf("%w: too many descriptors", errMalformed)
	}
	c.buffer, c.files = append(c.buffer, packet...), append(c.files, files...)
	return nil
}

// next returns the next n bytes.
func (c *Conn) next(n int) ([]byte, error) {
	for len(c.buffer) < n {
		if err := c.more(); err != nil {
			return nil, err
		}
	}
	data := c.buffer[:n:n]
	c.buffer = c.buffer[n:]
	return data, nil
}

func (c *Conn) write(data []byte) error {
	for len(data) > 0 {
		n, err := unix.SendmsgN(c.fd, data, nil, nil, unix.MSG_NOSIGNAL)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("write to the client: %w", err)
		}
		data = data[max(n, 0):]
	}
	return nil
}

// Authenticate speaks the server's part of the authentication ("Authentication
// Protocol") in both of its forms: systemd sends the whole of its own at once. Who the
// client is the caller has found out from the kernel.
func (c *Conn) Authenticate() error {
	if first, err := c.next(1); err != nil || first[0] != 0 {
		return cmpError(err, errMalformed)
	}
	for range maxLines {
		line, err := c.line()
		if err != nil {
			return err
		}
		if line == "BEGIN" {
			return nil
		}
		if err := c.write([]byte(authAnswer(line) + "\r\n")); err != nil {
			return err
		}
	}
	return errMalformed
}

func (c *Conn) line() (string, error) {
	for {
		if line, _, found := bytes.Cut(c.buffer, []byte("\r\n")); found {
			c.buffer = c.buffer[len(line)+2:]
			return string(line), nil
		}
		if len(c.buffer) > maxLine {
			return "", errMalformed
		}
		if err := c.more(); err != nil {
			return "", err
		}
	}
}

func authAnswer(line string) string {
	word, rest, _ := bytes.Cut([]byte(line), []byte(" "))
	switch string(word) {
	case "AUTH":
		mechanism, initial, _ := bytes.Cut(rest, []byte(" "))
		switch {
		case string(mechanism) != "EXTERNAL":
			return "REJECTED EXTERNAL"
		case len(initial) == 0:
			return "DATA"
		}
		return accepted()
	case "DATA":
		return accepted()
	case "NEGOTIATE_UNIX_FD":
		return "AGREE_UNIX_FD"
	case "CANCEL", "ERROR":
		return "REJECTED EXTERNAL"
	}
	return "ERROR"
}

func accepted() string {
	var id [16]byte
	_, _ = unix.Getrandom(id[:], 0) // so few bytes never fail (getrandom(2))
	return "OK " + hex.EncodeToString(id[:])
}

// Next returns the next call that is not for the bus itself. io.EOF is the end.
func (c *Conn) Next() (*Call, error) {
	for {
		call, err := c.receive()
		if errors.Is(err, ErrEnd) {
			return nil, io.EOF
		}
		if err != nil {
			return nil, err
		}
		if call == nil {
			continue
		}
		if call.Interface != driver {
			return call, nil
		}
		if err := c.drive(call); err != nil {
			return nil, err
		}
	}
}

// drive answers calls to the bus. The answer to Hello must be the first message.
func (c *Conn) drive(call *Call) error {
	if call.Member == "Hello" {
		return c.reply(call, methodReturn, "", "s", uniqueName)
	}
	return c.Fail(call, "org.freedesktop.DBus.Error.UnknownMethod", "this is not a whole D-Bus: "+call.Member+" is missing")
}

func (c *Conn) receive() (*Call, error) {
	header, err := c.next(headerSize)
	if err != nil {
		return nil, err
	}
	_, fields, body, err := lengths(header)
	if err != nil {
		return nil, err
	}
	rest, err := c.next(fields + body)
	if err != nil {
		return nil, err
	}
	return parse(append(header, rest...))
}

// Done answers a call with the path of a job, which nobody looks at.
func (c *Conn) Done(call *Call) error {
	return c.reply(call, methodReturn, "", "o", "/org/freedesktop/systemd1/job/1")
}

// Fail answers a call with an error. Its text is what machinectl shows.
func (c *Conn) Fail(call *Call, name, text string) error {
	return c.reply(call, methodError, name, "s", text)
}

func (c *Conn) reply(call *Call, kind byte, errorName, signature, value string) error {
	if call.noReply {
		return nil
	}
	c.serial++
	body := &encoder{}
	body.string(value)
	e := &encoder{data: []byte{'l', kind, 1 /* no reply is expected */, 1}}
	e.uint32(uint32(len(body.data)))
	e.uint32(c.serial)
	e.uint32(0) // the length of the fields
	e.field(fieldReplySerial, "u", func() { e.uint32(call.serial) })
	e.field(fieldDestination, "s", func() { e.string(uniqueName) })
	e.field(fieldSender, "s", func() { e.string(driver) })
	if errorName != "" {
		e.field(fieldErrorName, "s", func() { e.string(errorName) })
	}
	e.field(fieldSignature, "g", func() { e.signature(signature) })
	length := len(e.data) - headerSize
	e.data[12], e.data[13] = byte(length), byte(length>>8)
	e.align(8)
	return c.write(append(e.data, body.data...))
}

// TakeFiles gives the descriptors that came so far to the caller.
func (c *Conn) TakeFiles() []int {
	files := c.files
	c.files = nil
	return files
}

func cmpError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
