package tests

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/tests/host"
)

// A bad file makes its own container fail, with file and line, and no other.
func TestBadFiles(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		bad := []struct {
			name, toml string
			reasons    []string
		}{
			{"typo", "image = 'demo'\nimagee = 'demo'\n", []string{"/etc/cocker/containers/typo.toml:2:", `"imagee"`, `did you mean "image`}},
			{"syntax", "image = 'demo'\n\n[network\n", []string{"/etc/cocker/containers/syntax.toml:3:"}},
			{"type", "image = 'demo'\n[network]\nports = [8080]\n", []string{"/etc/cocker/containers/type.toml:3:", "ports[0]"}},
			{"bytes", "image = 'demo'\ndescription = 'a\xff\xfeb'\n", []string{"/etc/cocker/containers/bytes.toml:2:", "UTF-8"}},
			{"newline", "image = 'demo'\ndescription = \"a\\nExecStart=/bin/false\"\n", []string{"newline.toml:2:", "control character"}},
			{"injects", "image = 'demo'\n[service]\nRestart = \"no\\nExecStartPre=/bin/touch /srv/injected\"\n", []string{"injects.toml:3:", "Restart"}},
			{"forbidden", "image = 'demo'\n[service]\nExecStart = '/bin/true'\n", []string{"forbidden.toml:3:", "ExecStart="}},
			{"empty", "", []string{"empty.toml", "no image"}},
			{"big", "image = 'demo'\n" + strings.Repeat("# ten megabytes of comment\n", 10<<20/27), []string{"big.toml", "bytes"}},
		}
		files := map[string]string{"good": "image = 'demo'\n[network]\nports = ['8080:80']\n"}
		for _, b := range bad {
			files[b.name] = b.toml
		}
		declare(t, h, files)
		h.MustRun(t, "systemctl start cocker@good && { "+get+"; } | grep -q Hello", "127.0.0.1:8080")
		check := h.Run(t, "cocker check")
		if check.ExitCode != 1 {
			t.Errorf("cocker check: exit status %d", check.ExitCode)
		}
		for _, b := range bad {
			failsToStart(t, h, b.name, b.reasons...)
			if !strings.Contains(check.Stderr, b.reasons[0]) {
				t.Errorf("%q is not in the output of cocker check:\n%s", b.reasons[0], check.Stderr)
			}
		}
		h.MustRun(t, `systemctl is-active cocker@good && ! [ -e /srv/injected ]
			systemctl show -P SourcePath cocker@typo | grep -qx /etc/cocker/containers/typo.toml`)
	})
}

// A container's name is its host name; the unit cocker@NAME exists for any name.
func TestBadNames(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		long := strings.Repeat("x", 65)
		for _, name := range []string{"Not_A_Host", "-x", "x-", "a..b", ".hidden", "ü", "a b", long} {
			h.WriteFile(t, "/etc/cocker/containers/"+name+".toml", "image = 'demo'\ncommand = ['sleep', '1000']\n[install]\nwanted_by = ['multi-user.target']\n", 0o644)
			h.MustRun(t, "systemctl daemon-reload")
			if r := h.Run(t, `timeout 60 systemctl start "$(systemd-escape --template=cocker@.service -- "$1")"`, name); r.ExitCode == 0 {
				t.Errorf("a container with the name %q starts", name)
			}
			if r := h.Run(t, "cocker check"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "no valid container name") {
				t.Errorf("cocker check about %q: exit status %d: %s", name, r.ExitCode, r.Stderr)
			}
			h.MustRun(t, `rm "/etc/cocker/containers/$1.toml"; systemctl reset-failed 'cocker@*' 2>/dev/null || :`, name)
		}
		failsToStart(t, h, "absent", "no such container", "/etc/cocker/containers", "absent.toml")
		failsToStart(t, h, "Not_A_Host", `"Not_A_Host" is no valid container name`)
		longest := strings.Repeat("x", 60) + ".yz"
		start(t, h, longest, "image = 'demo'\n")
		h.MustRun(t, `[ "$(machinectl show -P State "$1" 2>/dev/null || machinectl show -p State --value "$1")" = running ]`, longest)
	})
}

// hostile has everything that means something to systemd, a shell or TOML.
const hostile = "50% %n %% $HOME ${PATH} $$ \"double\" 'single' `tick` \\ \\n ; # = [x] ünïcödé 🐳"

// Strings of the user's arrive as they are.
func TestHostileStrings(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		multi := hostile + "\nsecond line\n\ttab\r\n[Service]\nExecStartPre=/bin/touch /srv/injected"
		directory := "/srv/data " + strings.ReplaceAll(hostile, "\\n", "")
		h.MustRun(t, `mkdir -p "$1" && echo found >"$1/file"`, directory)
		c := config.Container{
			Name: "hostile", Description: hostile, Images: []string{"demo"}, Init: config.InitCocker, Hostname: "hostile",
			Command:     []string{"sh", "-c", `printf '%s' "$1" | od -An -tx1 -v | tr -d ' \n'; echo; printf '%s' "$VALUE" | od -An -tx1 -v | tr -d ' \n'; echo; pwd; cat /target*/file`, "sh", multi},
			WorkDir:     "/work " + strings.ReplaceAll(hostile, "/", ""),
			Environment: []config.EnvironmentVariable{{Name: "VALUE", Value: multi}},
			Network:     config.Network{Mode: config.NetworkBridge},
			Mounts:      []config.Mount{{Type: config.MountBind, Source: directory, Target: "/target " + hostile, ReadOnly: true}},
		}
		for _, init := range []config.InitMode{config.InitCocker, config.InitNone} {
			c.Init = init
			text := encode(t, &c)
			got := output(t, h, "hostile", text)
			want := fmt.Sprintf("%x\n%x\n%s\nfound", multi, multi, c.WorkDir)
			if !strings.HasSuffix(got, want) { // after the note that the host's overlay cannot be idmapped
				t.Errorf("init %s: got\n%s\nwant\n%s\nof\n%s", init, got, want, text)
			}
		}
		if got := properties(t, h, "hostile", "Description")["Description"]; got != hostile {
			t.Errorf("description: got\n%s\nwant\n%s", got, hostile)
		}
		h.MustRun(t, "! [ -e /srv/injected ] && cocker check")
	})
}

func encode(t *testing.T, c *config.Container) string {
	t.Helper()
	text, err := config.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestMissingThings(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		refused(t, h, "image", "image = 'nosuch:1'\n", `image "nosuch:1"`)
		refused(t, h, "stacked", "images = ['demo', 'nosuch']\n", `image "nosuch"`)
		refused(t, h, "source", "image = 'demo'\n[network]\nports = ['8080:80']\n[[mount]]\ntype = 'bind'\nsource = '/srv/missing'\ntarget = '/data'\n", `"/srv/missing"`, "no such file")
		refused(t, h, "command", "image = 'demo'\ncommand = ['nosuchcommand']\n", `"nosuchcommand" is not in the container`)
		refused(t, h, "absolute", "image = 'demo'\ncommand = ['/bin/nosuch']\ninit = 'none'\n", `"/bin/nosuch" is not in the container`)
		refused(t, h, "directory", "image = 'demo'\ncommand = ['/etc']\n", `"/etc" is a directory`)
		refused(t, h, "data", "image = 'demo'\ncommand = ['/etc/passwd']\n", "not executable")
		importTree(t, h, "noloader:1", "cp /usr/bin/socat .; printf '#!/no/such/interpreter\n' >script; chmod 755 script; echo x >nonsense; chmod 755 nonsense")
		for command, reason := range map[string]string{"/socat": `needs "/lib`, "/script": `needs "/no/such/interpreter"`, "/nonsense": "no program for this machine"} {
			for _, init := range inits {
				refused(t, h, "loader", "image = 'noloader:1'\ncommand = ['"+command+"']\ninit = '"+init+"'\n", reason)
			}
		}
		refused(t, h, "nothing", "image = 'noloader:1'\n", "set command in /etc/cocker/containers/nothing.toml")
	})
}

func TestTakenThings(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "holder", web("holder", "address = '10.88.4.4'\nports = ['8080:80', '127.0.0.1:8081:80']"))
		for _, ports := range []string{"'8080:80'", "'127.0.0.1:8080:80'", "'8081:80'", "'8099:80', '8080:81'"} {
			refused(t, h, "port", "image = 'demo'\n[network]\nports = ["+ports+"]\n", "already used by container holder")
		}
		refused(t, h, "address", "image = 'demo'\n[network]\naddress = '10.88.4.4'\nports = ['8090:80']\n", "10.88.4.4", "already leased", "holder")

		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		process := h.Command(ctx, "socat", "-t", "60", "TCP-LISTEN:8085,fork,reuseaddr", "SYSTEM:echo process")
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		defer process.Wait()
		defer cancel()
		h.WaitFor(t, eventually, "the process", "ss -Hltn sport = 8085 | grep -q 8085")
		refused(t, h, "by-process", "image = 'demo'\n[network]\nports = ['8085:80']\n", "8085", "already used by process", "(socat)")
		if got := h.MustRun(t, "socat -u TCP:127.0.0.1:8085 -"); got != "process" {
			t.Errorf("the process says %q", got)
		}
		if got := h.MustRun(t, get, "127.0.0.1:8080"); got != "holder" {
			t.Errorf("holder says %q", got)
		}
	})
}

// One name, one container: neither a second start of it nor its failure may harm the first.
func TestTakenNames(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "twice", web("first", "ports = ['8080:80']"))
		if r := h.Run(t, "cocker run -d --name twice demo"); r.ExitCode == 0 || !strings.Contains(r.Stderr, "twice") {
			t.Errorf("cocker run with the name of a running container: %d: %s", r.ExitCode, r.Stderr)
		}
		if r := h.Run(t, "/usr/libexec/cocker/cocker-launch start twice"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "twice is already running") {
			t.Errorf("a second launcher: %d: %s", r.ExitCode, r.Stderr)
		}
		if r := h.Run(t, "/usr/libexec/cocker/cocker-launch cleanup twice"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "running") {
			t.Errorf("cleanup of a running container: %d: %s", r.ExitCode, r.Stderr)
		}
		if got := h.MustRun(t, get, "127.0.0.1:8080"); got != "first" {
			t.Errorf("the first one says %q", got)
		}
		assertProperties(t, h, "twice", map[string]string{"ActiveState": "active"})

		h.MustRun(t, "cocker run -d --name transient -p 8086:80 demo >/dev/null")
		refused(t, h, "transient", web("second", "ports = ['8087:80']"), "transient is already running")
		h.MustRun(t, "{ "+get+"; } | grep -q Hello", "127.0.0.1:8086")
		h.MustRun(t, "rm /etc/cocker/containers/transient.toml; systemctl daemon-reload; cocker rm -f transient")

		h.MustRun(t, `systemd-run -q --unit=foreign sleep 1000
			busctl -q call org.freedesktop.machine1 /org/freedesktop/machine1 org.freedesktop.machine1.Manager RegisterMachine sayssus foreign 0 test container "$(systemctl show -P MainPID foreign)" ""`)
		defer h.MustRun(t, "systemctl stop foreign")
		refused(t, h, "foreign", "image = 'demo'\n", "another machine named foreign")
		h.MustRun(t, "machinectl show foreign -p Service | grep -qx Service=test")
	})
}

func TestReadOnlyDisk(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /root/tree && echo x >/root/tree/x && mount -o remount,bind,ro /var/lib/cocker")
		writable := "mount -o remount,bind,rw /var/lib/cocker"
		defer h.MustRun(t, writable)
		refused(t, h, "frozen", "image = 'demo'\n[network]\nports = ['8080:80']\n", "read-only file system")
		if r := h.Run(t, "cocker image import /root/tree tree:1"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "read-only file system") {
			t.Errorf("import: %d: %s", r.ExitCode, r.Stderr)
		}
		h.MustRun(t, writable)
		h.MustRun(t, "systemctl start cocker@frozen")
		// A container that runs when the disk fails can still be stopped.
		h.MustRun(t, "mount -o remount,bind,ro /var/lib/cocker")
		h.MustRun(t, "timeout 60 systemctl stop cocker@frozen")
		assertProperties(t, h, "frozen", map[string]string{"ActiveState": "inactive", "Result": "success"})
	})
}

func TestDiskFull(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mount -t tmpfs -o size=1M,mode=755 tmpfs /var/lib/cocker")
		// The kernel lets go of the container's mounts a moment after its last process.
		defer h.WaitFor(t, eventually, "the end of the disk", "systemctl stop cocker@full; umount /var/lib/cocker")
		const used = "find /var/lib/cocker -type f -size +0 -printf '%P %s\n'; du -s /var/lib/cocker"
		h.Run(t, "cocker image demo") // makes the store
		before := h.MustRun(t, used)
		if r := h.Run(t, "cocker image demo"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "no space left on device") {
			t.Errorf("import to a full disk: %d: %s", r.ExitCode, r.Stderr)
		}
		if after := h.MustRun(t, used); after != before {
			t.Errorf("the import left\n%s\nwhere\n%s", after, before)
		}
		h.MustRun(t, "mount -o remount,size=64M /var/lib/cocker && cocker image demo >/dev/null && ! dd if=/dev/zero of=/var/lib/cocker/fill bs=4k 2>/dev/null")
		refused(t, h, "full", "image = 'demo'\n[network]\nports = ['8080:80']\n", "no space left on device")
		h.MustRun(t, "rm /var/lib/cocker/fill && systemctl start cocker@full && { "+get+"; } | grep -q Hello", "127.0.0.1:8080")
	})
}

// An archive is refused, or its files are inside the image.
func TestHostileArchives(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		unchanged := canary(t, h)
		const look = "find /var/lib/cocker -maxdepth 4 | sort; cat /var/lib/cocker/oci/index.json"
		before := h.MustRun(t, look)
		archives := []struct{ name, script string }{
			{"dotdot", "tar -P --transform 's,^,../../../../../../../../srv/canary/,' -cf x.tar file"},
			{"absolute", "tar -P -cf x.tar /srv/evil"},
			{"through-link", "mkdir a b b/link; ln -s /srv/canary a/link; cp file b/link/file; tar -cf x.tar -C a link; tar -rf x.tar -C b link/file"},
			{"through-parents", "mkdir a b b/link; ln -s ../../../../../../../srv/canary a/link; cp file b/link/file; tar -cf x.tar -C a link; tar -rf x.tar -C b link/file"},
			{"hard-link", "ln file second; tar -P --transform 'flags=h;s,^file$,../../../../../../../../srv/canary/file,' -cf x.tar file second; tar -rf x.tar second"},
			{"hard-to-absolute", "ln file second; tar -P --transform 'flags=h;s,^file$,/srv/canary/file,' -cf x.tar file second"},
			{"truncated", "head -c 200000 /dev/urandom >big; tar -cf y.tar big file; head -c 100000 y.tar >x.tar"},
			{"truncated-gzip", "head -c 200000 /dev/urandom >big; tar -czf y.tar big; head -c 100000 y.tar >x.tar"},
			{"garbage", "head -c 100000 /dev/urandom >x.tar"},
			{"nothing", ": >x.tar"},
		}
		for _, a := range archives {
			h.MustRun(t, `rm -rf /srv/evil && mkdir /srv/evil && cd /srv/evil && echo evil >file && eval "$1"`, a.script)
			r := h.Run(t, `timeout 60 cocker image import /srv/evil/x.tar "$1:1" true`, a.name)
			if r.ExitCode != 0 && (r.ExitCode != 1 || !strings.Contains(r.Stderr, "x.tar")) {
				t.Errorf("%s: exit status %d: %s", a.name, r.ExitCode, r.Stderr)
			}
			if r.ExitCode == 0 {
				h.MustRun(t, `cocker image rm "$1:1" >/dev/null`, a.name)
			}
			if strings.HasPrefix(a.name, "truncated") && r.ExitCode == 0 {
				t.Errorf("%s: half an archive is an image", a.name)
			}
			unchanged()
			if after := h.MustRun(t, look); after != before {
				t.Errorf("%s: the store was\n%s\nand is\n%s", a.name, before, after)
			}
		}
	})
}
