package seccomp_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/seccomp"
	"github.com/cocker/cocker/internal/seccomp/compile"
)

// TestGeneratedTables makes the tables anew.
func TestGeneratedTables(t *testing.T) {
	if out, err := exec.Command("go", "run", "./gen", "-n").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// call is struct seccomp_data (linux/seccomp.h).
type call struct {
	number, architecture uint32
	_                    uint64 // where the call was made
	arguments            [6]uint64
}

// interpret does what the kernel does with a filter (bpf(4) of FreeBSD; the kernel's
// Documentation/networking/filter.rst), and counts the instructions.
func interpret(t *testing.T, filter []unix.SockFilter, c call) (result uint32, steps int) {
	t.Helper()
	var data bytes.Buffer
	_ = binary.Write(&data, binary.LittleEndian, c)
	var a uint32
	for pc := 0; pc < len(filter); pc++ {
		steps++
		i := filter[pc]
		jump := func(yes bool) {
			if yes {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		}
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = binary.LittleEndian.Uint32(data.Bytes()[i.K:])
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(i.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(a == i.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(a >= i.K)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			jump(a > i.K)
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= i.K
		case unix.BPF_RET | unix.BPF_K:
			return i.K, steps
		default:
			t.Fatalf("instruction %d has the code %#x", pc, i.Code)
		}
	}
	t.Fatal("the filter has no end")
	return 0, steps
}

// policy is default.json, read as a person reads it: rule after rule.
type policy struct {
	DefaultAction   string
	DefaultErrnoRet uint32
	Syscalls        []struct {
		Names    []string
		Action   string
		ErrnoRet uint32
		Args     []struct {
			Index           int
			Value, ValueTwo uint64
			Op              string
		}
		Includes, Excludes struct{ Caps []string }
	}
}

func readPolicy(t *testing.T) *policy {
	t.Helper()
	text, err := os.ReadFile("default.json")
	if err != nil {
		t.Fatal(err)
	}
	p := new(policy)
	if err := json.Unmarshal(text, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func result(action string, errno uint32) uint32 {
	if action == "SCMP_ACT_ALLOW" {
		return unix.SECCOMP_RET_ALLOW
	}
	return unix.SECCOMP_RET_ERRNO | errno
}

func (p *policy) expect(name string, arguments [6]uint64, has func(string) bool) uint32 {
rules:
	for _, rule := range p.Syscalls {
		if !slices.Contains(rule.Names, name) || slices.ContainsFunc(rule.Excludes.Caps, has) {
			continue
		}
		for _, capability := range rule.Includes.Caps {
			if !has(capability) {
				continue rules
			}
		}
		for _, a := range rule.Args {
			value := arguments[a.Index]
			if a.Op == "SCMP_CMP_EQ" && value != a.Value || a.Op == "SCMP_CMP_MASKED_EQ" && value&a.Value != a.ValueTwo {
				continue rules
			}
		}
		return result(rule.Action, rule.ErrnoRet)
	}
	return result(p.DefaultAction, p.DefaultErrnoRet)
}

// systemCalls are the numbers of an architecture, as golang.org/x/sys has them of the kernel's.
func systemCalls(t *testing.T, goarch string) map[uint32]string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "unix", "zsysnum_linux_"+goarch+".go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[uint32]string{}
	for _, m := range regexp.MustCompile(`SYS_(\w+)\s+= (\d+)`).FindAllStringSubmatch(string(text), -1) {
		number, _ := strconv.ParseUint(m[2], 10, 32)
		if m[1] != "SYSCALL_MASK" && m[1] != "ARCH_SPECIFIC_SYSCALL" {
			names[uint32(number)] = strings.ToLower(m[1])
		}
	}
	return names
}

// dockers are the capabilities that Docker gives to all containers, and machines what one
// that boots has besides (systemd-nspawn(1)).
var (
	dockers  = []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"}
	machines = append(slices.Clone(dockers), "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_PTRACE", "CAP_SYS_TTY_CONFIG")
	numbers  = map[string]uint{
		"CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_DAC_READ_SEARCH": 2, "CAP_FOWNER": 3, "CAP_FSETID": 4, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_SETPCAP": 8,
		"CAP_NET_BIND_SERVICE": 10, "CAP_NET_RAW": 13, "CAP_SYS_MODULE": 16, "CAP_SYS_RAWIO": 17, "CAP_SYS_CHROOT": 18, "CAP_SYS_PTRACE": 19, "CAP_SYS_PACCT": 20,
		"CAP_SYS_ADMIN": 21, "CAP_SYS_BOOT": 22, "CAP_SYS_NICE": 23, "CAP_SYS_TIME": 25, "CAP_SYS_TTY_CONFIG": 26, "CAP_SETFCAP": 31, "CAP_SYSLOG": 34, "CAP_PERFMON": 38, "CAP_BPF": 39,
	}
)

// TestFilterIsThePolicy runs the compiled tables for every number of all ABIs, and compares
// with the policy in its readable form.
func TestFilterIsThePolicy(t *testing.T) {
	const i386, x86, arm64, arm = 0x40000003, 0xc000003e, 0xc00000b7, 0x40000028 // AUDIT_ARCH_* of linux/audit.h
	p := readPolicy(t)
	text, _ := os.ReadFile("default.json")
	interesting := []uint64{0, 1, 2, 3, 8, 10, 12, 15, 16, 17, 38, 40, 0x11, 0x20000, 0x20008, 0x40000, 0x10000000, 0x7e020000, 0x3d0f00, 0xffffffff, 1 << 32, 1<<32 | 38, 1<<32 | 2, ^uint64(0)}
	sets := map[string][]string{"none": nil, "container": dockers, "machine": machines}
	for name := range numbers {
		sets[name] = []string{name}
	}
	for _, abi := range []struct {
		machine, goarch string
		audit           uint32
	}{{"amd64", "amd64", x86}, {"amd64", "386", i386}, {"arm64", "arm64", arm64}, {"arm64", "arm", arm}} {
		names := systemCalls(t, abi.goarch)
		program, _, err := compile.Profile("default.json", text, compile.Machine{Architecture: abi.machine})
		if err != nil {
			t.Fatal(err)
		}
		most := 0
		for set, capabilities := range sets {
			var mask uint64
			for _, c := range capabilities {
				mask |= 1 << numbers[c]
			}
			filter := program.For(mask)
			if abi.machine == runtime.GOARCH && !slices.Equal(filter, seccomp.Default(mask)) {
				t.Fatal("what is compiled in is another filter")
			}
			has := func(c string) bool { return slices.Contains(capabilities, c) }
			for number := range uint32(1000) {
				for _, argument := range interesting {
					c := call{number: number, architecture: abi.audit, arguments: [6]uint64{argument}}
					got, steps := interpret(t, filter, c)
					if want := p.expect(names[number], c.arguments, has); got != want {
						t.Errorf("%s %s(%#x), number %d, with %s: %#x, and the policy has %#x", abi.goarch, names[number], argument, number, set, got, want)
					}
					if got == unix.SECCOMP_RET_ALLOW {
						most = max(most, steps)
					}
				}
			}
			for _, number := range []uint32{0x40000000, 0x40000000 + 1, 0x40000000 + 59, 0x40000000 + 520, 0xffffffff} {
				if got, _ := interpret(t, filter, call{number: number, architecture: abi.audit}); got != result("", uint32(unix.ENOSYS)) {
					t.Errorf("%s number %#x: %#x, not ENOSYS", abi.goarch, number, got)
				}
			}
			if got, _ := interpret(t, filter, call{number: 1, architecture: 0xc0000016}); got != unix.SECCOMP_RET_KILL_PROCESS {
				t.Errorf("%s: an ABI that is not the processor's: %#x", abi.goarch, got)
			}
		}
		t.Logf("%s: %d instructions, of which a call that is allowed runs at most %d", abi.goarch, len(program.Instructions), most)
	}
}

// TestEverySystemCallIsDecidedOn: what golang.org/x/sys knows and default.json does not name
// is as if the kernel had it not, and that has to be meant so.
func TestEverySystemCallIsDecidedOn(t *testing.T) {
	meant := strings.Fields("afs_syscall break ftime getpmsg gtty idle lock mpx prof profil putpmsg security stty tuxcall ulimit vserver " + // not implemented, unimplemented(2)
		"get_kernel_syms query_module create_module bdflush " + // gone since Linux 2.6, 5.15
		"pciconfig_iobase pciconfig_read pciconfig_write " + // of the host's hardware
		"open_tree_attr") // new, Linux 6.15
	p := readPolicy(t)
	named := map[string]bool{}
	for _, rule := range p.Syscalls {
		for _, name := range rule.Names {
			named[name] = true
		}
	}
	for _, goarch := range []string{"amd64", "386", "arm64", "arm"} {
		for _, name := range systemCalls(t, goarch) {
			if named[name] == slices.Contains(meant, name) {
				t.Errorf("%s of %s: decide whether default.json is to name it", name, goarch)
			}
		}
	}
}

// installed is the environment variable that makes TestKernelTakesIt the process with the filter.
const installed = "COCKER_TEST_FILTER"

// TestKernelTakesIt puts the filter on a process and makes some system calls that do nothing
// if they are let through.
func TestKernelTakesIt(t *testing.T) {
	if os.Getenv(installed) == "" {
		command := exec.Command(os.Args[0], "-test.run=^TestKernelTakesIt$", "-test.v")
		command.Env = append(os.Environ(), installed+"=1")
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	runtime.LockOSThread()
	filter := seccomp.Default(0)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); errno != 0 {
		t.Fatal(errno)
	}
	for _, c := range []struct {
		name           string
		number, first  uintptr
		second, result unix.Errno
	}{
		{"getppid", unix.SYS_GETPPID, 0, 0, 0},
		{"socket of Unix", unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0},
		{"socket of the kernel's ciphers", unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET, unix.EAFNOSUPPORT},
		{"mount", unix.SYS_MOUNT, 0, 0, unix.EPERM},
		{"keyctl", unix.SYS_KEYCTL, 0, 0, unix.EPERM},
		{"clone3", unix.SYS_CLONE3, 0, 0, unix.ENOSYS},
		{"unshare", unix.SYS_UNSHARE, 0, 0, unix.EPERM},
		{"what is not invented yet", 900, 0, 0, unix.ENOSYS},
	} {
		if _, _, errno := unix.RawSyscall(c.number, c.first, uintptr(c.second), 0); errno != c.result {
			t.Errorf("%s: %v, not %v", c.name, errno, c.result)
		}
	}
}

func TestBytes(t *testing.T) {
	filter := seccomp.Default(0)
	again, err := seccomp.Parse(string(seccomp.Bytes(filter)))
	if err != nil || !slices.Equal(filter, again) {
		t.Errorf("not the same: %v", err)
	}
	for _, text := range []string{"", "1234567", strings.Repeat("12345678", seccomp.MaxInstructions+1)} {
		if _, err := seccomp.Parse(text); err == nil {
			t.Errorf("%d bytes are a filter", len(text))
		}
	}
}
