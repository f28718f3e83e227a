package bus

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Bounds on what a client may send; the specification allows 128 MiB.
const (
	maxMessage = 4 << 20
	maxFields  = 64 << 10
	maxDepth   = 16 // of containers in a signature
)

var errMalformed = errors.New("malformed D-Bus message")

// decoder reads values in the wire format of D-Bus ("Marshaling"). The first error
// stays; what is read after it is empty.
type decoder struct {
	data  []byte
	pos   int // from the beginning of the message or its body, both of which are aligned
	order binary.ByteOrder
	err   error
}

func (d *decoder) fail() {
	if d.err == nil {
		d.err = errMalformed
	}
}

// take returns the next n bytes.
func (d *decoder) take(n int) []byte {
	if d.err != nil || n < 0 || n > len(d.data)-d.pos {
		d.fail()
		return nil
	}
	d.pos += n
	return d.data[d.pos-n : d.pos]
}

func (d *decoder) align(to int) {
	d.take(-d.pos & (to - 1))
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	d.align(4)
	if b := d.take(4); b != nil {
		return d.order.Uint32(b)
	}
	return 0
}

func (d *decoder) bool() bool { return d.uint32() != 0 }

func (d *decoder) string() string { return d.text(d.uint32()) }

func (d *decoder) signature() string { return d.text(uint32(d.byte())) }

func (d *decoder) text(length uint32) string {
	if length > maxMessage {
		d.fail()
		return ""
	}
	text := d.take(int(length))
	if end := d.take(1); end == nil || end[0] != 0 {
		d.fail()
	}
	for _, b := range text {
		if b == 0 {
			d.fail()
		}
	}
	if d.err != nil {
		return ""
	}
	return string(text)
}

// array calls element until the array is read.
func (d *decoder) array(alignment int, element func()) {
	length := d.uint32()
	d.align(alignment)
	if length > maxMessage || int(length) > len(d.data)-d.pos {
		d.fail()
	}
	for end := d.pos + int(length); d.err == nil && d.pos < end; {
		before := d.pos
		element()
		if d.pos > end || d.pos == before {
			d.fail()
		}
	}
}

func (d *decoder) strings() (list []string) {
	d.array(4, func() { list = append(list, d.string()) })
	return list
}

// skip passes over the values of a signature.
func (d *decoder) skip(signature string, depth int) {
	for signature != "" && d.err == nil {
		one, rest := splitSignature(signature)
		if one == "" || depth > maxDepth {
			d.fail()
			return
		}
		d.skipOne(one, depth)
		signature = rest
	}
}

func (d *decoder) skipOne(one string, depth int) {
	switch one[0] {
	case 'y':
		d.byte()
	case 'n', 'q':
		d.align(2)
		d.take(2)
	case 'b', 'i', 'u', 'h':
		d.uint32()
	case 'x', 't', 'd':
		d.align(8)
		d.take(8)
	case 's', 'o':
		d.string()
	case 'g':
		d.signature()
	case 'v':
		d.skip(d.signature(), depth+1)
	case 'a':
		d.array(alignmentOf(one[1]), func() { d.skip(one[1:], depth+1) })
	case '(', '{':
		d.align(8)
		d.skip(one[1:len(one)-1], depth+1)
	default:
		d.fail()
	}
}

func alignmentOf(kind byte) int {
	switch kind {
	case 'y', 'g', 'v':
		return 1
	case 'n', 'q':
		return 2
	case 'x', 't', 'd', '(', '{':
		return 8
	}
	return 4
}

// splitSignature splits off the first complete type; "" if there is none.
func splitSignature(signature string) (one, rest string) {
	open := 0
	for i := range len(signature) {
		switch signature[i] {
		case '(', '{':
			open++
		case ')', '}':
			open--
		case 'a':
			continue
		}
		if open < 0 {
			return "", ""
		}
		if open == 0 {
			return signature[:i+1], signature[i+1:]
		}
	}
	return "", ""
}

// encoder writes values, little-endian.
type encoder struct{ data []byte }

func (e *encoder) align(to int) {
	for len(e.data)%to != 0 {
		e.data = append(e.data, 0)
	}
}

func (e *encoder) uint32(v uint32) {
	e.align(4)
	e.data = binary.LittleEndian.AppendUint32(e.data, v)
}

func (e *encoder) string(s string) {
	e.uint32(uint32(len(s)))
	e.data = append(append(e.data, s...), 0)
}

func (e *encoder) signature(s string) {
	e.data = append(append(append(e.data, byte(len(s))), s...), 0)
}

// field writes a header field: a code, and a variant.
func (e *encoder) field(code byte, signature string, value func()) {
	e.align(8)
	e.data = append(e.data, code)
	e.signature(signature)
	value()
}

// Types of messages, and codes of header fields.
const (
	methodCall   = 1
	methodReturn = 2
	methodError  = 3

	fieldPath        = 1
	fieldInterface   = 2
	fieldMember      = 3
	fieldErrorName   = 4
	fieldReplySerial = 5
	fieldDestination = 6
	fieldSender      = 7
	fieldSignature   = 8
)

// headerSize is that of the fixed part, with the length of the fields.
const headerSize = 16

// Call is a method call.
type Call struct {
	Interface string
	Member    string
	signature string
	serial    uint32
	noReply   bool
	body      []byte
	order     binary.ByteOrder
}

// lengths finds how long a message is by its fixed part.
func lengths(header []byte) (order binary.ByteOrder, fields, body int, err error) {
	switch header[0] {
	case 'l':
		order = binary.LittleEndian
	case 'B':
		order = binary.BigEndian
	default:
		return nil, 0, 0, errMalformed
	}
	bodyLength, fieldsLength := order.Uint32(header[4:]), order.Uint32(header[12:])
	if header[3] != 1 || fieldsLength > maxFields || bodyLength > maxMessage {
		return nil, 0, 0, fmt.Errorf("%w, or one that is too long", errMalformed)
	}
	return order, int(fieldsLength+7) &^ 7, int(bodyLength), nil
}

// parse reads a whole message; nil without an error is one that is no call.
func parse(message []byte) (*Call, error) {
	if len(message) < headerSize {
		return nil, errMalformed
	}
	order, fields, body, err := lengths(message)
	if err != nil || len(message) != headerSize+fields+body {
		return nil, errMalformed
	}
	c := &Call{serial: order.Uint32(message[8:]), noReply: message[2]&1 != 0, order: order, body: message[headerSize+fields:]}
	d := &decoder{data: message[:headerSize+fields], pos: headerSize - 4, order: order}
	d.array(8, func() {
		d.align(8)
		code := d.byte()
		switch signature := d.signature(); {
		case code == fieldInterface && signature == "s":
			c.Interface = d.string()
		case code == fieldMember && signature == "s":
			c.Member = d.string()
		case code == fieldSignature && signature == "g":
			c.signature = d.signature()
		default:
			d.skip(signature, 0)
		}
	})
	if d.err != nil || c.serial == 0 {
		return nil, errMalformed
	}
	if message[1] != methodCall {
		return nil, nil
	}
	return c, nil
}
