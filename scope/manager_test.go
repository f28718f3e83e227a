package scope

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// fake is a systemd that answers each job with result.
type fake struct {
	manager1
	result     string // "": the job never ends
	properties map[string]any
	queued     bool    // the job is still in the queue
	transient  []error // what each StartTransientUnit answers
	calls      []string
}

func (f *fake) job(call string, done chan<- string) (int, error) {
	f.calls = append(f.calls, call)
	if f.result != "" {
		done <- f.result
	}
	return 1, nil
}

func (f *fake) StartUnitContext(_ context.Context, name, mode string, done chan<- string) (int, error) {
	return f.job("start "+name+" "+mode, done)
}

func (f *fake) StopUnitContext(_ context.Context, name, mode string, done chan<- string) (int, error) {
	return f.job("stop "+name+" "+mode, done)
}

func (f *fake) StartTransientUnitContext(_ context.Context, name, mode string, _ []sd.Property, done chan<- string) (int, error) {
	err := f.transient[0]
	f.transient = f.transient[1:]
	if err != nil {
		return 0, err
	}
	return f.job("transient "+name+" "+mode, done)
}

func (f *fake) ResetFailedUnitContext(_ context.Context, name string) error {
	f.calls = append(f.calls, "reset "+name)
	return dbus.Error{Name: "org.freedesktop.systemd1.NoSuchUnit"}
}

func (f *fake) GetAllPropertiesContext(context.Context, string) (map[string]any, error) {
	return f.properties, nil
}

func (f *fake) ListJobsContext(context.Context) ([]sd.JobStatus, error) {
	if f.queued {
		return []sd.JobStatus{{Id: 1}}, nil
	}
	return []sd.JobStatus{{Id: 2}}, nil
}

// A job that ends without a signal is over nevertheless, and one that is still in the
// queue is not.
func TestJobEndsUnheard(t *testing.T) {
	for _, c := range []struct {
		verb, state, result string
		queued, good        bool
	}{
		{verb: "start", state: "active", result: "success", good: true},
		{verb: "start", state: "inactive", result: "success", good: true},
		{verb: "start", state: "failed", result: "exit-code"},
		{verb: "stop", state: "inactive", result: "success", good: true},
		{verb: "stop", state: "failed", result: "timeout", good: true},
		{verb: "stop", state: "active", result: "success"},
		{verb: "start", state: "active", result: "success", queued: true},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &Manager{conn: &fake{queued: c.queued, properties: map[string]any{"ActiveState": c.state, "Result": c.result, "LoadState": "loaded"}}}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				do := map[string]func(context.Context, string) error{"start": m.Start, "stop": m.Stop}[c.verb]
				err := do(ctx, "a.service")
				if (err == nil) != c.good || errors.Is(err, context.DeadlineExceeded) != c.queued {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

func TestStartWaitsForDone(t *testing.T) {
	f := &fake{result: "done"}
	if err := (&Manager{conn: f}).Start(context.Background(), "a.service"); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.calls, ";"); got != "start a.service replace" {
		t.Error(got)
	}
}

func TestFailedJobSaysWhy(t *testing.T) {
	f := &fake{result: "failed", properties: map[string]any{
		"ActiveState": "failed", "SubState": "failed", "Result": "exit-code", "LoadState": "loaded",
		"ExecMainCode": int32(1), "ExecMainStatus": int32(1), "StatusText": "image base:1.0 is unknown"}}
	err := (&Manager{conn: f}).Start(context.Background(), "cocker@a.service")
	want := `start cocker@a.service: failed: failed, result exit-code, exit status 1, image base:1.0 is unknown`
	if err == nil || err.Error() != want {
		t.Errorf("\n got %v\nwant %s", err, want)
	}
	var job *JobError
	if !errors.As(err, &job) || job.Result != "failed" {
		t.Errorf("no JobError: %#v", err)
	}
}

func TestWaitEnds(t *testing.T) {
	lost := make(chan struct{})
	close(lost)
	if err := (&Manager{conn: &fake{}, lost: lost}).Start(context.Background(), "a"); err == nil {
		t.Error("a broken connection is no success")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := (&Manager{conn: &fake{}}).Start(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestTransientReplacesAFailedUnit(t *testing.T) {
	exists := dbus.Error{Name: "org.freedesktop.systemd1.UnitExists", Body: []any{"Unit x was already loaded"}}
	f := &fake{result: "done", transient: []error{exists, nil}}
	if err := (&Manager{conn: f}).StartTransientScope(context.Background(), "x.scope", []int{1}, nil); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.calls, ";"); got != "reset x.scope;transient x.scope fail" {
		t.Error(got)
	}
	f = &fake{transient: []error{exists, exists}}
	if err := (&Manager{conn: f}).StartTransientService(context.Background(), "x.service", nil); !errors.Is(err, ErrExists) {
		t.Errorf("got %v", err)
	}
}

func TestReason(t *testing.T) {
	tests := []struct {
		unit Unit
		want string
	}{
		{Unit{ActiveState: "active", SubState: "running"}, "active (running)"},
		{Unit{ActiveState: "failed", SubState: "failed", Result: "signal", MainCode: cldKilled, MainStatus: int(unix.SIGKILL)},
			"failed, result signal, killed by SIGKILL"},
		{Unit{ActiveState: "inactive", SubState: "dead", LoadState: "masked"}, "inactive (dead), masked"},
	}
	for _, tt := range tests {
		if got := tt.unit.Reason(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
