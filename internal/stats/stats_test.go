package stats

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// tree writes files below a new directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func number(n uint64) *uint64    { return &n }
func percent(p float64) *float64 { return &p }

// The files are of Linux 6.12 and as Documentation/admin-guide/cgroup-v2.rst has them.
func TestUsage(t *testing.T) {
	const psi = "some avg10=%s avg60=0.00 avg300=0.00 total=1\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=1\n"
	root := tree(t, map[string]string{
		"machine.slice/memory.max":             "max\n",
		"machine.slice/c.service/memory.max":   "max\n",
		"machine.slice/c.service/cpu.stat":     "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n",
		"machine.slice/c.service/cpu.pressure": strings.ReplaceAll(psi, "%s", "1.25"),

		"machine.slice/c.service/cgroup.controllers":  "cpuset cpu io memory pids\n",
		"machine.slice/c.service/memory.current":      "5000\n",
		"machine.slice/c.service/memory.stat":         "anon 1000\nfile 4000\ninactive_file 3000\nactive_file 1000\n",
		"machine.slice/c.service/memory.swap.current": "77\n",
		"machine.slice/c.service/memory.pressure":     strings.ReplaceAll(psi, "%s", "2.50"),
		"machine.slice/c.service/io.stat":             "254:0 rbytes=10 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n254:16 rbytes=1 wbytes=2 rios=1 wios=1 dbytes=0 dios=0\n",
		"machine.slice/c.service/io.pressure":         strings.ReplaceAll(psi, "%s", "0.00"),
		"machine.slice/c.service/pids.current":        "3\n",
		"machine.slice/c.service/pids.max":            "max\n",
	})
	directory := filepath.Join(root, "machine.slice/c.service")
	want := &Usage{CPU: number(1500), Memory: number(2000), MemoryCurrent: number(5000), Swap: number(77), IORead: number(11), IOWrite: number(22),
		Pids: number(3), CPUPressure: percent(1.25), MemoryPressure: percent(2.5), IOPressure: percent(0)}
	assertUsage(t, root, directory, want)

	// A limit of the slice counts as the container's own, and the least of all.
	for file, limit := range map[string]string{"machine.slice/memory.max": "9000\n", "machine.slice/c.service/memory.max": "8000\n"} {
		if err := os.WriteFile(filepath.Join(root, file), []byte(limit), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want.MemoryMax = number(8000)
	assertUsage(t, root, directory, want)
}

// A host with cgroup v1 has the unified hierarchy without controllers: cpu.stat is there,
// and the rest is unknown, not 0.
func TestUsageWithoutControllers(t *testing.T) {
	root := tree(t, map[string]string{"c.service/cgroup.controllers": "\n", "c.service/cpu.stat": "usage_usec 7\n"})
	assertUsage(t, root, filepath.Join(root, "c.service"), &Usage{CPU: number(7)})
	if _, err := read(root, filepath.Join(root, "gone.service")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a cgroup that is gone: %v", err)
	}
}

func assertUsage(t *testing.T, root, directory string, want *Usage) {
	t.Helper()
	got, err := read(root, directory)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %s, want %s", show(got), show(want))
	}
}

func show(u *Usage) string {
	text, _ := json.Marshal(u)
	return string(text)
}

func TestNetDev(t *testing.T) {
	const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:   99      1    0    0    0     0          0         0       99       1    0    0    0     0       0          0
  eth0:12345678901       5    0    0    0     0          0         0      600       6    0    0    0     0       0          0
 a%[31mb: 1 5 0 0 0 0 0 0 2 6 0 0 0 0 0 0
`
	got, err := parseNetDev(text)
	if want := (Traffic{12345678902, 602}); err != nil || *got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"eth0: 1 2 3\n", "eth0: x 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0\n"} {
		if _, err := parseNetDev(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

// What the container sees is the other direction than the host's end does.
func TestOfLinks(t *testing.T) {
	root := tree(t, map[string]string{
		"ck-a/statistics/rx_bytes": "10\n", "ck-a/statistics/tx_bytes": "200\n",
		"ck-b/statistics/rx_bytes": "1\n", "ck-b/statistics/tx_bytes": "2\n",
	})
	got, err := ofLinks(root, []string{"ck-a", "ck-b"})
	if want := (Traffic{Received: 202, Sent: 11}); err != nil || *got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if _, err := ofLinks(root, []string{"ck-gone"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link that is gone: %v", err)
	}
}

// A process decides on its name: it may look like the rest of the line.
func TestHostileStat(t *testing.T) {
	const rest = " S 1 1 1 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 4711 1 1\n"
	for _, name := range []string{"sh", "a) R 9 9 9", "(", ")", "((x", "\n\x1b[2J", ""} {
		var p Process
		got, ok := p.parseStat("12 (" + name + ")" + rest)
		if !ok || got != name || p.CPU.Milliseconds() != 2000 || p.Start != 4711 {
			t.Errorf("%q: %q, %v, %+v", name, got, ok, p)
		}
	}
	for _, bad := range []string{"", "12 sh S", "12 )sh( S", "12 (sh) S 1"} {
		if _, ok := new(Process).parseStat(bad); ok {
			t.Errorf("%q is read", bad)
		}
	}
}

func FuzzStat(f *testing.F) {
	f.Add("12 (sh) S 1 1 1 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 4711 1 1\n", "Name:\tsh\nUid:\t1\t2\t3\t4\nVmRSS:\t 10 kB\nNSpid:\t7\t1\n", "eth0: 1 0 0 0 0 0 0 0 1\n")
	f.Fuzz(func(_ *testing.T, stat, status, dev string) {
		_, _ = new(Process).parseStat(stat)
		new(Process).parseStatus(status)
		_, _ = parseNetDev(dev)
	})
}

func TestStatus(t *testing.T) {
	var p Process
	if !p.parseStatus("Name:\tx\nUid:\t1000\t65536\t0\t0\nVmRSS:\t    12 kB\nNSpid:\t4711\t5\t1\n") || p.UID != 65536 || p.PID != 5 || p.Memory != 12<<10 {
		t.Errorf("%+v", p)
	}
	if new(Process).parseStatus("Name:\tx\nUid:\t0\t0\t0\t0\nNSpid:\t4711\n") {
		t.Error("a process of the host itself is taken for the container's")
	}
}

// The command line of a real process, and the name of one that has none.
func TestCommand(t *testing.T) {
	cmd := exec.Command("sh", "-c", "echo; read end", "two words")
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = in.Close(), cmd.Wait() }()
	// Start comes back in the midst of execve(2), when there is no command line yet.
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if got := command(fmt.Sprintf("/proc/%d", cmd.Process.Pid), "n"); got != "sh -c echo; read end two words" {
		t.Errorf("got %q", got)
	}
	if got := command(t.TempDir(), "n"); got != "[n]" {
		t.Errorf("without a command line: %q", got)
	}
}
