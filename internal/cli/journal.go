package cli

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/cocker/cocker/scope"
	"github.com/cocker/cocker/units"
)

// journalLines is how much of the journal an error quotes.
const journalLines = "6"

// withJournal adds to an error of a job the last lines that the processes of its
// unit have logged since it began: the reason is there more often than in the
// unit's state.
func withJournal(err error, began time.Time) error {
	var job *scope.JobError
	if !errors.As(err, &job) {
		return err
	}
	if name, ok := units.ContainerOf(job.Unit); ok {
		if lines := journalTail(units.Pull(name), began, "--priority=warning"); lines != "" {
			return errors.Join(err, errors.New(lines)) // its images were not pulled
		}
	}
	if job.State.StatusText != "" {
		return err // the launcher has told systemd the reason, and so the error has it
	}
	lines := journalTail(job.Unit, began)
	if lines == "" {
		return errors.Join(err, errors.New(`see "systemctl status `+job.Unit+`"`))
	}
	return errors.Join(err, errors.New(lines))
}

// journalTail is the end of what a unit's processes logged. An error gives "":
// the journal is only a help here.
func journalTail(unit string, since time.Time, options ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	syncJournal(ctx)
	options = append(options, "--lines="+journalLines, fmt.Sprintf("--since=@%d.%06d", since.Unix(), since.Nanosecond()/1000),
		"--output=cat", "--quiet", "--no-pager", "_SYSTEMD_UNIT="+unit, "+", "_UID=0", "OBJECT_SYSTEMD_UNIT="+unit)
	out, err := exec.CommandContext(ctx, "journalctl", options...).Output()
	if err != nil {
		return ""
	}
	var b strings.Builder
	for line := range strings.Lines(string(out)) {
		b.WriteString("  " + oneLine(strings.TrimRight(line, "\n")) + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// syncJournal waits until what was logged just now is in a file. journald does that when
// it has nothing else to do (vl_method_synchronize of systemd 252 and 257: a low priority),
// which is never as long as somebody logs without end.
func syncJournal(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_ = exec.CommandContext(ctx, "journalctl", "--sync").Run()
}
