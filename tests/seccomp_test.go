package tests

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// installSyscallTools puts the program that makes system calls into the host and into an
// image, for both ABIs of the processor; "setuid" runs as root, whoever calls it.
func installSyscallTools(t *testing.T, h *host.Host) (remove func()) {
	t.Helper()
	for _, architecture := range []string{"amd64", "386"} {
		program := filepath.Join(t.TempDir(), architecture)
		build := exec.Command("go", "build", "-o", program, module+"/tests/syscalltool")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+architecture)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build syscalltool: %v\n%s", err, out)
		}
		content, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		h.WriteFile(t, "/srv/syscalls/"+architecture, string(content), 0o755)
	}
	importTree(t, h, "syscalls:1", "cp -r /srv/syscalls t; cp t/amd64 t/setuid; chmod 4755 t/setuid; chmod 755 t")
	return func() { h.MustRun(t, "rm -rf /srv/syscalls") }
}

// withTools is the end of the file of a container that has the tools.
const withTools = "images = ['demo', 'syscalls:1']\n[network]\nmode = 'none'\n"

// filtered are system calls and how they end in a container that has the default filter, by
// the numbers of asm/unistd_64.h and asm/unistd_32.h. Those with = 0 or an errno that only
// the kernel's own code gives are let through.
var filtered = map[string]map[string]string{
	"amd64": {
		"165": "EPERM", "166": "EPERM", "155": "EPERM", // mount, umount2, pivot_root
		"428": "EPERM", "429": "EPERM", "430": "EPERM", "442": "EPERM", // open_tree, move_mount, fsopen, mount_setattr
		"272:0x10000000": "EPERM", "308": "EPERM", "56:0x10000011": "EPERM", "56:0x20011": "EPERM", // unshare, setns, clone of a user and a mount namespace
		"435": "ENOSYS",                                // clone3
		"250": "EPERM", "248": "EPERM", "249": "EPERM", // keyctl, add_key, request_key
		"425": "EPERM", "426": "EPERM", "427": "EPERM", // io_uring
		"321": "EPERM", "298": "EPERM", "323": "EPERM", // bpf, perf_event_open, userfaultfd
		"41:38:5": "EAFNOSUPPORT", "41:40:1": "EAFNOSUPPORT", "41:0x100000026:5": "EAFNOSUPPORT", // socket: AF_ALG, AF_VSOCK, AF_ALG for the kernel only
		"135:0xffffffff": "= 0", "135:0x40000": "EPERM", // personality: to ask, ADDR_NO_RANDOMIZE
		"246": "EPERM", "320": "EPERM", "175": "EPERM", "313": "EPERM", "176": "EPERM", // kexec, kernel modules
		"169": "EPERM", "167": "EPERM", "164": "EPERM", "227": "EPERM", // reboot, swapon, settimeofday, clock_settime
		"304": "EPERM", "312": "EPERM", "438": "EPERM", "103:10": "EPERM", "153": "EPERM", // open_by_handle_at, kcmp, pidfd_getfd, syslog, vhangup
		"161": "EFAULT", "41:1:1": "= 3", "107": "", // chroot, socket of Unix, geteuid
		"900": "ENOSYS", "600": "ENOSYS", "400": "ENOSYS", // not known
		"0x40000027": "ENOSYS", "0x40000208": "ENOSYS", "0x400000a5": "ENOSYS", // x32: getpid, execve, mount
	},
	"386": {
		"21": "EPERM", "52": "EPERM", "217": "EPERM", // mount, umount2, pivot_root
		"310:0x10000000": "EPERM", "346": "EPERM", "120:0x10000011": "EPERM", "435": "ENOSYS", // unshare, setns, clone, clone3
		"288": "EPERM", "286": "EPERM", "287": "EPERM", "425": "EPERM", "357": "EPERM", "374": "EPERM", // keys, io_uring, bpf, userfaultfd
		"359:38:5": "EAFNOSUPPORT", "359:40:1": "EAFNOSUPPORT", "359:1:1": "= 3", // socket
		"136:0x40000": "EPERM", "25": "EPERM", "166": "EPERM", "88": "EPERM", "900": "ENOSYS", // personality, stime, vm86, reboot
		"61": "EFAULT", "20": "", // chroot, getpid
	},
}

// calls makes system calls in a container and gives how each has ended.
func calls(t *testing.T, h *host.Host, run string, architecture string, numbers map[string]string) map[string]string {
	t.Helper()
	script := run + " /t/" + architecture
	for number := range numbers {
		script += " " + number
	}
	ends := map[string]string{}
	for line := range strings.Lines(h.MustRun(t, script)) {
		number, end, _ := strings.Cut(strings.TrimSpace(line), " ")
		ends[number] = end
	}
	return ends
}

// The default filter, from inside: each ABI, as root and as somebody else, for PID 1 and for a
// session.
func TestSeccompRefuses(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer installSyscallTools(t, h)()
		start(t, h, "sec1", sh("sleep 100000")+withTools)
		start(t, h, "sec2", "security.seccomp = 'none'\n"+sh("sleep 100000")+withTools)
		for architecture, want := range filtered {
			for _, user := range []string{"0", "1000"} {
				got := calls(t, h, "cocker exec -u "+user+" sec1", architecture, want)
				for number, end := range want {
					if got[number] != end && end != "" || end == "" && !strings.HasPrefix(got[number], "= ") {
						t.Errorf("%s %s as %s: %q, want %q", architecture, number, user, got[number], end)
					}
				}
			}
		}
		for _, init := range inits { // the command itself
			got := output(t, h, "sec-"+init, "init = '"+init+"'\ncommand = ['/t/amd64', '165', '435', '0x40000027', '250']\n"+withTools)
			if got != "165 EPERM\n435 ENOSYS\n0x40000027 ENOSYS\n250 EPERM" {
				t.Errorf("init %s: %s", init, got)
			}
		}
		// Without the filter these get to the kernel: keyctl tells the container's own session keyring.
		none := calls(t, h, "cocker exec sec2", "amd64", map[string]string{"250:0:0xfffffffd:0": "", "435": "", "41:38:5": ""})
		if !strings.HasPrefix(none["250:0:0xfffffffd:0"], "= ") || none["435"] != "EINVAL" || none["41:38:5"] == "EPERM" {
			t.Errorf("without a filter: %v", none)
		}
		if keyring := strings.TrimPrefix(h.MustRun(t, "/srv/syscalls/amd64 250:0:0xfffffffd:0"), "250:0:0xfffffffd:0 "); keyring == none["250:0:0xfffffffd:0"] {
			t.Errorf("the container has the host's session keyring %s", keyring)
		}
	})
}

// confinedSign is what /proc/self/status says of what is confined: the filter, and not the
// capability that installing it takes.
const confinedSign = `grep -Eq '^Seccomp:\s*2$' /proc/self/status && [ $(( (0x$(sed -n 's/^CapBnd:\s*//p' /proc/self/status) >> 21) & 1 )) = 0 ] && [ $(( (0x$(sed -n 's/^CapPrm:\s*//p' /proc/self/status) >> 21) & 1 )) = 0 ] && echo is-$((4+2))-confined`

// TestSeccompOfEverythingInside: whichever way a program comes to run in a container, it has
// the filter.
func TestSeccompOfEverythingInside(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const sign = "is-6-confined"
		for _, init := range inits {
			for _, user := range []string{"0", "1000"} {
				if got := output(t, h, "way-"+init+user, "image = 'demo'\ninit = '"+init+"'\nuser = '"+user+"'\n"+sh(confinedSign)+"[network]\nmode = 'none'\n"); got != sign {
					t.Errorf("init %s, user %s: %q", init, user, got)
				}
			}
		}
		h.WriteFile(t, "/srv/way/confined", "#!/bin/sh\n"+confinedSign+"\n", 0o755)
		defer h.MustRun(t, "rm -r /srv/way")
		start(t, h, "way", `image = 'demo'
autologin = 'root'
mount = [{ type = 'bind', source = '/srv/way', target = '/way', read_only = true, idmap = true }]
[network]
mode = 'none'
[process.one]
command = ['/bin/sh', '-c', '/way/confined >/tmp/one; sleep 100000']
user = '1000'
[process.main]
command = ['/bin/sh', '-c', '/way/confined >/tmp/main; sleep 100000']
[health]
command = ['/bin/sh', '-c', '/way/confined >/tmp/health']
`)
		for _, file := range []string{"one", "main", "health"} {
			h.WaitFor(t, eventually, "the word of "+file, `[ "$(cocker exec way cat /tmp/`+file+`)" = `+sign+` ]`)
		}
		for _, command := range []string{"cocker exec way /way/confined", "cocker exec -u 1000 way /way/confined", "echo /way/confined | cocker shell way | grep confined",
			"machinectl shell way /way/confined 2>&1 | tr -d '\\r' | grep confined"} {
			if got := h.MustRun(t, command); got != sign {
				t.Errorf("%s: %q", command, got)
			}
		}
		for _, words := range [][]string{{"cocker", "login", "way"}, {"machinectl", "login", "way"}, {"machinectl", "shell", "way"}} {
			cmd, screen, _ := onTerminal(t, h, words...)
			screen.expect("# ")
			screen.say("/way/confined; exit\n")
			screen.expect(sign)
			if words[1] == "login" && words[0] == "machinectl" {
				escape(screen)
			}
			_ = cmd.Wait()
		}
		if got := h.MustRun(t, `cocker run --rm demo sh -c "$1"`, confinedSign); got != sign {
			t.Errorf("cocker run: %q", got)
		}
	})
}

// Programs that give more than their caller has do so, or do not, as the file says.
func TestNoNewPrivileges(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer installSyscallTools(t, h)()
		for _, init := range inits {
			for _, seccomp := range []string{"default", "none"} {
				for value, want := range map[string]string{"false": "0 0", "true": "1 1000"} {
					file := "init = '" + init + "'\nuser = '1000'\nsecurity.no_new_privileges = " + value + "\nsecurity.seccomp = '" + seccomp + "'\n" +
						sh("set -- $(grep NoNewPrivs /proc/self/status) $(/t/setuid 107); echo $2 $5") + withTools
					if got := output(t, h, "nnp", file); got != want {
						t.Errorf("init %s, seccomp %s, no_new_privileges %s: %q, want %q", init, seccomp, value, got, want)
					}
				}
			}
		}
		start(t, h, "nnp2", "security.no_new_privileges = true\n"+sh("sleep 100000")+withTools)
		if got := h.MustRun(t, "cocker exec -u 1000 nnp2 sh -c 'grep NoNewPrivs /proc/self/status; /t/setuid 107'"); strings.Join(strings.Fields(got), " ") != "NoNewPrivs: 1 107 = 1000" {
			t.Errorf("a session: %q", got)
		}
		if got := h.MustRun(t, "cocker run --rm --no-new-privileges --seccomp none demo grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status"); strings.Join(strings.Fields(got), " ") != "NoNewPrivs: 1 Seccomp: 0" {
			t.Errorf("cocker run: %q", got)
		}
		var shown struct {
			Security struct {
				Seccomp         string
				NoNewPrivileges bool `json:"no_new_privileges"`
			}
		}
		if err := json.Unmarshal([]byte(h.MustRun(t, "cocker inspect --json nnp2")), &shown); err != nil || shown.Security.Seccomp != "default" || !shown.Security.NoNewPrivileges {
			t.Errorf("cocker inspect: %+v, %v", shown, err)
		}
	})
}

// A profile of the administrator's is what counts, however narrow: cocker's own processes
// in the container do not have it.
func TestSeccompProfile(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer installSyscallTools(t, h)()
		defer h.MustRun(t, "rm -rf /srv/profiles")
		profile := func(name, text string) string {
			h.WriteFile(t, "/srv/profiles/"+name, text, 0o644)
			return "security.seccomp = '/srv/profiles/" + name + "'\n"
		}
		some := profile("some.json", `{
	"defaultAction": "SCMP_ACT_ALLOW",
	"archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"] }],
	"syscalls": [
		{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 118 },
		{ "names": ["umask"], "action": "SCMP_ACT_ERRNO", "errno": "ENOTNAM", "args": [{ "index": 0, "value": 7, "op": "SCMP_CMP_EQ" }] },
		{ "names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 120, "excludes": { "caps": ["CAP_SYS_ADMIN"] } },
		{ "names": ["setdomainname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 120, "includes": { "caps": ["CAP_SYS_ADMIN"] } },
		{ "names": ["getsid"], "action": "SCMP_ACT_KILL_PROCESS" }
	]
}`)
		start(t, h, "prof1", some+sh("sleep 100000")+withTools)
		got := calls(t, h, "cocker exec prof1", "amd64", map[string]string{"83": "", "95:7": "", "95:18": "", "170": "", "171": ""})
		if got["83"] != "ENOTNAM" || got["95:7"] != "ENOTNAM" || !strings.HasPrefix(got["95:18"], "= ") || got["170"] != "120" && got["170"] != "EISNAM" || got["171"] == "EISNAM" {
			t.Errorf("64 bits: %v", got)
		}
		if got := calls(t, h, "cocker exec prof1", "386", map[string]string{"39": "", "60:7": "", "60:18": ""}); got["39"] != "ENOTNAM" || got["60:7"] != "ENOTNAM" || !strings.HasPrefix(got["60:18"], "= ") {
			t.Errorf("32 bits: %v", got)
		}
		if r := h.Run(t, "cocker exec prof1 /t/amd64 124"); r.ExitCode != 128+31 {
			t.Errorf("a system call that kills: %+v", r)
		}
		// What a static program needs, and neither clone nor a socket: init, health checks and sessions go on.
		narrow := profile("narrow.json", `{ "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [{ "action": "SCMP_ACT_ALLOW", "names": [
			"execve", "exit", "exit_group", "read", "write", "close", "fstat", "newfstatat", "stat", "lseek", "mmap", "mprotect", "munmap", "brk", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
			"nanosleep", "clock_nanosleep", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64", "getrandom", "readlink", "readlinkat", "ioctl", "getuid", "openat", "prctl", "writev", "futex" ] }] }`)
		start(t, h, "prof2", "image = 'demo'\n"+narrow+"command = ['/bin/sleep', '100000']\n[network]\nmode = 'none'\n[health]\ncommand = ['/bin/sleep', '0']\n")
		h.MustRun(t, "cocker exec prof2 /bin/sleep 0; cocker exec -u 1000 prof2 /bin/sleep 0; ! cocker exec prof2 /bin/sh -c 'sleep 0; sleep 0' 2>/dev/null")
		// The packaged one is the default.
		start(t, h, "prof3", "security.seccomp = '/usr/share/cocker/seccomp.json'\n"+sh("sleep 100000")+withTools)
		for number, end := range calls(t, h, "cocker exec prof3", "amd64", filtered["amd64"]) {
			if want := filtered["amd64"][number]; want != "" && end != want {
				t.Errorf("/usr/share/cocker/seccomp.json: %s: %q, want %q", number, end, want)
			}
		}
		for name, wrong := range map[string]struct{ text, reason string }{
			"syntax":  {"{\n\"defaultAction\": \"SCMP_ACT_ERRNO\",\n}", "/srv/profiles/syntax:3: no JSON: "},
			"action":  {"{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"syscalls\": [\n{\"names\": [\"read\"], \"action\": \"ALLOW\"}]}", `/srv/profiles/action:2: syscalls[0]: action is "ALLOW"; it must be one of SCMP_ACT_ALLOW`},
			"key":     {"{\"defaultAction\": \"SCMP_ACT_ERRNO\",\n\"syscall\": []}", `/srv/profiles/key:2: unknown key "syscall"`},
			"notify":  {`{"defaultAction": "SCMP_ACT_NOTIFY"}`, "needs a process that answers"},
			"nothing": {"{}", `/srv/profiles/nothing: it has no defaultAction`},
		} {
			refused(t, h, "bad-"+name, "image = 'demo'\n"+profile(name, wrong.text)+sh("true"), wrong.reason)
			if r := h.Run(t, "cocker check"); r.ExitCode == 0 || !strings.Contains(r.Stderr, wrong.reason) {
				t.Errorf("cocker check: %+v", r)
			}
			h.MustRun(t, "rm /etc/cocker/containers/bad-"+name+".toml")
		}
		refused(t, h, "bad-missing", "image = 'demo'\nsecurity.seccomp = '/srv/profiles/nosuch'\n"+sh("true"), "/srv/profiles/nosuch: no such file")
	})
}

// A Debian of many processes works as before: dpkg and apt, which has users of its own and
// a temporary root, and what systemd does for its services in a container that boots.
func TestSeccompLeavesDebianWorking(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.ImportMachine(t, "debian:13")
		start(t, h, "deb", "image = 'debian:13'\ncommand = ['/bin/sleep', 'infinity']\n[network]\nmode = 'none'\n")
		h.MustRun(t, `cocker exec deb bash -ec "$1"`, `
			dpkg --audit; dpkg -l >/dev/null; apt-get check -qq; apt-cache policy bash >/dev/null
			mkdir -p /tmp/p/DEBIAN /tmp/p/etc; printf 'Package: tweet\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n' >/tmp/p/DEBIAN/control
			printf '#!/bin/sh\nuseradd --system tweet\nchown tweet /etc/tweet\n' >/tmp/p/DEBIAN/postinst; chmod 755 /tmp/p/DEBIAN/postinst
			echo x >/tmp/p/etc/tweet; dpkg-deb -b /tmp/p /tmp/tweet.deb >/dev/null; apt-get install -qq -y /tmp/tweet.deb >/dev/null
			[ "$(stat -c %U /etc/tweet)" = tweet ]; su -s /bin/sh tweet -c 'id -un' | grep -qx tweet; dpkg -P tweet >/dev/null`)
		start(t, h, "booted", booting)
		isRunning(t, h, "booted")
		const sign = `grep -Eq '^Seccomp:\s*2$' /proc/self/status && echo filtered`
		for _, command := range []string{`cocker exec booted sh -c "$1"`, `systemd-run -M booted --pipe --wait -q sh -c "$1"`,
			`systemd-run -M booted --pipe --wait -q -p PrivateTmp=yes -p ProtectSystem=strict -p PrivateDevices=yes -p ProtectHome=yes -p DynamicUser=yes sh -c "$1"`,
			`machinectl shell booted /bin/sh -c "$1" 2>&1 | tr -d '\r' | grep -o filtered`} {
			if got := h.MustRun(t, command, sign); got != "filtered" {
				t.Errorf("%s: %q", command, got)
			}
		}
		if got := h.MustRun(t, `awk '/^Seccomp:/ { print $2 }' /proc/"$1"/status`, mainPID(t, h, "booted")); got != "2" {
			t.Errorf("systemd of the image: Seccomp: %s", got)
		}
		h.MustRun(t, `! cocker exec booted perl -e 'exit(syscall(250, 0, -3, 0) == -1 && $!{EPERM} ? 1 : 0)' && ! cocker exec booted perl -e 'exit(syscall(425, 1, 0) == -1 && $!{EPERM} ? 1 : 0)'`)
	})
}
