// Package handoff is what cocker-launch tells cocker-init, and how: one
// descriptor, a plan in one direction, reports in the other. Both programs must
// come from the same build. It imports nothing of cocker.
package handoff

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// The descriptors that cocker-init starts with, beside 0, 1 and 2.
const (
	ChannelFD = 3 // the stream socket to the launcher
	NotifyFD  = 4 // a datagram socket connected to systemd's notification socket; only with Plan.Announce
	ControlFD = 5 // the socket that listens for sessions; only with Plan.Sessions
	RescueFD  = 6 // the host's busybox, for sessions without a shell; only with Plan.Rescue
	CgroupFD  = 7 // the container's cgroup, for those that machined asks for; only with Plan.Sessions

	CredentialsFD = 8 // the directory of Credentials, on a mount that can be written; only with Plan.Credentials

	KillsFD = 9 // a pipe: what is written says that the kernel has killed a process for want of memory; only with Plan.Kills

	// Only with Plan.Processes: the socket that listens for what "cocker process" and
	// "cocker ps" ask, and ProcessFDs for each process, in the order of the plan.
	ProcessesFD    = 10
	FirstProcessFD = 11
)

// Paths inside the launcher's stage, the root that cocker-init starts in.
const (
	StageRoot = "/root"        // the container's root file system
	StageInit = "/cocker-init" // this build's cocker-init, read-only
)

// NotifySocket is the path in the container of the socket for sd_notify(3), as
// the container interface of systemd names it.
const NotifySocket = "/run/host/notify"

// Credentials is the path in the container of the directory of its credentials, as
// systemd-nspawn has it. An init of systemd's finds it by its environment variable.
const (
	Credentials         = "/run/host/credentials"
	CredentialsVariable = "CREDENTIALS_DIRECTORY"
)

// Where machined looks for a container's system bus: by the old name of /run, which
// init makes a link where an image has none.
const (
	BusSocket    = "/run/dbus/system_bus_socket"
	OldRun       = "/var/run"
	OldBusSocket = OldRun + "/dbus/system_bus_socket"
)

// Plan is all that cocker-init needs to know of its container. It is sent once.
type Plan struct {
	Hostname     string
	Command      []string // what runs; empty only with Boot: the image's init, wherever it is
	Environment  []string // "NAME=VALUE"
	User         string   // "", "name", "id", "name:group", ...
	WorkDir      string
	StopSignal   int    // what a stop request is for the command
	Capabilities uint64 // the bounding set, bit n is capability n

	NoNewPrivileges bool   // no execve(2) gives more than there was: setuid programs are as any other
	Unfiltered      bool   // nothing filters system calls
	Filter          []byte `json:",omitempty"` // in place of the default filter, as package seccomp has it
	FilterFlags     uint32 // those of seccomp(2)

	Exec          bool // the command replaces init: it is PID 1 itself
	Boot          bool // with Exec: it is an init that boots the container like a machine
	Foreground    bool // a caller waits: SIGINT is the command's, and the caller's death is the container's
	Terminal      bool // standard input is a terminal that shall control the command
	OwnNetwork    bool // the network namespace is the container's own
	HasSys        bool // /sys is there already: the network namespace is not the container's own
	Shared        bool // host name, System V IPC and message queues are a pod's, and /dev/mqueue is there already
	ForwardNotify bool // init passes on what the command sends to NotifySocket
	Sessions      bool // init takes requests for sessions
	Credentials   bool // there are some, for the user of the command
	Rescue        bool // there is a shell for images without one
	Kills         bool // somebody wants to know of processes that the kernel has killed

	OwnUsers   bool     // the user namespace is the container's own
	Privileged bool     // nothing of the kernel's files is hidden or read-only
	Sysctls    []string // "NAME=VALUE"
	AppArmor   string   // the profile of the container's programs; "": none of its own
	SELinux    string   // their label; "": none of its own

	Autologin string // the user who is logged in without being asked; "": everybody is asked

	// Processes are all that run, with the command as the one that is Main, in the
	// order of their start; none: there is only the command.
	Processes []Process
	Health    *Health // nil: nobody asks how the container is

	// Announce is what init, as the unit's main process by then, tells systemd
	// when the command runs; "": there is no unit that waits for it.
	Announce string
}

// The reports of cocker-init, in the order they come.
const (
	assembled = "assembled" // the root file system is complete
	started   = "started"   // the command runs
	failed    = "failed "   // followed by the reason
	proceed   = "proceed"   // the launcher's answer: network and registration are done
)

// ErrGone is returned when the other side has ended without a word.
var ErrGone = errors.New("ended without a report")

// Launcher is the launcher's end of the channel.
type Launcher struct {
	file   *os.File
	reader *bufio.Reader
}

// maxReports bounds what the launcher reads: init is in the container's hands.
const maxReports = 64 << 10

// NewLauncher returns the launcher's end on file.
func NewLauncher(file *os.File) *Launcher {
	return &Launcher{file: file, reader: bufio.NewReader(io.LimitReader(file, maxReports))}
}

// SendPlan sends the plan; it must come first.
func (l *Launcher) SendPlan(plan *Plan) error {
	if err := json.NewEncoder(l.file).Encode(plan); err != nil {
		return fmt.Errorf("send plan to init: %w", err)
	}
	return nil
}

// WaitAssembled waits until init has made the root file system the container's.
func (l *Launcher) WaitAssembled() error { return l.wait(assembled) }

// Proceed lets init start the command and waits until it runs. With
// Plan.Exec the end of the channel is the success: execve(2) closed it.
func (l *Launcher) Proceed(plan *Plan) error {
	if _, err := fmt.Fprintln(l.file, proceed); err != nil {
		return fmt.Errorf("tell init to proceed: %w", err)
	}
	err := l.wait(started)
	if plan.Exec && errors.Is(err, ErrGone) {
		return nil
	}
	return err
}

// Close closes the channel; an init that has failed ends then.
func (l *Launcher) Close() error { return l.file.Close() }

func (l *Launcher) wait(want string) error {
	line, err := l.reader.ReadString('\n')
	line = strings.TrimSuffix(line, "\n")
	switch {
	case line == want:
		return nil
	case strings.HasPrefix(line, failed):
		return errors.New(unfold(strings.TrimPrefix(line, failed)))
	case errors.Is(err, io.EOF) || err == nil:
		return fmt.Errorf("cocker-init %w", ErrGone)
	}
	return fmt.Errorf("read from cocker-init: %w", err)
}

// Init is cocker-init's end of the channel.
type Init struct {
	file   *os.File
	reader *bufio.Reader
}

// NewInit returns init's end on file.
func NewInit(file *os.File) *Init {
	return &Init{file: file, reader: bufio.NewReader(file)}
}

// ReceivePlan reads the plan.
func (i *Init) ReceivePlan() (*Plan, error) { return receivePlan(i.reader) }

// ReadPlan reads a plan that was kept.
func ReadPlan(r io.Reader) (*Plan, error) { return receivePlan(bufio.NewReader(r)) }

func receivePlan(reader *bufio.Reader) (*Plan, error) {
	line, err := reader.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	plan := new(Plan)
	if err := json.Unmarshal(line, plan); err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	return plan, nil
}

// Assembled reports that the root file system is complete.
func (i *Init) Assembled() error { return i.say(assembled) }

// WaitProceed waits for the launcher's word to go on. An error means that the
// launcher has ended.
func (i *Init) WaitProceed() error {
	line, err := i.reader.ReadString('\n')
	if strings.TrimSpace(line) != proceed {
		return fmt.Errorf("wait for the launcher: %w", errors.Join(ErrGone, err))
	}
	return nil
}

// Started reports that the command runs.
func (i *Init) Started() error { return i.say(started) }

// Failed reports why the container cannot start, and waits until the launcher
// has told the user: with this process the unit ends, and the launcher with it.
func (i *Init) Failed(reason error) error {
	if err := i.say(failed + fold(reason.Error())); err != nil {
		return err
	}
	_, _ = i.reader.ReadByte() // ends when the launcher closes its end
	return nil
}

func (i *Init) say(line string) error {
	_, err := fmt.Fprintln(i.file, line)
	return err
}

// Close closes the channel.
func (i *Init) Close() error { return i.file.Close() }

// A report is one line; the newlines of a joined error travel as a control
// character that no message has.
func fold(s string) string   { return strings.ReplaceAll(s, "\n", "\x1e") }
func unfold(s string) string { return strings.ReplaceAll(s, "\x1e", "\n") }
