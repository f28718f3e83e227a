// Package session is what a client on the host and cocker-init tell each other when
// a command is to run in a container that is running already: one socket of type
// SOCK_SEQPACKET for each session, on which the client sends a request with its
// descriptors, and gets reports. What comes from the container is not to be trusted.
// It imports nothing of cocker.
package session

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Request is the command that a client asks for. It travels as a file in memory, so
// that its length is bounded by what execve(2) takes and init need not read it.
type Request struct {
	Command     []string // empty: the user's login shell, or
	Login       bool     // a login: the container asks who the user is
	Environment []string // "NAME=VALUE", in addition to the container's
	User        string   // "", "name", "id", "name:group", ...; "": the user of the container's command
	WorkDir     string   // "": that of the container's command or, for a login shell, the home directory
	Terminal    bool     // the command gets a terminal of the container's; its other end is sent to the client
	Rows        uint16   // of the terminal
	Columns     uint16
}

// The descriptors that come with a request, in this order.
const (
	FileRequest    = iota // the Request
	FileStdin             // the command's, if it gets no terminal
	FileStdout            //
	FileStderr            //
	FileCgroup            // directory of the session's cgroup
	FileCgroupKill        // its cgroup.kill, for writing
	Files                 // how many there are
)

// About is what a session that machined has asked for tells of itself, in the attribute of
// its cgroup that is named so. It comes from the container.
type About struct {
	User     string
	Since    time.Time
	Login    bool
	Command  []string // none: a login shell, or a login
	Terminal bool
}

// What a session's cgroup is called, with a number behind it, and the attributes that say
// what it is: one is the host's to write, the other the container's (xattr(7)).
const (
	CgroupPrefix       = "session-"
	HostAttribute      = "trusted.cocker.session"
	ContainerAttribute = "user.cocker.session"
)

// Reports to the client. All but Terminal and Running are the last one.
const (
	Running  = 'R' // the command is about to be executed
	Terminal = 'T' // comes with the terminal's other end
	Failed   = 'F' // an exit status and the reason: the command was not started
	Ended    = 'E' // the wait status of the command (wait(2)), 4 bytes
)

// signalPacket is what a client sends after its request: a signal for the command.
const signalPacket = 'S'

const (
	maxReport  = 4096    // bytes of a report
	maxRequest = 8 << 20 // bytes of a request; execve(2) takes 6 MiB at most (ARG_MAX, three quarters of 8 MiB)
)

// Exit statuses of a command that was not started, as of chroot(1) and env(1).
const (
	StatusFailed        = 125 // for another reason
	StatusNotExecutable = 126
	StatusNotFound      = 127
)

// Save writes a request to a file in memory.
func (r *Request) Save() (*os.File, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write session request: %w", err)
	}
	if len(data) > maxRequest {
		return nil, errors.New("command and environment are too long")
	}
	fd, err := unix.MemfdCreate("session", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "session")
	if _, err := file.Write(data); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// Load reads a request from its file.
func Load(file *os.File) (*Request, error) {
	data, err := io.ReadAll(io.NewSectionReader(file, 0, maxRequest))
	if err != nil {
		return nil, fmt.Errorf("read session request: %w", err)
	}
	r := new(Request)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read session request: %w", err)
	}
	return r, nil
}

// Report is what the client is told.
type Report struct {
	Kind   byte
	File   *os.File        // of Terminal
	Status int             // of Failed
	Reason string          // of Failed
	Wait   unix.WaitStatus // of Ended
}

// send never waits: a client that does not read must not keep init.
func send(fd int, packet, control []byte) error {
	return os.NewSyscallError("sendmsg", unix.Sendmsg(fd, packet, control, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT))
}

// SendRunning tells the client that the command is about to be executed.
func SendRunning(fd int) error { return send(fd, []byte{Running}, nil) }

// SendTerminal gives the client the other end of the command's terminal.
func SendTerminal(fd, master int) error {
	return send(fd, []byte{Terminal}, unix.UnixRights(master))
}

// SendFailed tells the client why the command was not started.
func SendFailed(fd, status int, reason error) error {
	text := reason.Error()
	return send(fd, append([]byte{Failed, byte(status)}, text[:min(len(text), maxReport-2)]...), nil)
}

// SendEnded tells the client how the command ended.
func SendEnded(fd int, status uint32) error {
	return send(fd, binary.LittleEndian.AppendUint32([]byte{Ended}, status), nil)
}

// SendSignal asks init to send the command a signal.
func SendSignal(fd int, signal unix.Signal) error {
	return send(fd, []byte{signalPacket, byte(signal)}, nil)
}

// ParseSignal reads what a client sends after its request; 0 is nothing to send.
func ParseSignal(packet []byte) unix.Signal {
	if len(packet) != 2 || packet[0] != signalPacket || packet[1] > 64 {
		return 0
	}
	return unix.Signal(packet[1])
}

// SendRequest begins a session. The descriptors are those that the constants File...
// name.
func SendRequest(fd int, files [Files]int) error {
	return os.NewSyscallError("sendmsg", unix.Sendmsg(fd, []byte{0}, unix.UnixRights(files[:]...), nil, unix.MSG_NOSIGNAL))
}

// ReceiveReport waits for the next report; io.EOF says that the other side is gone.
func ReceiveReport(fd int) (*Report, error) {
	packet, files, err := Receive(fd, maxReport, 1)
	if err != nil {
		return nil, err
	}
	r, err := parseReport(packet)
	if err != nil || r.Kind != Terminal || len(files) != 1 {
		CloseAll(files)
		if err == nil && r.Kind == Terminal {
			err = errors.New("the container's init sent no terminal")
		}
		return r, err
	}
	r.File = os.NewFile(uintptr(files[0]), "terminal")
	return r, checkTerminal(r.File)
}

func parseReport(packet []byte) (*Report, error) {
	if len(packet) == 0 {
		return nil, io.EOF
	}
	r := &Report{Kind: packet[0]}
	switch {
	case r.Kind == Running || r.Kind == Terminal:
	case r.Kind == Failed && len(packet) >= 2:
		r.Status, r.Reason = int(packet[1]), string(packet[2:])
	case r.Kind == Ended && len(packet) == 5:
		r.Wait = unix.WaitStatus(binary.LittleEndian.Uint32(packet[1:]))
	default:
		return nil, errors.New("the container's init gave no answer that makes sense")
	}
	return r, nil
}

// checkTerminal makes sure that what a container gave as a terminal is the master of
// one: what is typed goes there, and reading it must not be able to hurt.
func checkTerminal(file *os.File) error {
	var stat unix.Stat_t
	err := unix.Fstat(int(file.Fd()), &stat)
	const multiplexer = 5<<8 | 2 // /dev/ptmx: devices.txt of the kernel
	if err == nil && (stat.Mode&unix.S_IFMT != unix.S_IFCHR || stat.Rdev != multiplexer) {
		err = errors.New("it is none")
	}
	if err == nil {
		_, err = unix.IoctlGetInt(int(file.Fd()), unix.TIOCGPTN)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("the terminal that the container's init sent: %w", err), file.Close())
	}
	return nil
}

// Receive waits for a packet of up to size bytes, with up to so many descriptors, and
// gives all that came; an empty packet is the end.
func Receive(fd, size, descriptors int) (packet []byte, files []int, err error) {
	packet = make([]byte, size)
	control := make([]byte, unix.CmsgSpace(4*descriptors))
	var n, controlLength, flags int
	for {
		n, controlLength, flags, _, err = unix.Recvmsg(fd, packet, control, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, nil, os.NewSyscallError("recvmsg", err)
	}
	files = descriptorsOf(control[:controlLength])
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		CloseAll(files)
		return nil, nil, errors.New("received more than was expected")
	}
	return packet[:n], files, nil
}

func descriptorsOf(control []byte) (files []int) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for i := range messages {
		if more, err := unix.ParseUnixRights(&messages[i]); err == nil {
			files = append(files, more...)
		}
	}
	return files
}

// CloseAll closes descriptors.
func CloseAll(files []int) {
	for _, fd := range files {
		_ = unix.Close(fd)
	}
}
