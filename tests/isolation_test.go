package tests

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// field is the value in a line "KEY VALUE" or "KEY: VALUE".
func field(text, key string) string {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.TrimSuffix(fields[0], ":") == key {
			return strings.Join(fields[1:], " ")
		}
	}
	return ""
}

func TestNamespaces(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const kinds = "user pid mnt net uts ipc cgroup"
		const show = `for n in ` + kinds + `; do echo $n $(readlink /proc/self/ns/$n); done`
		ofHost := h.MustRun(t, strings.ReplaceAll(show, "self", "1"))
		for _, init := range inits {
			for mode, shared := range map[string]string{"bridge": "", "none": "", "host": "net"} {
				got := output(t, h, "ns-"+init+"-"+mode, "image = 'demo'\ninit = '"+init+"'\n"+sh(show)+"[network]\nmode = '"+mode+"'\n")
				for _, kind := range strings.Fields(kinds) {
					same := field(got, kind) == field(ofHost, kind)
					if same != (kind == shared) || field(got, kind) == "" {
						t.Errorf("init %s, mode %s: %s namespace %q, the host's is %q", init, mode, kind, field(got, kind), field(ofHost, kind))
					}
				}
			}
		}
	})
}

func TestIDRange(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		bases := map[string]bool{}
		for _, name := range []string{"ids-a", "ids-b"} {
			got := output(t, h, name, "image = 'demo'\n"+sh("echo u $(cat /proc/self/uid_map); echo g $(cat /proc/self/gid_map)"))
			uids := strings.Fields(field(got, "u"))
			if len(uids) != 3 || uids[0] != "0" || uids[2] != "65536" || field(got, "u") != field(got, "g") {
				t.Fatalf("id maps: %q", got)
			}
			base, err := strconv.ParseUint(uids[1], 10, 32)
			if err != nil || base < 1<<16 || base%(1<<16) != 0 {
				t.Errorf("%s: base %q", name, uids[1])
			}
			bases[uids[1]] = true
			if again := runAgain(t, h, name); !strings.Contains(again.output, uids[1]) {
				t.Errorf("%s: base %s at first, then %q", name, uids[1], again.output)
			}
		}
		if len(bases) != 2 {
			t.Errorf("two containers share a range: %v", bases)
		}
	})
}

// dockerCapabilities is Docker's default set: moby/profiles caps/defaults.go.
const dockerCapabilities = 0xa80425fb

func TestCapabilities(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		for _, init := range inits {
			for _, user := range []string{"0", "1000"} {
				got := output(t, h, "caps-"+init+"-"+user, "image = 'demo'\ninit = '"+init+"'\nuser = '"+user+"'\n"+sh("grep Cap /proc/self/status; grep Cap /proc/1/status | sed s/Cap/One/"))
				for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "OneInh", "OnePrm", "OneEff", "OneBnd", "OneAmb"} {
					value, err := strconv.ParseUint(field(got, set), 16, 64)
					if err != nil {
						t.Fatal(err)
					}
					var allowed uint64 = dockerCapabilities
					if init == "cocker" && strings.HasPrefix(set, "One") {
						allowed |= 1 << 21 // to install filters takes CAP_SYS_ADMIN, see TestSeccompOfEverythingInside
					}
					empty := strings.HasSuffix(set, "Inh") || strings.HasSuffix(set, "Amb")
					if empty || user != "0" && (set == "CapPrm" || set == "CapEff") {
						allowed = 0
					}
					if value&^allowed != 0 {
						t.Errorf("init %s, user %s: %s is %#x; %#x is too much", init, user, set, value, value&^allowed)
					}
				}
			}
		}
	})
}

// A device file of an image is made by the host's root; it must be dead.
func TestDevices(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTree(t, h, "devices:1", "mkdir devices; mknod devices/disk b 8 0; mknod devices/mem c 1 1; mknod devices/null c 1 3; chmod 666 devices/*")
		got := output(t, h, "devices", "images = ['demo', 'devices:1']\n"+sh(`
			for d in disk mem null; do head -c1 /devices/$d >/dev/null 2>/tmp/e && echo opened $d; grep -o 'Permission denied' /tmp/e; done
			mknod /new c 1 3 2>/dev/null && echo made
			mount -o remount,dev / 2>/dev/null && echo remounted
			ls /dev | xargs; stat -c %a:%u:%g /dev/null /dev/tty /dev/pts/ptmx; echo x >/dev/null; head -c2 /dev/zero | wc -c; ls -l /dev/ptmx | grep -o 'pts/ptmx'`))
		want := "Permission denied\nPermission denied\nPermission denied\n" +
			"fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero\n666:0:0\n666:0:0\n666:0:0\n2\npts/ptmx"
		if got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
		start(t, h, "locked", "images = ['devices:1', 'demo']\n")
		if got := inside(t, h, "locked", "mount -o remount,bind,dev / 2>&1; head -c1 /devices/null 2>&1; mount -t tmpfs x /mnt 2>&1 && umount /mnt; :"); strings.Count(got, "denied") < 2 {
			t.Errorf("root of the user namespace with all capabilities: %s", got) // the mounts are locked: mount_namespaces(7)
		}
	})
}

// The mount table of a container shows its own file systems, and no path of the host.
func TestMountTable(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		want := []string{"/ overlay", "/dev tmpfs", "/dev/mqueue mqueue", "/dev/pts devpts", "/dev/shm tmpfs", "/proc proc", "/run tmpfs", "/sys sysfs", "/sys/fs/cgroup cgroup2"}
		for _, init := range inits {
			got := output(t, h, "mounts-"+init, "image = 'demo'\ninit = '"+init+"'\n"+sh("grep -v ' /proc/\\| /sys/firmware \\|powercap \\|thermal_throttle ' /proc/self/mountinfo; cat /proc/*/mountinfo | grep -v '^[0-9]* [0-9]* [0-9:]* / \\| /proc/' | sed 's/^/ELSE /'"))
			var mounts []string
			for line := range strings.Lines(got) {
				fields := strings.Fields(line)
				dash := slices.Index(fields, "-")
				if fields[0] == "ELSE" || dash < 0 {
					t.Errorf("init %s: not the root of a file system: %s", init, line)
					continue
				}
				mounts = append(mounts, fields[4]+" "+fields[dash+1])
				if strings.Contains(line, "/var/lib") || strings.Contains(line, "shared:") {
					t.Errorf("init %s: %s", init, line)
				}
			}
			if slices.Sort(mounts); !slices.Equal(mounts, want) {
				t.Errorf("init %s: got %q, want %q", init, mounts, want)
			}
		}
	})
}

// The kernel's switches are not for a container.
func TestKernelFilesAreReadOnly(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "switches", "image = 'demo'\n")
		for _, file := range []string{"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/kcore", "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/fs/cgroup/cgroup.procs"} {
			if got := inside(t, h, "switches", "sh -c ': >>"+file+"' 2>&1 && echo opened; :"); strings.Contains(got, "opened") {
				t.Errorf("%s can be opened for writing: %s", file, got)
			}
		}
	})
}

// The unit's cgroup belongs to the container's root, for sessions of machined, and is mounted
// read-only. A user namespace inside, in which the root has all capabilities, is no way around, also without the filter that keeps from making one.
func TestCgroupIsOutOfReach(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "reach", "image = 'demo'\nsecurity.seccomp = 'none'\n"+sh("sleep 100000")+"[network]\nmode = 'none'\n")
		h.MustRun(t, `cocker exec reach sh -c "$1"`, `[ "$(cat /proc/sys/user/max_cgroup_namespaces)" = 0 ] || exit 1
			! sh -c 'echo 5 >/proc/sys/user/max_cgroup_namespaces' 2>/dev/null || exit 2
			! mkdir /sys/fs/cgroup/.control 2>/dev/null || exit 3
			unshare -U -r true || exit 4
			! unshare -U -r -m sh -c 'mount -o remount,rw /sys/fs/cgroup || mkdir /sys/fs/cgroup/.control || mount -t cgroup2 none /tmp' 2>/dev/null || exit 5`)
	})
}

func TestNoDescriptorLeaks(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		// Init is undumpable; of what it has, nobody in the container could change the plan, which is sealed, or
		// the host's busybox, which is for sessions where there is no shell. The directory is the container's cgroup, from
		// which no path leads to another. The named pipe, which is open for writing, is there as long as the host counts memory.
		harmless := regexp.MustCompile(`^(\d+ ((socket:|pipe:|anon_inode:|/dev/null)\S*|/run/cocker-oom|/memfd:plan \(deleted\) regular file|/ regular file|/ cgroup2fs alone)\n?)*$`)
		for _, init := range inits {
			name, since := "fds-"+init, now(t, h)
			start(t, h, name, "image = 'demo'\ninit = '"+init+"'\n"+sh("trap 'exit 0' TERM; for f in /proc/$$/fd/*; do [ -L $f ] && case ${f##*/} in [012]) ;; *) echo LEAK $f $(readlink $f);; esac; done; echo cwd $(readlink /proc/self/cwd); echo done; while :; do sleep 0.05; done"))
			h.WaitFor(t, eventually, "its list", `journalctl -q -o cat --since="$2" -u cocker@"$1" | grep -qx done`, name, since)
			if got := h.MustRun(t, `journalctl -q -o cat --since="$2" -u cocker@"$1" | grep 'LEAK\|^cwd'`, name, since); got != "cwd /" {
				t.Errorf("init %s: the command got:\n%s", init, got)
			}
			fds := h.MustRun(t, `for f in /proc/$1/fd/*; do d=; case $(readlink $f) in /*) [ -f $f ] && d="$(stat -Lc %F $f)";; esac; [ -d $f ] && d="$(stat -fLc %T $f) $([ $(stat -Lc %i $f) = $(stat -c %i $f/..) ] && echo alone)"; echo ${f##*/} $(readlink $f) $d; done`, mainPID(t, h, name))
			if !harmless.MatchString(fds) {
				t.Errorf("init %s: PID 1 has open:\n%s", init, fds)
			}
		}
	})
}

// CVE-2019-5736: the program that is PID 1 is the host's. Nobody in the container can open it,
// or anything else of init, also where its root is the file's owner and no capability is
// init's alone: it is undumpable. Were it open, it would be on a read-only mount.
func TestInitIsNotWritable(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const sum = "sha256sum /usr/libexec/cocker/cocker-init; stat -c %i:%Y:%a /usr/libexec/cocker/cocker-init"
		before := h.MustRun(t, sum)
		for name, security := range map[string]string{"own": "", "own-unfiltered": noFilter, "host-unfiltered": noUsers + "seccomp = 'none'\n"} {
			got := output(t, h, "writer-"+name, "image = 'demo'\n"+sh(`
				for f in /proc/1/exe /proc/self/../1/exe; do (echo x >$f) && echo WRITTEN; (echo x >>$f) && echo WRITTEN; chmod 777 $f && echo CHANGED; done
				ln -f /proc/1/exe /stolen && echo LINKED; (: >>/proc/1/mem) && echo OPENED
				readlink /proc/1/exe && echo OPENED; (: </proc/1/environ) && echo OPENED; echo tried`)+security)
			if !strings.HasSuffix(got, "\ntried") || regexp.MustCompile("WRITTEN|CHANGED|LINKED|OPENED").MatchString(got) {
				t.Errorf("%s:\n%s", name, got)
			}
		}
		if after := h.MustRun(t, sum); after != before {
			t.Errorf("cocker-init was\n%s\nand is\n%s", before, after)
		}
	})
}

// canary fills a directory of the host that no container may change; unchanged
// asserts that none did.
func canary(t *testing.T, h *host.Host) (unchanged func()) {
	t.Helper()
	h.MustRun(t, "mkdir -p /srv/canary/etc /srv/canary/sub && echo bird >/srv/canary/hosts && echo bird >/srv/canary/etc/hosts && echo bird >/srv/canary/file")
	const look = "cd /srv/canary && find . -printf '%p %y %m %U %G %T@ %s %l\n' | sort; cat hosts etc/hosts file; findmnt -n -o TARGET | grep canary"
	before := h.Run(t, look).Stdout
	return func() {
		t.Helper()
		if after := h.Run(t, look).Stdout; after != before {
			t.Errorf("the canary was\n%s\nand is\n%s", before, after)
		}
	}
}

// Where the kernel's file systems are mounted, a link of the image would lead the
// mounts elsewhere (CVE-2019-19921, CVE-2023-27561, CVE-2026-41579).
func TestKernelDirectoriesAreNoLinks(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		unchanged := canary(t, h)
		trees := map[string]string{"proc": "ln -s /srv/canary proc", "sys": "ln -s ../../../../srv/canary sys", "dev": "ln -s / dev", "run": "ln -s /srv/canary/sub run", "proc-file": "echo x >proc"}
		for name, tree := range trees {
			importTree(t, h, name+":1", tree)
			dir, _, _ := strings.Cut(name, "-")
			for _, users := range []string{"", noUsers} {
				refused(t, h, name, "images = ['demo', '"+name+":1']\ncommand = ['true']\n"+users, `"/`+dir+`"`, "link or file")
			}
		}
		unchanged()
	})
}

// The files that cocker fills in are found inside the image's root, whatever the
// image has in their places.
func TestFilledInFilesStayInside(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		unchanged := canary(t, h)
		tests := []struct{ name, tree, want string }{
			{"etc-link", "ln -s /srv/canary/etc etc", ""},
			{"etc-up", "ln -s ../../../srv/canary/etc etc", ""},
			{"hosts-link", "mkdir etc; ln -s /srv/canary/hosts etc/hosts", ""},
			{"hosts-up", "mkdir etc; ln -s ../../../../../srv/canary/hosts etc/hosts; ln -s /srv/canary/file etc/resolv.conf; ln -s /proc/1/root/srv/canary/file etc/hostname", ""},
			{"hosts-proc", "mkdir etc; ln -s /proc/self/cwd/srv/canary/hosts etc/hosts", ""},
			{"hosts-loop", "mkdir etc; ln -s hosts etc/hosts", "/etc/hosts"},
			{"hosts-fifo", "mkdir etc; mkfifo etc/hosts", "/etc/hosts"},
			{"hosts-device", "mkdir etc; mknod etc/hosts c 1 3", "/etc/hosts"},
			{"hosts-directory", "mkdir -p etc/hosts", "/etc/hosts"},
			{"id-socket", "mkdir etc; mknod etc/machine-id b 8 0", "/etc/machine-id"},
		}
		for _, tt := range tests {
			importTree(t, h, tt.name+":1", tt.tree)
			toml := "images = ['demo', '" + tt.name + ":1']\n" + sh("cat /etc/hosts >/dev/null")
			if tt.want != "" {
				refused(t, h, tt.name, toml, tt.want)
			} else if got := runJob(t, h, tt.name, toml); got.startFailed && !strings.Contains(statusOf(t, h, tt.name), "/etc/host") {
				t.Errorf("%s: %+v", tt.name, got)
			}
		}
		unchanged()
	})
}

func TestMountTargetsStayInside(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		unchanged := canary(t, h)
		h.MustRun(t, "mkdir -p /srv/data && echo data >/srv/data/f")
		importTree(t, h, "leads:1", "ln -s /srv/canary out; ln -s ../../../../srv/canary/sub up; ln -s /srv/canary/file filelink; ln -s /proc kernel")
		for target, seen := range map[string]string{"/out": "/srv/canary/f", "/out/new": "/srv/canary/new/f", "/up/a/b": "/srv/canary/sub/a/b/f"} {
			got := output(t, h, "target", "images = ['demo', 'leads:1']\nmount = [{ type = 'bind', source = '/srv/data', target = '"+target+"' }]\n"+sh("cat "+seen))
			if !strings.HasSuffix(got, "data") {
				t.Errorf("target %s: %q", target, got)
			}
		}
		got := output(t, h, "target", "images = ['demo', 'leads:1']\nmount = [{ type = 'bind', source = '/srv/data/f', target = '/filelink' }]\n"+sh("cat /srv/canary/file"))
		if !strings.HasSuffix(got, "data") { // after the note that an overlay cannot be idmapped
			t.Errorf("a file: %q", got)
		}
		unchanged()
	})
}

// The image leads /etc/hostname into a directory of the host that is mounted
// writable, but belongs to the host's root: neither the container nor cocker, which
// fills the file in, may write there. A user's mount on a file that cocker fills in
// is what the container sees, and is not written.
func TestFilledInFilesStayInTheImage(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, `mkdir -p /srv/private && echo secret >/srv/private/conf && echo mine >/srv/hosts && mkdir -p /tmp/lead/etc &&
			ln -s /data/conf /tmp/lead/etc/hostname && cocker image import /tmp/lead lead:1 && rm -r /tmp/lead`)
		defer h.MustRun(t, "rm -r /srv/private /srv/hosts && cocker image rm --force lead:1")
		got := output(t, h, "lead", `images = ['demo', 'lead:1']
			mount = [{ type = 'bind', source = '/srv/private', target = '/data' }, { type = 'bind', source = '/srv/hosts', target = '/etc/hosts', read_only = true }]`+"\n"+
			sh("cat /data/conf /etc/hosts; (echo owned >/data/conf) 2>/dev/null || echo refused; stat -c %u /data/conf"))
		if !strings.HasSuffix(got, "secret\nmine\nrefused\n65534") {
			t.Errorf("the container says %q", got)
		}
		if got := h.MustRun(t, "cat /srv/private/conf /srv/hosts | xargs"); got != "secret mine" {
			t.Errorf("the host's files say %q", got)
		}
	})
}

func TestBindMounts(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		// tmpfs can be idmapped since Linux 6.3.
		h.MustRun(t, `mkdir -p /srv/bind && mount -t tmpfs tmpfs /srv/bind && cd /srv/bind && mkdir sub && mount -t tmpfs tmpfs sub && chmod 777 . sub &&
			echo mine >own && chown 1234:5678 own && chmod 600 own && mknod null c 1 3 && chmod 666 null && cp /usr/bin/busybox suid && chmod 4755 suid && : >sub/f`)
		// The kernel lets go of the mounts of a namespace a moment after its last process.
		defer h.WaitFor(t, eventually, "the end of the mounts", "umount -R /srv/bind")
		const try = `for f in /b/x /b/sub/x; do touch $f 2>/dev/null && echo wrote $f; done
			(cat /b/own) 2>&1; stat -c %u:%g:%a /b/own; ls /b/sub; (: >>/b/null) 2>/dev/null && echo device; grep -c ' /b.* nosuid,nodev' /proc/self/mounts; :`
		const mount = "image = 'demo'\nmount = [{ type = 'bind', source = '/srv/bind', target = '/b', read_only = %v, idmap = true }]\nuser = '%s'\n"
		tests := []struct {
			readOnly   bool
			user, want string
		}{
			{true, "0", "mine\n1234:5678:600\nf"},
			{true, "1234", "mine\n1234:5678:600\nf"},
			{true, "1235", "cat: can't open '/b/own': Permission denied\n1234:5678:600\nf"},
			{false, "1235:1235", "wrote /b/x\nwrote /b/sub/x\ncat: can't open '/b/own': Permission denied\n1234:5678:600\nf\nx"},
		}
		for i, tt := range tests {
			got := output(t, h, fmt.Sprintf("bind-%d", i), fmt.Sprintf(mount, tt.readOnly, tt.user)+sh(try))
			counted := regexp.MustCompile(`\n\d+$`).ReplaceAllString(got, "")
			if counted != tt.want {
				t.Errorf("read_only %v, user %s: got\n%s\nwant\n%s", tt.readOnly, tt.user, got, tt.want)
			}
		}
		if got := h.MustRun(t, "stat -c %u:%g /srv/bind/x /srv/bind/sub/x | xargs"); got != "1235:1235 1235:1235" {
			t.Errorf("the host sees the files as of %s", got)
		}
	})
}
