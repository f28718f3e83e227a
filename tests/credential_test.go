package tests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// secretFiles makes what containers load in this file's tests. Each value has "s3cr1t" in
// it and no other file of the host has.
func secretFiles(t *testing.T, h *host.Host) (remove func()) {
	t.Helper()
	h.MustRun(t, `mkdir -m 700 -p /srv/secrets/dir /etc/credstore; cd /srv/secrets
		echo s3cr1t-file >file; echo s3cr1t-one >dir/one; echo s3cr1t-store >/etc/credstore/test.stored
		printf 'own\0s3cr1t-encrypted' | systemd-creds encrypt --with-key=host --name=enc - enc 2>/dev/null`)
	return func() {
		h.MustRun(t, `rm -f /etc/credstore/test.stored; rmdir --ignore-fail-on-non-empty /etc/credstore`)
	}
}

// secrets is the end of a file: one credential of each kind.
func secrets(t *testing.T, h *host.Host) string {
	t.Helper()
	text := h.MustRun(t, `printf s3cr1t-text | systemd-creds encrypt --with-key=host --name=enctext - - 2>/dev/null`)
	return `
[credentials]
"file.a" = { load = "/srv/secrets/file" }
dir = { load = "/srv/secrets/dir" }
stored = { load = "test.stored" }
missing = { load = "test.missing" }
enc = { encrypted = "/srv/secrets/enc" }
enctext = { set_encrypted = """` + text + `""" }
own = { set = "s3cr1t-\u0000\"%i\n" }
`
}

// shownSecrets is what the container's user sees of them.
const (
	showSecrets  = `cd "$CREDENTIALS_DIRECTORY" && pwd && for f in *; do echo "$f=$(tr '\0\n' '0n' <"$f")"; done`
	shownSecrets = "/run/host/credentials\ndir_one=s3cr1t-onen\nenc=own0s3cr1t-encrypted\nenctext=s3cr1t-text\nfile.a=s3cr1t-filen\nown=s3cr1t-0\"%in\nstored=s3cr1t-storen"
)

// declareSecret is declare for a file that only root reads.
func declareSecret(t *testing.T, h *host.Host, name, toml string) {
	t.Helper()
	h.WriteFile(t, "/etc/cocker/containers/"+name+".toml", toml, 0o600)
	h.MustRun(t, "systemctl daemon-reload")
}

func startSecret(t *testing.T, h *host.Host, name, toml string) {
	t.Helper()
	declareSecret(t, h, name, toml)
	h.MustRun(t, `timeout 200 systemctl start cocker@"$1" || { systemctl status --no-pager cocker@"$1" >&2; exit 1; }`, name)
}

// The container's user reads what [credentials] says, and nobody else does but who may
// read everything; nobody changes it. It is in memory that is not swapped.
func TestCredentials(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer secretFiles(t, h)()
		for _, init := range inits {
			for _, user := range []string{"0", "1000"} {
				startSecret(t, h, "cred", "image = 'demo'\ninit = '"+init+"'\nuser = '"+user+"'\nnetwork.mode = 'none'\n"+
					sh(`{ `+showSecrets+`; } >/tmp/seen; grep ' /run/host/credentials ' /proc/self/mountinfo >/tmp/mount; ls /proc/self/fd >/tmp/fds; touch /tmp/ready; trap "exit 0" TERM; sleep 100000 & wait`)+secrets(t, h))
				h.WaitFor(t, eventually, "the command", `[ -e "/proc/$(systemctl show -P MainPID cocker@cred)/root/tmp/ready" ]`)
				if got := inside(t, h, "cred", "cat /tmp/seen"); got != shownSecrets {
					t.Errorf("init %s, user %s: %q", init, user, got)
				}
				if got := inside(t, h, "cred", "cat /tmp/mount"); !strings.Contains(got, " ro,nosuid,nodev,noexec") || !strings.Contains(got, " - ramfs ") {
					t.Errorf("init %s: %s", init, got)
				}
				if got := strings.Fields(inside(t, h, "cred", "cat /tmp/fds")); len(got) != 4 { // 0 to 2 and that of ls
					t.Errorf("init %s: descriptors %v", init, got)
				}
				if got := inside(t, h, "cred", "stat -c '%u %a' /run/host/credentials /run/host/credentials/*|sort|uniq -c|xargs"); got != "6 "+user+" 400 1 "+user+" 500" {
					t.Errorf("init %s, user %s: owners and modes: %s", init, user, got)
				}
				confinedCredentials(t, h, init)
				h.MustRun(t, "systemctl stop cocker@cred")
			}
		}
		if status := statusOf(t, h, "cred"); !strings.Contains(status, `credential missing: the host has no credential "test.missing"`) {
			t.Errorf("no word of the missing one:\n%s", status)
		}
	})
}

func confinedCredentials(t *testing.T, h *host.Host, init string) {
	t.Helper()
	for _, attempt := range []string{
		"echo x >$d/own", "rm -f $d/own && ! test -e $d/own", "chmod 777 $d", "chown 5 $d/own", "touch $d/new", "mount -o remount,rw $d", "umount $d",
		"mount -o remount,bind,rw $d",
	} { // by nsenter: with all capabilities over the container's namespaces
		if r := h.Run(t, `exec nsenter --all --target "$(systemctl show -P MainPID cocker@cred)" /bin/sh -c "$1"`, "d=/run/host/credentials; "+attempt); r.ExitCode == 0 {
			t.Errorf("init %s: %s is possible", init, attempt)
		}
	}
	if init == "none" {
		return
	}
	if got := h.MustRun(t, `cocker exec cred sh -c "$1"`, showSecrets); got != shownSecrets {
		t.Errorf("exec: %q", got)
	}
	if r := h.Run(t, `cocker exec -u 1001 cred sh -c 'cat $CREDENTIALS_DIRECTORY/own || ls $CREDENTIALS_DIRECTORY'`); r.ExitCode == 0 {
		t.Errorf("another user: %s", r.Stdout)
	}
}

// absent begins a script with a way to say that no file has a secret: "!" is no failure for
// "set -e". The pattern is none for the script's own command line.
const absent = `absent() { if grep -as 's3cr[1]t' "$@" >&2; then exit 1; fi; }
`

// asNobody begins a script with a way to run a command as an ordinary user.
const asNobody = `as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
`

// A secret is in its file and in the container, and in nothing that is written, logged,
// shown or readable for others.
func TestCredentialsAreNowhereElse(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer secretFiles(t, h)()
		since := now(t, h)
		startSecret(t, h, "cred", "image = 'demo'\nnetwork.mode = 'none'\nuser = '1000'\ncommand = ['sleep', '100000']\n"+secrets(t, h))
		h.MustRun(t, absent+`set -e
			cocker commit cred secret:1 >/dev/null; cocker export cred >/run/exported.tar; cocker checkout secret:1 copy >/dev/null
			cocker cp cred:/run /run/copied 2>/dev/null; find /run/copied | grep credentials
			cocker set cred --memory 100M >/dev/null; [ "$(stat -c %a /etc/cocker/containers/cred.toml)" = 600 ]
			{ cocker inspect cred; cocker inspect --json cred; cocker ps --json; cocker diff cred; cat /run/cocker/state/cred.json; systemctl show cocker@cred; systemctl cat cocker@cred; cocker check
				/usr/lib/systemd/system-generators/cocker-generator --dry-run; journalctl --since="$1" -o export; } >/run/told 2>&1
			grep -q test.missing /run/told
			absent /run/told
			absent -r /var/lib/cocker /run/cocker /run/systemd /run/exported.tar /run/copied
			absent /proc/[0-9]*/environ /proc/[0-9]*/cmdline
			grep -qa 's3cr[1]t' "/proc/$(systemctl show -P MainPID cocker@cred)/root/run/host/credentials/own"
			rm -r /run/told /run/exported.tar /run/copied`, since)
		if r := h.Run(t, `cocker cp cred:/run/host/credentials/own /run/x`); r.ExitCode == 0 || !strings.Contains(r.Stderr, "are not copied") {
			t.Errorf("cocker cp: %+v", r)
		}
		// What everybody may read and ask.
		h.MustRun(t, absent+asNobody+`set -e
			as_nobody grep -rasl 's3cr[1]t' /run /etc /var/lib/cocker /proc/[0-9]*/environ >/run/told || :
			as_nobody systemctl show cocker@cred >>/run/told
			as_nobody busctl --json=short get-property org.freedesktop.systemd1 /org/freedesktop/systemd1/unit/cocker_40cred_2eservice org.freedesktop.systemd1.Service SetCredential >>/run/told
			as_nobody busctl --json=short get-property org.freedesktop.systemd1 /org/freedesktop/systemd1/unit/cocker_40cred_2eservice org.freedesktop.systemd1.Service LoadCredential >>/run/told
			grep -q /srv/secrets/file /run/told; absent /run/told; [ "$(grep -c '^/' /run/told)" = 0 ]; rm /run/told`)
	})
}

// Errors tell what to do, and a template has the same values.
func TestCredentialErrors(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer secretFiles(t, h)()
		h.MustRun(t, `head -c 700000 /dev/zero >/srv/secrets/large; head -c 1100000 /dev/zero >/srv/secrets/huge; echo x >/srv/t; ls >/srv/secrets/plain`)
		const file = "image = 'demo'\nnetwork.mode = 'none'\n"
		refused(t, h, "bad", file+"[credentials]\nown = { set = 's3cr1t' }\n", "bad.toml:4: credentials.own.set: everybody can read this file")
		h.MustRun(t, `set -e; cocker check 2>/run/problems && exit 1; grep -q 'credentials.own.set: everybody can read this file' /run/problems
			chmod 640 /etc/cocker/containers/bad.toml; cocker check; systemctl start cocker@bad; systemctl stop cocker@bad
			mkdir /etc/cocker/containers/bad.toml.d; printf '[credentials]\nown = { set = "s3cr1t" }\n' >/etc/cocker/containers/bad.toml.d/1.toml
			cocker check 2>/run/problems && exit 1; grep -q '^/etc/cocker/containers/bad.toml.d/1.toml:2:' /run/problems; rm -r /etc/cocker/containers/bad.toml.d /run/problems`)
		for line, reason := range map[string]string{
			"a = { load = '/srv/secrets/none' }":                                        "CREDENTIALS",
			"a = { load = '/srv/secrets/huge' }":                                        "CREDENTIALS",
			"a = { encrypted = '/srv/secrets/plain' }":                                  "CREDENTIALS",
			"b = { encrypted = '/srv/secrets/enc' }":                                    "CREDENTIALS", // its name is in it
			"a = { load = 'x', encrypted = 'y' }":                                       "must have one of the keys load, encrypted, set, set_encrypted",
			"a.b = { load = '/x' }":                                                     `a name with a dot needs quotes: "a.b"`,
			"'../a' = { load = '/x' }":                                                  "is no name of a credential",
			"a = { laod = '/x' }":                                                       `unknown key "laod" in credentials.a (did you mean "load"?)`,
			"a = { load = '/srv/t' }\n[service]\nLoadCredential = 'a:/srv/secrets/dir'": "[service] has LoadCredential= of that name",
		} {
			refused(t, h, "bad", file+"[credentials]\n"+line+"\n", reason)
		}
		declareSecret(t, h, "bad", file+"[credentials]\na = { load = '/srv/secrets/large' }\nb = { set = '"+strings.Repeat("x", 500_000)+"' }\n")
		failsToStart(t, h, "bad", "the credentials have 1200000 bytes; all of a container together may have 1048576")

		h.WriteFile(t, "/srv/t.tpl", "${A} ${B}\n", 0o600)
		startSecret(t, h, "bad", file+"command = ['sleep', '100000']\ntemplate = [{ host_source = '/srv/t.tpl', target = '/t', credentials = { A = 'own', B = 'f' } }]\n"+
			"[credentials]\nown = { set = 's3cr1t-own' }\nf = { load = '/srv/secrets/file' }\n")
		if got := inside(t, h, "bad", "cat /t"); got != "s3cr1t-own s3cr1t-file" {
			t.Errorf("filled in: %q", got)
		}
	})
}

// A container without a unit's credentials, in the foreground, and a transient unit.
func TestCredentialsOfRun(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer secretFiles(t, h)()
		const flags = `--load-credential f:/srv/secrets/file --load-credential test.stored --load-credential-encrypted enc:/srv/secrets/enc`
		const want = "/run/host/credentials\nenc=own0s3cr1t-encrypted\nf=s3cr1t-filen\ntest.stored=s3cr1t-storen"
		// Those of the caller's unit are not the container's.
		if got := h.MustRun(t, `systemd-run --quiet --pipe --wait -p SetCredential=f:other cocker run --rm `+flags+` demo sh -c "$1"`, showSecrets); got != want {
			t.Errorf("in the foreground: %q", got)
		}
		h.MustRun(t, `cocker run -d --name back `+flags+` demo sleep 100000`)
		if got := h.MustRun(t, `cocker exec back sh -c "$1"`, showSecrets); got != want {
			t.Errorf("detached: %q", got)
		}
		h.MustRun(t, `set -e; cocker rm -f back
			cocker create `+flags+` made demo sleep 100000 && systemctl daemon-reload && systemctl start cocker@made`)
		if got := h.MustRun(t, `cocker exec made sh -c "$1"`, showSecrets); got != want {
			t.Errorf("of a file: %q", got)
		}
		// A key that systemd has not read yet counts at the next start all the same.
		h.MustRun(t, `printf '"late" = { load = "/srv/secrets/file" }\n' >/run/late; sed -i '/^\[credentials\]/r /run/late' /etc/cocker/containers/made.toml; rm /run/late
			systemctl restart cocker@made && [ "$(cocker exec made sh -c 'cat $CREDENTIALS_DIRECTORY/late')" = s3cr1t-file ]`)
		if r := h.Run(t, `cocker run --rm --load-credential f:/srv/secrets/none demo true`); r.ExitCode == 0 || !strings.Contains(r.Stderr, "credential f: open /srv/secrets/none") {
			t.Errorf("a file that is not there: %+v", r)
		}
	})
}

// Of several processes they are for the user of main, and not for another one's.
func TestCredentialsOfProcesses(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		const look = `command = ["sh", "-c", "{ id -u; cat $CREDENTIALS_DIRECTORY/own; ls $CREDENTIALS_DIRECTORY; } >/tmp/$0 2>&1; touch /tmp/$0.ready; trap 'exit 0' TERM; sleep 100000 & wait", "%s"]` + "\n"
		startSecret(t, h, "cred", "image = 'demo'\nnetwork.mode = 'none'\nuser = '1002'\n[credentials]\nown = { set = \"s3cr1t\\n\" }\n"+
			"[process.main]\nuser = '1000'\n"+fmt.Sprintf(look, "main")+"[process.other]\nuser = '1001'\n"+fmt.Sprintf(look, "other"))
		h.WaitFor(t, eventually, "the processes", `cd "/proc/$(systemctl show -P MainPID cocker@cred)/root/tmp" && [ -e main.ready ] && [ -e other.ready ]`)
		if got := inside(t, h, "cred", "cat /tmp/main"); got != "1000\ns3cr1t\nown" {
			t.Errorf("main: %q", got)
		}
		if got := inside(t, h, "cred", "cat /tmp/other"); strings.Contains(got, "s3cr1t") || strings.Contains(got, "own\n") || strings.Count(got, "Permission denied") != 2 {
			t.Errorf("the other: %q", got)
		}
	})
}

// A systemd in the container has them as credentials of the system, and hands them on.
func TestCredentialsOfBootedImage(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		defer secretFiles(t, h)()
		h.ImportMachine(t, "debian:13")
		startSecret(t, h, "booted", booting+secrets(t, h))
		if got := h.MustRun(t, `cocker exec booted systemd-creds --system cat file.a`); got != "s3cr1t-file" {
			t.Errorf("of the system: %q", got)
		}
		if got := h.MustRun(t, `systemd-run -M booted --quiet --pipe --wait -p LoadCredential=own -p DynamicUser=yes sh -c 'tr "\\0" 0 <$CREDENTIALS_DIRECTORY/own'`); got != `s3cr1t-0"%i` {
			t.Errorf("of a service: %q", got)
		}
		if got := h.MustRun(t, `systemctl -M booted --failed --no-legend; cocker exec booted sh -c 'stat -c "%u %a" /run/host/credentials'`); got != "0 500" {
			t.Errorf("in a booted image: %q", got)
		}
	})
}
