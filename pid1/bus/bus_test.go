package bus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"regexp"
	"slices"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// property is one of the properties of a unit, as godbus encodes it.
type property struct {
	Name  string
	Value dbus.Variant
}

type program struct {
	Path      string
	Arguments []string
	Ignore    bool
}

type unit struct {
	Name       string
	Properties []property
}

func encode(t testing.TB, order binary.ByteOrder, member string, body ...any) []byte {
	t.Helper()
	m := &dbus.Message{
		Type: dbus.TypeMethodCall,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant("org.freedesktop.systemd1"),
			dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/systemd1")),
			dbus.FieldInterface:   dbus.MakeVariant(Manager),
			dbus.FieldMember:      dbus.MakeVariant(member),
		},
		Body: body,
	}
	if len(body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	var b bytes.Buffer
	if _, err := m.EncodeToWithFDs(&b, order); err != nil {
		t.Fatal(err)
	}
	message := b.Bytes()
	order.PutUint32(message[8:], 7) // the serial, which godbus sets when it sends
	return message
}

// shellCall is what machined of systemd 257 sends for a machinectl shell. The type of a
// descriptor is "h", which godbus has for indices too.
func shellCall(t testing.TB, order binary.ByteOrder) []byte {
	v := func(x any) dbus.Variant { return dbus.MakeVariant(x) }
	return encode(t, order, "StartTransientUnit", "container-shell@3.service", "fail", []property{
		{"Description", v("Shell for User www-data")},
		{"StandardInputFileDescriptor", v(dbus.UnixFDIndex(0))},
		{"StandardOutputFileDescriptor", v(dbus.UnixFDIndex(1))},
		{"StandardErrorFileDescriptor", v(dbus.UnixFDIndex(2))},
		{"SendSIGHUP", v(true)},
		{"SomethingNew", v(map[string][]dbus.Variant{"a": {v(int64(1)), v([]byte("x"))}})},
		{"WorkingDirectory", v("-~")},
		{"User", v("www-data")},
		{"Environment", v([]string{"TERM=linux", "A=b c"})},
		{"ExecStart", v([]program{{"/bin/ls", []string{"ls", "-l", ""}, true}})},
	}, []unit{})
}

func TestParseShell(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		call, err := parse(shellCall(t, order))
		if err != nil || call.Interface != Manager || call.Member != "StartTransientUnit" {
			t.Fatalf("%v: %+v", err, call)
		}
		s, err := ParseShell(call)
		if err != nil {
			t.Fatal(err)
		}
		if s.Unit != "container-shell@3.service" || s.User != "www-data" || s.Path != "/bin/ls" || s.Files != [3]int{0, 1, 2} ||
			!slices.Equal(s.Arguments, []string{"ls", "-l", ""}) || !slices.Equal(s.Environment, []string{"TERM=linux", "A=b c"}) {
			t.Errorf("%+v", s)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	other := encode(t, binary.LittleEndian, "StartTransientUnit", "run-1.service", "fail", []property{}, []unit{})
	call, err := parse(other)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := ParseShell(call); err == nil {
		t.Errorf("another unit: %+v", s)
	}
	for name, want := range map[string]int{"container-getty@12.service": 12, "container-getty@x.service": -1, "container-getty@-1.service": -1, "nginx.service": -1} {
		call, err := parse(encode(t, binary.LittleEndian, "StartUnit", name, "replace"))
		if err != nil {
			t.Fatal(err)
		}
		number, err := ParseGetty(call)
		if err == nil != (want >= 0) || err == nil && number != want {
			t.Errorf("%s: %d, %v", name, number, err)
		}
	}
	whole := shellCall(t, binary.LittleEndian)
	for n := range whole {
		if _, err := parse(whole[:n]); err == nil {
			t.Errorf("the first %d bytes of %d are taken for a message", n, len(whole))
		}
	}
}

func TestSplitSignature(t *testing.T) {
	for signature, want := range map[string]string{"": "", "s": "s", "su": "s", "a(sv)u": "a(sv)", "aasb": "aas", "a{s(iu)}s": "a{s(iu)}", "a": "", "(s": "", ")": ""} {
		if one, _ := splitSignature(signature); one != want {
			t.Errorf("%q: %q, want %q", signature, one, want)
		}
	}
}

// FuzzParse looks for messages that make the parser panic or read what is not there:
// root of a container may send anything.
func FuzzParse(f *testing.F) {
	f.Add(shellCall(f, binary.LittleEndian))
	f.Add(shellCall(f, binary.BigEndian))
	f.Add(encode(f, binary.LittleEndian, "StartUnit", "container-getty@1.service", "replace"))
	f.Add(encode(f, binary.LittleEndian, "Hello"))
	f.Fuzz(func(t *testing.T, message []byte) {
		call, err := parse(message)
		if err != nil || call == nil {
			return
		}
		if s, err := ParseShell(call); err == nil {
			for _, index := range s.Files {
				if index < -1 || index >= maxFiles {
					t.Errorf("descriptor %d", index)
				}
			}
		}
		if number, err := ParseGetty(call); err == nil && number < 0 {
			t.Errorf("terminal %d", number)
		}
	})
}

func connect(t *testing.T) (client int, conn *Conn) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[0]); unix.Close(pair[1]) })
	return pair[0], NewConn(pair[1])
}

func send(t *testing.T, fd int, data string, files ...int) {
	t.Helper()
	if err := unix.Sendmsg(fd, []byte(data), unix.UnixRights(files...), nil, 0); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, fd int) []byte {
	t.Helper()
	buffer := make([]byte, 4096)
	n, err := unix.Read(fd, buffer)
	if err != nil {
		t.Fatal(err)
	}
	return buffer[:n]
}

// The forms in which systemd has authenticated over time, each in one write, and a
// client that sends line by line.
func TestAuthenticate(t *testing.T) {
	tests := []struct {
		name, sent, want string
	}{
		{"systemd 242 and newer", "\x00AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n", `^DATA\r\nOK [0-9a-f]{32}\r\nAGREE_UNIX_FD\r\n$`},
		{"older systemd", "\x00AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n", `^OK [0-9a-f]{32}\r\nAGREE_UNIX_FD\r\n$`},
		{"another mechanism first", "\x00AUTH ANONYMOUS\r\nAUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n", `^REJECTED EXTERNAL\r\nOK [0-9a-f]{32}\r\nAGREE_UNIX_FD\r\n$`},
		{"an unknown word", "\x00NONSENSE\r\nAUTH EXTERNAL 30\r\nBEGIN\r\n", `^ERROR\r\nOK [0-9a-f]{32}\r\n$`},
	}
	for _, tt := range tests {
		client, conn := connect(t)
		send(t, client, tt.sent)
		if err := conn.Authenticate(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := read(t, client); !regexp.MustCompile(tt.want).Match(got) {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
	for _, bad := range []string{"AUTH EXTERNAL\r\n", "\x00" + string(bytes.Repeat([]byte("A"), 3000)), "\x00" + string(bytes.Repeat([]byte("AUTH\r\n"), 100))} {
		client, conn := connect(t)
		send(t, client, bad)
		unix.Shutdown(client, unix.SHUT_WR)
		if err := conn.Authenticate(); err == nil {
			t.Errorf("%.20q is taken", bad)
		}
	}
}

// The answer to Hello comes first and is what sd-bus wants; then the call comes with
// its descriptors, and godbus understands the answers.
func TestConversation(t *testing.T) {
	client, conn := connect(t)
	m := &dbus.Message{Type: dbus.TypeMethodCall, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(driver), dbus.FieldPath: dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/DBus")),
		dbus.FieldInterface: dbus.MakeVariant(driver), dbus.FieldMember: dbus.MakeVariant("Hello"),
	}}
	var b bytes.Buffer
	if err := m.EncodeTo(&b, binary.LittleEndian); err != nil {
		t.Fatal(err)
	}
	hello := b.Bytes()
	binary.LittleEndian.PutUint32(hello[8:], 1)
	send(t, client, string(hello))
	call := shellCall(t, binary.LittleEndian)
	send(t, client, string(call[:100]), 0, 1, 2) // in two parts
	send(t, client, string(call[100:]))
	got, err := conn.Next()
	if err != nil || got.Member != "StartTransientUnit" {
		t.Fatalf("%+v, %v", got, err)
	}
	files := conn.TakeFiles()
	if len(files) != 3 || conn.TakeFiles() != nil {
		t.Errorf("descriptors: %v", files)
	}
	for _, fd := range files {
		unix.Close(fd)
	}
	if err := errors.Join(conn.Fail(got, "org.example.Error", "no such user"), conn.Done(got)); err != nil {
		t.Fatal(err)
	}
	answers := bytes.NewReader(read(t, client))
	for _, want := range []struct {
		kind   dbus.Type
		serial uint32
		body   any
	}{{dbus.TypeMethodReply, 1, ":1.1"}, {dbus.TypeError, 7, "no such user"}, {dbus.TypeMethodReply, 7, dbus.ObjectPath("/org/freedesktop/systemd1/job/1")}} {
		m, err := dbus.DecodeMessage(answers)
		if err != nil {
			t.Fatal(err)
		}
		if m.Type != want.kind || m.Headers[dbus.FieldReplySerial].Value() != want.serial || len(m.Body) != 1 || m.Body[0] != want.body {
			t.Errorf("%+v, want %+v", m, want)
		}
	}
	unix.Shutdown(client, unix.SHUT_WR)
	if _, err := conn.Next(); err != io.EOF {
		t.Errorf("the end: %v", err)
	}
}
