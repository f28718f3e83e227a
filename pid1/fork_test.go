package pid1

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/seccomp"
)

// whatItIs prints what a process has got from the one that has started it.
const whatItIs = `grep -v '^\(Pid\|PPid\|Tgid\|Ngid\|NS.*\|Vm.*\|Rss.*\|Hugetlb.*\|.*ctxt.*\|Threads\|Name\|State\|THP.*\|SigQ\|Mems.*\|FDSize\):' /proc/self/status; ls -l /proc/self/fd | sed 's/.*[0-9] \([0-9]* ->\)/\1/; /proc/d; s/[0-9]*]//'
	cat /proc/self/limits; ulimit -n; pwd; umask; set -- $(cat /proc/self/stat); [ $6 = $$ ] && [ $5 = $$ ] && echo leads a session; echo $7; env; echo "$0"; readlink /proc/self/ns/*`

// A program that is started again and again is what syscall.ForkExec makes of it, down to its
// limits, its signals and its descriptors.
func TestRepeatedIsAsForkExec(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: init sets the groups of what it starts")
	}
	if err := unix.CloseRange(3, maxDescriptor, unix.CLOSE_RANGE_CLOEXEC); err != nil { // as Run does
		t.Fatal(err)
	}
	keepLimit()
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 4096, Max: 4096}); err != nil {
		t.Fatal(err)
	}
	// Descriptors in each other's way.
	for _, id := range []*identity{{groups: []uint32{}}, {uid: 1234, gid: 4321, groups: []uint32{7, 8, 99}}} {
		words, environment := []string{"name", "-c", whatItIs}, []string{"PATH=/usr/bin:/bin", "A=b c"}
		r, err := newRepeated("/bin/sh", words, environment, id)
		if err != nil {
			t.Fatal(err)
		}
		want := outputOf(t, func(stdout int) (int, error) {
			return syscall.ForkExec("/bin/sh", words, &syscall.ProcAttr{
				Env:   environment,
				Files: []uintptr{0, uintptr(stdout), uintptr(stdout), 2, 1, 0},
				Sys:   &syscall.SysProcAttr{Setsid: true, Credential: id.credential()},
			})
		})
		got := outputOf(t, func(stdout int) (int, error) { return r.start([]int{0, stdout, stdout, 2, 1, 0}) })
		if got != want || !strings.Contains(got, "leads a session") {
			t.Errorf("uid %d:\n%s\nForkExec:\n%s", id.uid, got, want)
		}
	}
}

func outputOf(t *testing.T, start func(stdout int) (int, error)) string {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	pid, err := start(int(writer.Fd()))
	_ = writer.Close()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRepeatedTellsWhyNot(t *testing.T) {
	for path, want := range map[string]error{"/no/such/program": unix.ENOENT, "/etc/passwd": unix.EACCES, "/dev": unix.EACCES} {
		r, err := newRepeated(path, []string{"x"}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if pid, err := r.start([]int{-1, -1, 2}); err != want {
			t.Errorf("%s: %d, %v, want %v", path, pid, err, want)
		}
		if _, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != unix.ECHILD {
			t.Errorf("%s: a child is left: %v", path, err)
		}
	}
	if _, err := newRepeated("/bin/\x00sh", nil, nil, nil); err == nil {
		t.Error("a NUL in the path: no error")
	}
}

// What is confined has the filter and the bounding set of the plan, whoever it runs as, and
// none of what installing takes.
func TestConfinement(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: who has no CAP_SYS_ADMIN cannot install a filter")
	}
	const kept = 1<<unix.CAP_KILL | 1<<unix.CAP_SETGID
	profile := seccomp.Bytes(append([]unix.SockFilter{ // mkdir(2) and mkdirat(2) are refused, nothing else
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: unix.SYS_MKDIRAT},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: 83},
	}, []unix.SockFilter{{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOTNAM)}, {Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW}}...))
	const script = `grep -E '^(Cap(Prm|Eff|Bnd|Inh|Amb)|Seccomp|NoNewPrivs):' /proc/self/status | tr -d '\n\t '; mkdir "$DIR/x" 2>&1 | grep -o 'named type'`
	for _, c := range []struct {
		name string
		plan handoff.Plan
	}{
		{"a filter", handoff.Plan{Capabilities: kept, Filter: profile}},
		{"none", handoff.Plan{Capabilities: kept, Unfiltered: true}},
	} {
		for _, uid := range []uint32{0, 1234} {
			within, err := newConfinement(&c.plan)
			if err != nil {
				t.Fatal(err)
			}
			within.drop = ^uint64(kept) & (1<<(unix.CAP_LAST_CAP+1) - 1) // the test has them all
			command := command{path: "/bin/sh", arguments: []string{"sh", "-c", script}, environment: []string{"PATH=/usr/bin:/bin", "DIR=" + t.TempDir()},
				identity: &identity{uid: uid, gid: uid, groups: []uint32{}}, within: within}
			got := outputOf(t, func(stdout int) (int, error) { return command.start(false, []int{0, stdout, 2}, -1) })
			permitted := "0000000000000060"
			if uid != 0 {
				permitted = "0000000000000000"
			}
			want := "CapInh:0000000000000000CapPrm:" + permitted + "CapEff:" + permitted + "CapBnd:0000000000000060CapAmb:0000000000000000"
			if c.plan.Unfiltered {
				want += "NoNewPrivs:0Seccomp:0"
			} else {
				want += "NoNewPrivs:0Seccomp:2named type"
			}
			if strings.TrimSpace(got) != want {
				t.Errorf("%s, uid %d:\n%s\nwant\n%s", c.name, uid, got, want)
			}
		}
	}
	forgotten := command{path: "/bin/true", arguments: []string{"true"}, identity: new(identity)}
	if _, err := forgotten.start(false, []int{0, 1, 2}, -1); !errors.Is(err, errUnconfined) {
		t.Errorf("a command without a confinement: %v", err)
	}
	if err := forgotten.becomeUser(); !errors.Is(err, errUnconfined) {
		t.Errorf("a command without a confinement: %v", err)
	}
}

// becomes is the environment variable that makes TestBecome the process that becomes a command
// of the user whose number it has.
const becomes = "COCKER_TEST_BECOME"

// A process that becomes the command, as PID 1 with init = "none" and the shells of logins do,
// is as confined as one that is started.
func TestBecome(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: who has no CAP_SYS_ADMIN cannot install a filter")
	}
	if number, err := strconv.Atoi(os.Getenv(becomes)); err == nil {
		runtime.LockOSThread()
		plan := &handoff.Plan{Capabilities: 1<<unix.CAP_KILL | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID}
		c := &command{path: "/bin/grep", arguments: []string{"grep", "-E", "^(Uid|Cap.*|Seccomp|NoNewPrivs):", "/proc/self/status"},
			identity: &identity{uid: uint32(number), gid: uint32(number)}}
		if err := errors.Join(c.confine(plan), limitCapabilities(ownCapabilities(plan)), c.becomeUser()); err != nil {
			t.Fatal(err)
		}
		t.Fatal(c.replaceInit())
	}
	for number, permitted := range map[string]string{"0": "e0", "1234": "00"} {
		again := exec.Command(os.Args[0], "-test.run=^TestBecome$")
		again.Env = append(os.Environ(), becomes+"="+number)
		out, err := again.CombinedOutput()
		const set = "00000000000000"
		want := "Uid: " + strings.TrimSpace(strings.Repeat(number+" ", 4)) + " CapInh: " + set + "00 CapPrm: " + set + permitted + " CapEff: " + set + permitted +
			" CapBnd: " + set + "e0 CapAmb: " + set + "00 NoNewPrivs: 0 Seccomp: 2"
		if got := strings.Join(strings.Fields(string(out)), " "); err != nil || got != want {
			t.Errorf("%v:\n%s\nwant\n%s", err, got, want)
		}
	}
}

// What a start leaves is what a container has to live with.
func TestRepeatedLeavesNoGarbage(t *testing.T) {
	r, err := newRepeated("/bin/true", []string{"true"}, []string{"PATH=/bin"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	files := []int{-1, -1, 2}
	if each := testing.AllocsPerRun(50, func() {
		pid, err := r.start(files)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
			t.Fatal(err)
		}
	}); each > 0 {
		t.Errorf("%v allocations for each start", each)
	}
}
