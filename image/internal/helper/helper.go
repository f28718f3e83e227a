// Package helper is for tests: it makes a test binary do one thing in a process of its
// own instead of running its tests, which can be killed, starved or measured. Nothing
// but tests imports it, and it imports nothing of cocker.
package helper

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// variable names the store of a helper; a process that has it is one.
const variable = "COCKER_TEST_HELPER_STORE"

// Main is what a package's TestMain does: run, with a store's directory and the words of
// Command, or the tests.
func Main(m *testing.M, run func(store string, words []string) error) {
	store := os.Getenv(variable)
	if store == "" {
		os.Exit(m.Run())
	}
	if err := run(store, os.Args[1:]); err != nil {
		_, _ = io.WriteString(os.Stderr, err.Error()+"\n")
		os.Exit(1)
	}
	os.Exit(0)
}

// Command is a helper, below another program if there is a wrapper.
func Command(t testing.TB, store string, words []string, wrapper ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := append(append(wrapper, self), words...)
	if _, err := exec.LookPath(argv[0]); err != nil {
		t.Skipf("needs %s: %v", argv[0], err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), variable+"="+store)
	return cmd
}

// Injected is a helper of whose calls strace(1) makes some others: inject is what stands
// behind the call in its --inject=.
func Injected(t testing.TB, store string, words []string, call, inject string) *exec.Cmd {
	t.Helper()
	cmd := Command(t, store, words, "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace="+call, "-e", "inject="+call+":"+inject)
	// strace counts for each thread: without the runtime's preemption and with
	// one processor all calls are of the main one.
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1", "GOGC=off")
	return cmd
}

// EveryStep kills a helper at the first of its calls, at the second, and so on, until kill
// says that it has made fewer. Where that is hardly ever, strace cannot do it.
func EveryStep(t *testing.T, least int, calls []string, kill func(call string, step int) bool) {
	t.Helper()
	killed := 0
	for _, call := range calls {
		for step := 1; kill(call, step); step++ {
			killed++
		}
	}
	if killed < least {
		t.Skipf("killed at %d steps only: strace cannot inject signals here", killed)
	}
	t.Logf("killed at %d steps", killed)
}

// Calls are those between which an image comes into the store.
func Calls() []string {
	return []string{"flock", "mkdirat", "syncfs", "fsync", "renameat", "unlinkat"}
}

// PrintPeakMemory prints the most memory that this process has had, in kB: not the
// resource usage of wait4(2), which has the parent's, from before the exec.
func PrintPeakMemory() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	_, err = io.WriteString(os.Stdout, strings.Fields(peak)[0])
	return err
}
