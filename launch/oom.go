package launch

import (
	"os"
	"strings"

	"github.com/cocker/cocker/internal/oom"
)

// cleanUpUnit is ExecStopPost= of a unit. What the kernel has killed is told
// first: the cgroup that has counted it goes with the unit.
func cleanUpUnit(name string) error {
	if os.Getenv("SERVICE_RESULT") != "" { // systemd.exec(5): set for ExecStopPost=
		tellKills(name)
	}
	return Cleanup(name)
}

// tellKills says in the journal which processes the kernel has killed because
// memory ran out and, if that was the container's end, in the unit's status text.
func tellKills(name string) {
	leader, idBase := 0, uint32(0)
	if state, err := ReadState(name); err == nil {
		leader, idBase = state.Leader, state.IDBase
	}
	cgroup := ownCgroup()
	report := oom.Read(cgroup, idBase)
	if report == nil {
		return
	}
	if endedBy(report, leader) {
		text := KilledPrefix + report.String()
		say(os.Stderr, "<3>", text)
		_ = Notify("STATUS=" + text)
		return
	}
	if report := oom.News(cgroup, idBase); report != nil { // what tell has not seen
		warn(killedText(name, report))
	}
}

// KilledPrefix begins the status text of a unit that the OOM killer has ended.
const KilledPrefix = "Killed by the kernel: "

// endedBy tells whether the end of the container was that the kernel killed PID 1,
// or the command: init then ends with 128 and the number of the signal.
func endedBy(report *oom.Report, leader int) bool {
	code, status := os.Getenv("EXIT_CODE"), os.Getenv("EXIT_STATUS")
	switch os.Getenv("SERVICE_RESULT") {
	case "oom-kill":
		return true
	case "exit-code":
		return code == "exited" && status == "137"
	case "signal":
		return status == "KILL" && (len(report.Victims) == 0 || report.Killed(leader) || leader == 0)
	}
	return false
}

// ownCgroup is the cgroup of the unit that this process is of. Commands of a unit
// with Delegate= other than the main one run in a subgroup, ".control".
func ownCgroup() string {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok { // cgroups(7): the unified hierarchy
			return strings.TrimSuffix(path, "/.control")
		}
	}
	return ""
}
