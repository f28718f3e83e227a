package compile

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// run does what the kernel does with a filter; arguments are those of the system call.
func run(t *testing.T, text string, machine Machine, capabilities uint64, audit, number uint32, arguments ...uint64) uint32 {
	t.Helper()
	p, _, err := Profile("p.json", []byte(text), machine)
	if err != nil {
		t.Fatal(err)
	}
	data := binary.LittleEndian.AppendUint32(nil, number)
	data = binary.LittleEndian.AppendUint32(data, audit)
	data = binary.LittleEndian.AppendUint64(data, 0)
	for i := range 6 {
		value := uint64(0)
		if i < len(arguments) {
			value = arguments[i]
		}
		data = binary.LittleEndian.AppendUint64(data, value)
	}
	var a uint32
	filter := p.For(capabilities)
	for pc := 0; pc < len(filter); pc++ {
		i := filter[pc]
		yes := false
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = binary.LittleEndian.Uint32(data[i.K:])
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= i.K
			continue
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(i.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			yes = a == i.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			yes = a >= i.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			yes = a > i.K
		default:
			t.Fatalf("code %#x", i.Code)
		}
		if yes {
			pc += int(i.Jt)
		} else {
			pc += int(i.Jf)
		}
	}
	t.Fatal("no end")
	return 0
}

var amd64 = Machine{Architecture: "amd64", Kernel: "6.12.3-cloud-amd64"}

const (
	allow  = unix.SECCOMP_RET_ALLOW
	eperm  = unix.SECCOMP_RET_ERRNO | 1
	enosys = unix.SECCOMP_RET_ERRNO | 38
	kill   = unix.SECCOMP_RET_KILL_PROCESS
	read   = 0 // of x86-64
	umask  = 95
	landro = 444 // landlock_create_ruleset
	newest = 467 // open_tree_attr
)

func rules(text string) string {
	return `{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"syscalls":[` + text + `]}`
}

// Every comparison, at every edge of 64 bits, as libseccomp's seccomp_rule_add(3) has them.
func TestComparisons(t *testing.T) {
	values := []uint64{0, 1, 2, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<63 - 1, 1 << 63, ^uint64(0)}
	for op, true2 := range map[string]func(have, value uint64) bool{
		"NE": func(a, b uint64) bool { return a != b }, "EQ": func(a, b uint64) bool { return a == b },
		"LT": func(a, b uint64) bool { return a < b }, "LE": func(a, b uint64) bool { return a <= b },
		"GT": func(a, b uint64) bool { return a > b }, "GE": func(a, b uint64) bool { return a >= b },
		"MASKED_EQ": func(a, b uint64) bool { return a&b == 1<<32&b },
	} {
		for _, value := range values {
			text := rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW","args":[{"index":5,"value":` + decimal(value) + `,"valueTwo":4294967296,"op":"SCMP_CMP_` + op + `"}]}`)
			for _, have := range values {
				want := uint32(eperm)
				if true2(have, value) {
					want = allow
				}
				if got := run(t, text, amd64, 0, unix.AUDIT_ARCH_X86_64, umask, 0, 0, 0, 0, 0, have); got != want {
					t.Errorf("%#x %s %#x: %#x", have, op, value, got)
				}
			}
		}
	}
}

func decimal(n uint64) string {
	var digits []byte
	for {
		digits = append([]byte{byte('0' + n%10)}, digits...)
		if n /= 10; n == 0 {
			return string(digits)
		}
	}
}

func TestRules(t *testing.T) {
	const sysAdmin = 1 << unix.CAP_SYS_ADMIN
	two := `"args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":1,"value":2,"op":"SCMP_CMP_EQ"}]`
	either := `"args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]`
	for _, c := range []struct {
		name, text   string
		capabilities uint64
		audit        uint32
		number       uint32
		arguments    []uint64
		want         uint32
	}{
		{"a name", rules(`{"names":["umask","nosuch"],"action":"SCMP_ACT_ALLOW"}`), 0, unix.AUDIT_ARCH_X86_64, umask, nil, allow},
		{"another", rules(`{"name":"read","action":"SCMP_ACT_ALLOW"}`), 0, unix.AUDIT_ARCH_X86_64, read, nil, allow},
		{"the default", rules(`{"names":["landlock_create_ruleset"],"action":"SCMP_ACT_ALLOW"}`), 0, unix.AUDIT_ARCH_X86_64, read, nil, eperm},
		{"newer than the profile", rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW"}`), 0, unix.AUDIT_ARCH_X86_64, landro, nil, enosys},
		{"newer than the tables", rules(`{"names":["open_tree_attr"],"action":"SCMP_ACT_ALLOW"}`), 0, unix.AUDIT_ARCH_X86_64, newest + 1, nil, enosys},
		{"newer, and all is allowed", `{"defaultAction":"SCMP_ACT_ALLOW"}`, 0, unix.AUDIT_ARCH_X86_64, newest + 1, nil, allow},
		{"x32, and all is allowed", `{"defaultAction":"SCMP_ACT_ALLOW"}`, 0, unix.AUDIT_ARCH_X86_64, x32Bit | 1, nil, enosys},
		{"32 bits that are not named", `{"defaultAction":"SCMP_ACT_ALLOW"}`, 0, unix.AUDIT_ARCH_I386, 1, nil, kill},
		{"32 bits", rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW"}`), 0, unix.AUDIT_ARCH_I386, 60, nil, allow},
		{"32 bits, by the map", `{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}]}`, 0, unix.AUDIT_ARCH_I386, 60, nil, allow},
		{"both arguments", rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW",` + two + `}`), 0, unix.AUDIT_ARCH_X86_64, umask, []uint64{1, 2}, allow},
		{"one of both", rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW",` + two + `}`), 0, unix.AUDIT_ARCH_X86_64, umask, []uint64{1, 3}, eperm},
		{"an argument twice", rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW",` + either + `}`), 0, unix.AUDIT_ARCH_X86_64, umask, []uint64{2}, allow},
		{"neither", rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW",` + either + `}`), 0, unix.AUDIT_ARCH_X86_64, umask, []uint64{3}, eperm},
		{"the first that is true", rules(`{"names":["umask"],"action":"SCMP_ACT_LOG"},{"names":["umask"],"action":"SCMP_ACT_ALLOW"}`), 0, unix.AUDIT_ARCH_X86_64, umask, nil, unix.SECCOMP_RET_LOG},
		{"with a capability", rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}}`), sysAdmin, unix.AUDIT_ARCH_X86_64, umask, nil, allow},
		{"without it", rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}}`), ^uint64(sysAdmin), unix.AUDIT_ARCH_X86_64, umask, nil, eperm},
		{"one of two", rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN","CAP_BPF"]}}`), sysAdmin, unix.AUDIT_ARCH_X86_64, umask, nil, eperm},
		{"excluded", rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_BPF","CAP_SYS_ADMIN"]}}`), sysAdmin, unix.AUDIT_ARCH_X86_64, umask, nil, eperm},
		{"not excluded", rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_BPF","CAP_SYS_ADMIN"]}}`), 0, unix.AUDIT_ARCH_X86_64, umask, nil, allow},
		{"of another machine", rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm64"]}}`), 0, unix.AUDIT_ARCH_X86_64, umask, nil, enosys},
		{"of this one", rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["amd64"]}}`), 0, unix.AUDIT_ARCH_X86_64, umask, nil, allow},
		{"not of this one", rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW","excludes":{"arches":["amd64"]}}`), 0, unix.AUDIT_ARCH_X86_64, umask, nil, enosys},
		{"an old kernel", rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}}`), 0, unix.AUDIT_ARCH_X86_64, umask, nil, allow},
		{"a new one", rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.13"}}`), 0, unix.AUDIT_ARCH_X86_64, umask, nil, enosys},
		{"errno", rules(`{"names":["umask"],"action":"SCMP_ACT_ERRNO","errno":"EACCES"}`), 0, unix.AUDIT_ARCH_X86_64, umask, nil, unix.SECCOMP_RET_ERRNO | 13},
		{"errnoRet", rules(`{"names":["umask"],"action":"SCMP_ACT_TRACE","errnoRet":0}`), 0, unix.AUDIT_ARCH_X86_64, umask, nil, unix.SECCOMP_RET_TRACE},
		{"defaultErrnoRet", `{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":2,"syscalls":[{"names":["setns"],"action":"SCMP_ACT_KILL"}]}`, 0, unix.AUDIT_ARCH_X86_64, umask, nil, unix.SECCOMP_RET_ERRNO | 2},
	} {
		if got := run(t, c.text, amd64, c.capabilities, c.audit, c.number, c.arguments...); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
	}
}

func TestWrongProfiles(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "p.json:1: no JSON: it ends before",
		"{\n\"a\"\n}":          "p.json:3: no JSON: invalid character '}'",
		"{\n\n\"syscall\":[]}": `p.json:3: unknown key "syscall"`,
		rules("\n{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\",\"include\":{}}"):                                         `p.json:2: unknown key "include"`,
		rules("\n{\"names\":\"read\",\"action\":\"SCMP_ACT_ALLOW\"}"):                                                          "p.json:2: syscalls.names cannot be a string",
		rules("\n{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\"},\n{\"names\":[\"read\"]}"):                               `p.json:3: syscalls[1]: action is ""; it must be one of SCMP_ACT_ALLOW, `,
		rules("\n{\"action\":\"SCMP_ACT_ALLOW\"}"):                                                                             "p.json:2: syscalls[0]: it has no names",
		rules(`{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":4096}`):                                                  "there is no error number 4096",
		rules(`{"names":["read"],"action":"SCMP_ACT_ERRNO","errno":"EWHAT"}`):                                                  `no error is called "EWHAT"`,
		rules(`{"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["SYS_ADMIN"]}}`):                                `no capability is called "SYS_ADMIN"; they are written as CAP_SYS_ADMIN`,
		rules(`{"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"six"}}`):                                   `minKernel is "six"`,
		rules(`{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}`):                          "there is no argument 6",
		rules(`{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"op":"=="}]}`):                                   `op is "=="`,
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]}`:                        "needs a process that answers",
		`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}`: "both architectures and archMap",
		`{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_WAIT"]}`:                                              `unknown flag "SECCOMP_FILTER_FLAG_WAIT"`,
		`{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}`:                                                               "take it out",
		`{"defaultAction":"SCMP_ACT_ALLOW"} {}`:                                                                                "something follows",
		`{}`:                                                                                                                   "p.json: it has no defaultAction",
	} {
		if _, _, err := Profile("p.json", []byte(text), amd64); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
	if _, _, err := Profile("p.json", []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`), Machine{Architecture: "s390x"}); err == nil {
		t.Error("a machine without a table: no error")
	}
	p, flags, err := Profile("p.json", []byte(`{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"]}`), amd64)
	if err != nil || flags != unix.SECCOMP_FILTER_FLAG_LOG || len(p.Instructions) == 0 {
		t.Errorf("flags %d, %v", flags, err)
	}
}

// FuzzProfile: whatever the text, the result is a program that the kernel would take: jumps go
// forward and inside, and it ends.
func FuzzProfile(f *testing.F) {
	text, err := os.ReadFile("../default.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text), uint64(0))
	f.Add(rules(`{"names":["umask"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]}`), uint64(1))
	f.Fuzz(func(t *testing.T, text string, capabilities uint64) {
		p, _, err := Profile("p.json", []byte(text), amd64)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "p.json:") {
				t.Errorf("an error without the file: %v", err)
			}
			return
		}
		filter := p.For(capabilities)
		for at, i := range filter {
			left := uint64(len(filter) - at - 1)
			if i.Code == unix.BPF_JMP|unix.BPF_JA && uint64(i.K) >= left || i.Code&7 == unix.BPF_JMP && uint64(max(i.Jt, i.Jf)) >= left {
				t.Fatalf("instruction %d of %d jumps out: %+v", at, len(filter), i)
			}
		}
		if last := filter[len(filter)-1]; last.Code != unix.BPF_RET|unix.BPF_K {
			t.Errorf("the last is %+v", last)
		}
	})
}
