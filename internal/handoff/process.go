package handoff

import "time"

// Process is one of several that a container consists of.
type Process struct {
	Name         string
	Main         bool // its end is the container's
	Command      []string
	Environment  []string // "NAME=VALUE", in addition to Plan.Environment
	User         string
	WorkDir      string
	After        []string // the names of those that must be ready before it is started
	Ready        Ready
	Restart      Restart
	RestartDelay time.Duration // before the first restart; doubled for each that follows
	DelayMax     time.Duration // what it is doubled up to, and how long a run is a success
	RestartLimit int           // restarts in a row; 0: any number
	StopSignal   int
	StopTimeout  time.Duration // until SIGKILL
	Journal      bool          // it has a stream to the journal; false: its output is init's own
}

// Ready is when a process is ready.
type Ready string

// The values of Process.Ready.
const (
	ReadyExec   Ready = "exec"
	ReadyNotify Ready = "notify"
	ReadyExit   Ready = "exit"
)

// Restart is after which end a process is started again.
type Restart string

// The values of Process.Restart.
const (
	RestartNo        Restart = "no"
	RestartOnFailure Restart = "on-failure"
	RestartAlways    Restart = "always"
)

// The descriptors of each process, from FirstProcessFD on.
const (
	ProcessCgroup  = iota // the directory of its cgroup
	ProcessJournal        // its stream to the journal; only with Process.Journal
	ProcessFDs            // how many there are
)

// ProcessFD is a descriptor of the process at an index of Plan.Processes.
func ProcessFD(index, which int) int { return FirstProcessFD + index*ProcessFDs + which }

// ProcessNotify is the path in the container of the notification socket of a process.
func ProcessNotify(name string) string { return NotifySocket + "-" + name }

// What is asked for on the socket of the processes, in one packet: a verb, and but for
// ProcessList a space and the name of a process. The answer is one packet, too.
const (
	ProcessList    = "list"
	ProcessStart   = "start"
	ProcessStop    = "stop"
	ProcessRestart = "restart"
)

// MaxProcessPacket bounds both.
const MaxProcessPacket = 128 << 10

// ProcessReply is the answer, in JSON.
type ProcessReply struct {
	Error     string          `json:"error,omitempty"`
	Processes []ProcessStatus `json:"processes,omitempty"` // in the order of their start
}

// ProcessStatus is what init knows of a process.
type ProcessStatus struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	PID      int    `json:"pid"`   // as the container numbers it; 0: it does not run
	Since    int64  `json:"since"` // of the state: Unix time, microseconds
	Restarts int    `json:"restarts"`
	Result   string `json:"result"` // how it ended last; "": it has not
}
