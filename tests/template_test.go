package tests

import (
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// reloaded is a command that tells of SIGHUP in /run/hup.
func reloaded(first string) string {
	return sh(first + "\ntrap 'echo hup >>/run/hup' HUP; trap 'exit 0' TERM; touch /run/ready; while :; do sleep 1 & wait $!; done")
}

// templateImage has a template with an owner and a mode of its own.
func templateImage(t *testing.T, h *host.Host) {
	t.Helper()
	importTree(t, h, "tpl:1", `mkdir -p bin etc/app; cp /bin/busybox bin/; for a in sh sleep cat touch stat mv ln mkdir rm trap; do ln -s busybox bin/$a; done
		printf 'listen ${PORT}\nhost ${HOST} $${PORT} $PORT ${PORT:-1}\n' >etc/app/app.tpl; chown 33:34 etc/app/app.tpl; chmod 640 etc/app/app.tpl
		printf 'me ${cocker.name} ${cocker.hostname} ${cocker.address}\n' >etc/app/me.tpl; ln -s /run/late/me.conf etc/me.conf`)
}

const templateContainer = `image = "tpl:1"
reload_signal = "HUP"
hostname = "host"
[[template]]
source = "/etc/app/app.tpl"
target = "/etc/app/app.conf"
map = "/srv/web.map"
values = { "${HOST}" = "db" }
[[template]]
source = "/etc/app/me.tpl"
target = "/etc/me.conf"
mode = "0600"
owner = "5:6"
`

const rendered = "listen 8080\nhost db ${PORT} $PORT ${PORT:-1}"

func TestTemplate(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		templateImage(t, h)
		h.WriteFile(t, "/srv/web.map", "# ports\n\n${PORT} 8080\nHOST nowhere\n", 0o600)
		start(t, h, "web", reloaded("[ -e /etc/app/app.conf ] || exit 9")+templateContainer)
		if got := inside(t, h, "web", "cat /etc/app/app.conf"); got != rendered {
			t.Errorf("filled in: %q", got)
		}
		if got := inside(t, h, "web", "stat -c %u:%g:%a /etc/app/app.conf /run/late/me.conf"); got != "33:34:640\n5:6:600" {
			t.Errorf("owners and modes: %q", got)
		}
		h.MustRun(t, `[ "$1" = "me web host $(jq -r .address /run/cocker/state/web.json | cut -d/ -f1)" ]`, inside(t, h, "web", "cat /etc/me.conf"))
		if got := h.MustRun(t, `cocker diff web`); strings.Contains(got, "app") {
			t.Errorf("cocker diff, and so cocker commit, has the filled-in file:\n%s", got)
		}
		testTemplateReload(t, h)
		testRender(t, h)
		testTemplateWithoutChange(t, h)
		h.MustRun(t, `! find / -xdev -name '.cocker-template*' | grep .`)
	})
}

func testTemplateReload(t *testing.T, h *host.Host) {
	t.Helper()
	h.WaitFor(t, eventually, "the command", `[ -e "/proc/$(systemctl show -P MainPID cocker@web)/root/run/ready" ]`)
	h.MustRun(t, `sed -i s/8080/9090/ /srv/web.map; timeout 60 systemctl reload cocker@web`)
	if got := inside(t, h, "web", "cat /etc/app/app.conf; stat -c %u:%g:%a /etc/app/app.conf"); got != strings.Replace(rendered, "8080", "9090", 1)+"\n33:34:640" {
		t.Errorf("after the reload: %q", got)
	}
	h.WaitFor(t, eventually, "the reload signal", `[ "$(cat "/proc/$(systemctl show -P MainPID cocker@web)/root/run/hup")" = hup ]`)
	// A bad map: the reload fails and says why, nothing is written, the container runs on.
	h.WriteFile(t, "/srv/web.map", "HOST nowhere\n$PORT 1\n", 0o600)
	if r := h.Run(t, `timeout 60 systemctl reload cocker@web`); r.ExitCode == 0 {
		t.Error("a reload with a bad map succeeds")
	}
	if status := statusOf(t, h, "web"); !strings.Contains(status, `/srv/web.map:2: "$PORT" is no key`) || !strings.Contains(status, "active (running)") {
		t.Errorf("status after a failed reload:\n%s", status)
	}
	if got := inside(t, h, "web", "cat /etc/app/app.conf /run/hup"); got != strings.Replace(rendered, "8080", "9090", 1)+"\nhup" {
		t.Errorf("after a failed reload: %q", got)
	}
	// Nothing to reload is not an error of the container, but of who asks.
	start(t, h, "plain", "image = 'tpl:1'\ncommand = ['sleep', '1000']\nstop_signal = 'KILL'\n")
	if r := h.Run(t, "timeout 60 systemctl reload cocker@plain"); r.ExitCode == 0 || !strings.Contains(r.Stderr, "not applicable") {
		t.Errorf("reload of a container without templates: %d, %s", r.ExitCode, r.Stderr)
	}
}

func testRender(t *testing.T, h *host.Host) {
	t.Helper()
	renders := func(status int, want string, args ...string) {
		t.Helper()
		r := h.Run(t, `exec timeout 60 cocker render "$@" 2>&1`, args...)
		if r.ExitCode != status || !strings.Contains(r.Stdout, want) {
			t.Errorf("cocker render %q: exit status %d, want %d and %q:\n%s", args, r.ExitCode, status, want, r.Stdout)
		}
	}
	renders(2, "/srv/web.map:2:", "--dry-run", "web")
	renders(1, "/srv/web.map:2:", "web")
	renders(2, "no such container", "--dry-run", "nosuch")
	h.WriteFile(t, "/srv/web.map", "PORT 9090\n", 0o600)
	renders(0, "", "--dry-run", "web")
	h.WriteFile(t, "/srv/web.map", "PORT 7070\n", 0o600)
	renders(1, "\n-listen 9090\n+listen 7070\n host db", "--dry-run", "web")
	renders(1, "\n-listen 9090\n+listen 7070\n host db", "--dry-run", "web")
	renders(0, "/etc/app/app.conf\n", "web")
	if got := inside(t, h, "web", "cat /etc/app/app.conf /run/hup"); !strings.Contains(got, "listen 7070") || strings.Count(got, "hup") != 1 {
		t.Errorf("after render: %q", got)
	}
	// The same in one that does not run, but for its address.
	h.MustRun(t, `timeout 60 systemctl stop cocker@web; sed -i '/me.tpl/,$d' /etc/cocker/containers/web.toml; sed -i '$d' /etc/cocker/containers/web.toml; cat /etc/cocker/containers/web.toml`)
	h.WriteFile(t, "/srv/web.map", "PORT 6060\n", 0o600)
	renders(1, "\n-listen 7070\n+listen 6060\n", "--dry-run", "web")
	renders(0, "/etc/app/app.conf\n", "web")
	renders(0, "", "--dry-run", "web")
	h.MustRun(t, `[ "$(stat -c %u:%g:%a /var/lib/cocker/containers/web/upper/etc/app/app.conf)" = 33:34:640 ]`)
}

// A file that is as it shall be is not written.
func testTemplateWithoutChange(t *testing.T, h *host.Host) {
	t.Helper()
	const of = `stat -c '%i %z' /var/lib/cocker/containers/web/upper/etc/app/app.conf`
	h.WriteFile(t, "/srv/web.map", "PORT 8080\n", 0o600)
	start(t, h, "web", reloaded(":")+templateContainer)
	before := h.MustRun(t, of)
	h.WaitFor(t, eventually, "the command", `[ -e "/proc/$(systemctl show -P MainPID cocker@web)/root/run/ready" ]`)
	h.MustRun(t, "timeout 60 systemctl reload cocker@web && timeout 60 systemctl restart cocker@web && cocker render web")
	if after := h.MustRun(t, of); after != before {
		t.Errorf("a file without changes was written: %s, then %s", before, after)
	}
	h.WaitFor(t, eventually, "the launcher's end", "! pgrep -x cocker-launch")
}

func TestTemplateThatCannotBeFilledIn(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTree(t, h, "tpl:1", `mkdir -p bin etc dir; cp /bin/busybox bin/sleep; mkfifo fifo; mknod null c 1 3; truncate -s 2M huge; echo x >ok
			printf '${A}\n${B}\n\n${KNOWN} ${C}\n' >etc/a.tpl; printf '${D}' >etc/b.tpl; ln -s /etc/shadow shadow; ln -s loop loop; head -c 1000000 /dev/zero | sed 's/\x0/${KNOWN}/g' | head -c 1000000 >bomb`)
		template := func(lines string) string {
			return "image = 'tpl:1'\ncommand = ['sleep', '1000']\nnetwork.mode = 'none'\n[[template]]\n" + lines + "\n"
		}
		h.MustRun(t, `mkdir /srv/ro; echo x >/srv/file; printf 'KNOWN 0123456789012345678901234567890123456789\n' >/srv/map; printf '${E} ${F}\n' >/srv/host.tpl`)
		refused(t, h, "bad", template("source = '/etc/a.tpl'\ntarget = '/etc/a'\nvalues = { KNOWN = '1' }\n[[template]]\nsource = '/etc/b.tpl'\ntarget = '/etc/b'"),
			"/etc/a.tpl:1: there is no value for ${A}", "/etc/a.tpl:2: there is no value for ${B}", "/etc/a.tpl:4: there is no value for ${C}", "/etc/b.tpl:1: there is no value for ${D}")
		h.MustRun(t, `! ls /var/lib/cocker/containers/bad/upper/etc/a /var/lib/cocker/containers/bad/upper/etc/b 2>/dev/null`)
		for lines, reason := range map[string]string{
			"host_source = '/srv/host.tpl'\ntarget = '/x'":                "/srv/host.tpl:1: there is no value for ${F}",
			"host_source = '/srv/none'\ntarget = '/x'":                    "/srv/none: no such file",
			"host_source = '/dev/null'\ntarget = '/x'":                    "no regular file",
			"source = '/ok'\ntarget = '/x'\nmap = '/srv/none'":            "map: open /srv/none",
			"source = '/ok'\ntarget = '/x'\nmap = '/srv'":                 "no regular file",
			"source = '/none'\ntarget = '/x'":                             "open /none: no such file",
			"source = '/fifo'\ntarget = '/x'":                             `"/fifo" is no regular file`,
			"source = '/dir'\ntarget = '/x'":                              `"/dir" is no regular file`,
			"source = '/null'\ntarget = '/x'":                             "/null",
			"source = '/huge'\ntarget = '/x'":                             "more than 1048576 bytes",
			"source = '/bomb'\ntarget = '/x'\nmap = '/srv/map'":           "filled in, it has more than 1048576 bytes",
			"source = '/shadow'\ntarget = '/x'":                           "open /shadow: no such file",
			"source = '/loop'\ntarget = '/x'":                             "too many levels",
			"source = '/ok'\ntarget = '/dir'":                             `"dir" is no regular file`,
			"source = '/ok'\ntarget = '/fifo'":                            `"fifo" is no regular file`,
			"source = '/ok'\ntarget = '/ok/x'":                            "not a directory",
			"source = '/ok'\ntarget = '/x'\ncredentials = { A = 'none' }": `no credential "none"`,
			"source = '/ok'\ntarget = '/m/x'\n[[mount]]\ntype='bind'\nsource='/srv/ro'\ntarget='/m'\nread_only=true": "mounted read-only",
			"source = '/ok'\ntarget = '/m/x'\n[[mount]]\ntype='bind'\nsource='/srv/ro'\ntarget='/m'":                 "the container's root may not",
			"source = '/ok'\ntarget = '/f'\n[[mount]]\ntype='bind'\nsource='/srv/file'\ntarget='/f'":                 "something is mounted",
		} {
			refused(t, h, "bad", template(lines), reason)
		}
		h.MustRun(t, `[ "$(cat /srv/file)" = x ] && [ -z "$(ls -A /srv/ro)" ]; ! find / -xdev -name '.cocker-template*' | grep .`)
		testCheckOfTemplates(t, h, template)
	})
}

func testCheckOfTemplates(t *testing.T, h *host.Host, template func(string) string) {
	t.Helper()
	for lines, reason := range map[string]string{
		"host_source = '/srv/host.tpl'\ntarget = '/x'":      "/srv/host.tpl:1: there is no value for ${F}",
		"source = '/ok'\ntarget = '/x'\nmap = '/srv/none'":  "map: open /srv/none",
		"source = '/ok'\ntarget = '/x'\nmaps = '/srv/none'": `unknown key "maps"`,
	} {
		h.WriteFile(t, "/etc/cocker/containers/bad.toml", template(lines), 0o644)
		if r := h.Run(t, "cocker check"); r.ExitCode != 1 || !strings.Contains(r.Stderr, reason) {
			t.Errorf("cocker check: %d, %q is not in %s", r.ExitCode, reason, r.Stderr)
		}
	}
}

// Credentials get into the file, and nowhere else.
func TestTemplateCredentials(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.WriteFile(t, "/srv/password", "s3cr1t-loaded\n", 0o600)
		h.WriteFile(t, "/srv/app.tpl", "a ${LOADED} b ${cocker.name}\nset ${SET}\n", 0o640)
		start(t, h, "cred", reloaded("")+`image = "demo"
network.mode = "none"
reload_signal = "HUP"
template = [{ host_source = "/srv/app.tpl", target = "/etc/app.conf", credentials = { LOADED = "pw", SET = "set" } }]
[service]
LoadCredential = "pw:/srv/password"
SetCredential = "set:s3cr1t-set"
`)
		show := "cat /etc/app.conf; stat -c %u:%g:%a /etc/app.conf"
		if got := inside(t, h, "cred", show); got != "a s3cr1t-loaded b cred\nset s3cr1t-set\n0:0:640" {
			t.Errorf("filled in: %q", got)
		}
		h.WaitFor(t, eventually, "the command", `[ -e "/proc/$(systemctl show -P MainPID cocker@cred)/root/run/ready" ]`)
		h.MustRun(t, `sed -i s/^a/x/ /srv/app.tpl; timeout 60 systemctl reload cocker@cred`)
		if got := inside(t, h, "cred", show); got != "x s3cr1t-loaded b cred\nset s3cr1t-set\n0:0:640" {
			t.Errorf("after the reload: %q", got)
		}
		h.MustRun(t, `sed -i s/^x/y/ /srv/app.tpl; cocker render cred`)
		if got := inside(t, h, "cred", show); got != "y s3cr1t-loaded b cred\nset s3cr1t-set\n0:0:640" {
			t.Errorf("after render: %q", got)
		}
		h.MustRun(t, `echo '${MORE}' >>/srv/app.tpl; ! timeout 60 systemctl reload cocker@cred 2>/dev/null; journalctl --sync
			! { journalctl -o export -u cocker@cred; cocker inspect cred; cocker inspect --json cred; cocker diff cred; cat /run/cocker/state/cred.json; } | grep -a s3cr1t
			! grep -l s3cr1t "/proc/$(systemctl show -P MainPID cocker@cred)/environ" "/proc/$(systemctl show -P MainPID cocker@cred)/cmdline"`)
	})
}

// Paths of a template are the image's: links lead nowhere else, whoever renames them
// meanwhile (CVE-2026-23954, CVE-2026-48749 and others of Incus).
func TestTemplateInHostileContainer(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, `mkdir -p /srv/canary && echo secret >/srv/canary/data && echo '${A}' >/srv/canary/app.tpl && find /srv -printf '%p %i %T@ %C@ %m\n' >/run/before`)
		importTree(t, h, "evil:1", `mkdir -p bin; cp /bin/busybox bin/; for a in sh sleep cat mv ln mkdir rm touch; do ln -s busybox bin/$a; done
			ln -s /srv/canary abs; ln -s ../../../../../../../../../srv/canary rel; ln -s /proc/self/root/srv/canary magic; ln -s /srv/canary/data file
			mkdir -p srv/canary proc1; printf 'own ${A}\n' >srv/canary/app.tpl; : >.cocker-template.new; ln -s /srv/canary/data .cocker-template`)
		var tables strings.Builder
		for i, source := range []string{"/abs/app.tpl", "/rel/app.tpl"} {
			for j, target := range []string{"/abs/new", "/rel/dir/x", "/file", "/top"} {
				tables.WriteString("[[template]]\nsource = '" + source + "'\nvalues.A = 'evil'\ntarget = '" + target + strings.Repeat("2", i*(j+1)) + "'\n")
			}
		}
		start(t, h, "evil", "image = 'evil:1'\nnetwork.mode = 'none'\n"+sh(`
			mkdir -p /a/dir; echo 'own ${A}' >/a/dir/tpl; cd /a; ln -s /srv/canary link; ln -s ../../../../../../proc/1/root/srv/canary link2; touch /ready
			trap 'exit 0' TERM
			while :; do mv dir old; mv link dir; mv dir link; mv link2 dir; mv dir link2; mv old dir; done`)+tables.String())
		h.MustRun(t, `find /srv -printf '%p %i %T@ %C@ %m\n' | diff /run/before -`)
		if got := inside(t, h, "evil", "cat /srv/canary/new /srv/canary/dir/x /srv/canary/data /top 2>/dev/null"); strings.Count(got, "own evil") != 4 || strings.Contains(got, "secret") {
			t.Errorf("inside: %q", got)
		}
		testRacedTemplate(t, h)
		h.MustRun(t, `find /srv -printf '%p %i %T@ %C@ %m\n' | diff /run/before - && [ "$(cat /srv/canary/data)" = secret ]; rm /run/before`)
	})
}

func testRacedTemplate(t *testing.T, h *host.Host) {
	t.Helper()
	h.WaitFor(t, eventually, "the attack", `[ -e "/proc/$(systemctl show -P MainPID cocker@evil)/root/ready" ]`)
	h.MustRun(t, `sed -i '/template/,$d' /etc/cocker/containers/evil.toml
		printf '[[template]]\nsource = "/a/dir/tpl"\ntarget = "/a/dir/app.conf"\nvalues = { A = "ROUND" }\n' >>/etc/cocker/containers/evil.toml
		written=0
		for i in $(seq 60); do
			sed -i 's/A = ".*"/A = "'$i'"/' /etc/cocker/containers/evil.toml
			cocker render evil >/dev/null 2>&1 && written=$((written+1))
		done
		echo "$written of 60 written" >&2; [ $written -gt 0 ]
		! find / -xdev -name app.conf -not -path '/var/lib/cocker/*' | grep .`)
}
