package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cocker/cocker/tests/host"
)

// The package, on hosts that have never had cocker: installed, upgraded under
// running containers, removed, purged. What purge leaves is what was there before.
func TestPackage(t *testing.T) {
	first := buildPackage(t)
	t.Run("lintian", func(t *testing.T) { lintian(t, first) })
	next := nextVersion(t, first)
	onBareHosts(t, host.Releases(), first, next, func(t *testing.T, h *host.Host, before host.Leftovers) {
		installPackage(t, h)
		startPackaged(t, h)
		upgradePackage(t, h, "next", "next", "first", "next")
		removalFails(t, h)
		removePackage(t, h, before)
		purgeBesideAnotherInstallation(t, h)
		purgeKeepsWhatIsNotOurs(t, h)
		purgePackage(t, h)
	})
}

// The same on a whole machine, as far as it may differ from namespaces.
func TestVMPackage(t *testing.T) {
	if !*host.InVirtualMachines {
		t.Skip("TestPackage does this, and more, where no machine is emulated: run with -vm")
	}
	first := buildPackage(t)
	onBareHosts(t, []host.Release{host.Trixie}, first, nextVersion(t, first), func(t *testing.T, h *host.Host, _ host.Leftovers) {
		installPackage(t, h)
		startPackaged(t, h)
		upgradePackage(t, h, "next")
		h.MustRun(t, `rm -r /etc/cocker/containers/* /run/cocker/containers/*`)
		purgeRunning(t, h, "db, front, job, web")
	})
}

// onBareHosts runs a test on a host of each of the releases that has the files of two
// packages. When it is over the host must be as it was.
func onBareHosts(t *testing.T, releases []host.Release, first, next string, test func(t *testing.T, h *host.Host, before host.Leftovers)) {
	t.Helper()
	for _, release := range releases {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			h := host.Start(t, release)
			sendPackages(t, h, first, next)
			before, files := h.Snapshot(t), hostFiles(t, h)
			test(t, h, before)
			h.AssertClean(t, before)
			if diff := diffLines(files, hostFiles(t, h)); diff != "" {
				t.Errorf("files that purge has left (+) or taken (-):\n%s", diff)
			}
		})
	}
}

// buildPackage builds the package as its users do and returns its file.
func buildPackage(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a test host needs root: run this test as root")
	}
	if _, err := exec.LookPath("dh"); err != nil {
		t.Skip("building the package needs debhelper: apt-get install debhelper")
	}
	dir := t.TempDir()
	checkout, err := host.Checkout()
	if err != nil {
		t.Fatal(err)
	}
	onMachine(t, `cd "$1" && unset MAKEFLAGS MAKEOVERRIDES MFLAGS && exec make deb DIST="$2"`, checkout, dir)
	found, err := filepath.Glob(dir + "/cocker_*.deb")
	if err != nil || len(found) != 1 {
		t.Fatalf("make deb made %v, %v", found, err)
	}
	return found[0]
}

// onMachine runs a shell script on the machine that runs the tests.
func onMachine(t *testing.T, script string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-ec", script, "sh"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// lintian has nothing against the package that debian/cocker.lintian-overrides does
// not explain.
func lintian(t *testing.T, file string) {
	if _, err := exec.LookPath("lintian"); err != nil {
		t.Skip("needs lintian: apt-get install lintian")
	}
	if out := onMachine(t, `exec lintian --allow-root --fail-on error,warning "$1"`, file); strings.Contains(out, "cocker: ") {
		t.Errorf("lintian says:\n%s", out)
	}
}

// nextVersion packs a package again, as a higher version whose units have changed.
func nextVersion(t *testing.T, file string) string {
	t.Helper()
	next := filepath.Join(t.TempDir(), "next.deb")
	onMachine(t, `tree=$(mktemp -d "$3/XXXXXX")
		dpkg-deb -R "$1" "$tree"
		sed -i 's/^Version:.*/&+next/' "$tree"/DEBIAN/control
		sed -i 's/^Documentation=.*/& man:next(1)/' "$tree"/usr/lib/systemd/system/cocker@.service
		cd "$tree"
		find . -type f ! -path './DEBIAN/*' -printf '%P\0' | xargs -0 md5sum >DEBIAN/md5sums
		dpkg-deb --root-owner-group -Zgzip -z1 -b . "$2"`, file, next, t.TempDir())
	return next
}

func sendPackages(t *testing.T, h *host.Host, first, next string) {
	t.Helper()
	for path, file := range map[string]string{"/root/first.deb": first, "/root/next.deb": next} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		h.WriteFile(t, path, string(content), 0o644)
	}
}

// hostFiles lists the files of the host but for what dpkg and the host's own
// services write about themselves.
func hostFiles(t *testing.T, h *host.Host) []string {
	t.Helper()
	list := h.MustRun(t, `cd /run/systemd; find / /var/lib/cocker /run/cocker system transient generator system.control \
		-xdev -printf '%p %y %m %U:%G %l\n' 2>/dev/null; :`)
	// systemd makes /run/systemd/transient when it is first needed, and keeps it.
	own := regexp.MustCompile(`^(/var/(lib/dpkg|lib/systemd/timers|lib/systemd/random-seed|log|cache|tmp)|/tmp|transient)[/ ]`)
	lines := slices.DeleteFunc(strings.Split(list, "\n"), func(line string) bool {
		return own.MatchString(line)
	})
	slices.Sort(lines)
	return lines
}

func diffLines(before, after []string) string {
	var diff strings.Builder
	for _, line := range before {
		if _, found := slices.BinarySearch(after, line); !found {
			diff.WriteString("- " + line + "\n")
		}
	}
	for _, line := range after {
		if _, found := slices.BinarySearch(before, line); !found {
			diff.WriteString("+ " + line + "\n")
		}
	}
	return diff.String()
}

// dpkg runs dpkg, which must succeed and leave nothing half done, and returns what
// it and the maintainer scripts said.
func dpkg(t *testing.T, h *host.Host, args ...string) string {
	t.Helper()
	said := h.MustRun(t, `exec dpkg "$@" 2>&1`, args...)
	if audit := h.MustRun(t, `dpkg --audit`); audit != "" {
		t.Errorf("after dpkg %v, dpkg --audit says:\n%s", args, audit)
	}
	return said
}

// assertIntact asserts that the package's files are as dpkg has unpacked them.
func assertIntact(t *testing.T, h *host.Host) {
	t.Helper()
	if changed := h.Run(t, `dpkg --verify cocker`); changed.Stdout != "" || changed.ExitCode != 0 {
		t.Errorf("dpkg --verify:\n%s%s", changed.Stdout, changed.Stderr)
	}
}

// installPackage asserts that an installation starts and enables nothing, not even
// what was declared before it, but that systemd knows it all.
func installPackage(t *testing.T, h *host.Host) {
	t.Helper()
	declared := "image = \"demo:1.0\"\n[install]\nwanted_by = [\"multi-user.target\"]\n"
	h.WriteFile(t, "/etc/cocker/containers/early.toml", declared, 0o644)
	dpkg(t, h, "-i", "/root/first.deb")
	assertIntact(t, h)
	if units := h.MustRun(t, `systemctl list-units --plain --no-legend 'cocker*'`); units != "" {
		t.Errorf("the installation has started:\n%s", units)
	}
	h.MustRun(t, `test -z "$(find /etc/systemd/system /run/systemd/system -name '*cocker*')"`)
	if state := h.Run(t, `systemctl is-enabled cocker@other`).Stdout; state != "disabled\n" {
		t.Errorf("is-enabled of any container: %q", state)
	}
	h.MustRun(t, `systemctl preset cocker@other 2>/dev/null; ! systemctl -q is-enabled cocker@other`)
	if source := h.MustRun(t, `systemctl show -P SourcePath cocker@early`); source != "/etc/cocker/containers/early.toml" {
		t.Errorf("after the installation SourcePath= of a declared container is %q", source)
	}
	const want = "/etc/cocker 755\n/etc/cocker/containers 755\n/run/cocker 755\n/var/lib/cocker 755\n" +
		"/var/lib/cocker/containers 700\n/var/lib/cocker/layers 700\n/var/lib/cocker/oci 700"
	got := h.MustRun(t, `stat -c '%n %a' /etc/cocker /etc/cocker/containers /run/cocker /var/lib/cocker /var/lib/cocker/containers /var/lib/cocker/layers /var/lib/cocker/oci`)
	if got != want {
		t.Errorf("directories:\n%s\nwant:\n%s", got, want)
	}
	h.MustRun(t, `rm /etc/cocker/containers/early.toml; systemctl daemon-reload`)
}

// packaged are the units of the containers that startPackaged starts.
func packaged() []string {
	return []string{"cocker@web.service", "cocker@db.service", "cocker-job.service", "cocker-front.scope"}
}

// startPackaged starts containers of every kind: of a file, enabled or not, and of
// "cocker run".
func startPackaged(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `exec >/dev/null
		cocker image demo
		cocker create -p 8080:80 web demo
		cocker create -p 8081:80 db demo
		systemctl enable cocker@web
		systemctl start cocker@web cocker@db
		cocker run -d --name job demo sleep 100000`)
	h.MustRun(t, `setsid cocker run --rm --name front demo sleep 100000 </dev/null >/dev/null 2>&1 &`)
	h.WaitFor(t, time.Minute, "the container in the foreground", `cocker ps --json | jq -e 'map(select(.state == "running")) | length == 4'`)
	inside(t, h, "web", `echo precious >/kept; sync /kept`)
	assertServing(t, h, "8080")
	assertServing(t, h, "8081")
}

func assertServing(t *testing.T, h *host.Host, port string) {
	t.Helper()
	if r := h.Outside(t, `curl -sf --retry 20 --retry-delay 1 --retry-connrefused --connect-timeout 10 http://192.0.2.1:"$1"/`, port); !strings.Contains(r.Stdout, "html") {
		t.Errorf("port %s: exit status %d, %s%s", port, r.ExitCode, r.Stdout, r.Stderr)
	}
}

// lives are what changes when a container is stopped, restarted or told anything.
func lives(t *testing.T, h *host.Host) string {
	t.Helper()
	return h.MustRun(t, `systemctl show -p Id,MainPID,InvocationID,NRestarts,ActiveState,ActiveEnterTimestampMonotonic,StateChangeTimestampMonotonic "$@"
		ip -o link | sed 's/ qlen.*//'`, packaged()...)
}

// upgradePackage asserts that containers notice no upgrade, no second installation
// of the same version and no downgrade, that systemd has the new units after each of
// the versions, and that a restart brings the new programs.
func upgradePackage(t *testing.T, h *host.Host, versions ...string) {
	t.Helper()
	before, ran := h.Snapshot(t), lives(t, h)
	for _, version := range versions {
		dpkg(t, h, "-i", "/root/"+version+".deb")
		assertIntact(t, h)
		if now := lives(t, h); now != ran {
			t.Fatalf("dpkg -i %s.deb changed containers from\n%s\nto\n%s", version, ran, now)
		}
		h.AssertClean(t, before)
		if got := h.MustRun(t, `systemctl show -P Documentation cocker@web`); strings.Contains(got, "man:next(1)") != (version == "next") {
			t.Errorf("after dpkg -i %s.deb systemd has the unit with Documentation=%s", version, got)
		}
	}
	assertServing(t, h, "8080")
	const newProgram = `[ /proc/"$(systemctl show -P MainPID cocker@web)"/exe -ef /usr/libexec/cocker/cocker-init ]`
	h.MustRun(t, `! `+newProgram)
	h.MustRun(t, `systemctl restart cocker@web && `+newProgram)
	assertServing(t, h, "8080")
}

// removalFails asserts that a container that does not stop makes the removal fail,
// and keeps all that it needs.
func removalFails(t *testing.T, h *host.Host) {
	t.Helper()
	const dropIn = "/run/systemd/system/cocker@db.service.d/refuse.conf"
	h.WriteFile(t, dropIn, "[Unit]\nRefuseManualStop=yes\n", 0o644)
	h.MustRun(t, `systemctl daemon-reload`)
	pid := mainPID(t, h, "db")
	r := h.Run(t, `dpkg -r cocker`)
	for _, want := range []string{
		"Stopping containers, which cannot run without cocker: db, front, job, web\n",
		"cocker cannot be removed: db did not stop", "systemctl status cocker@db.service",
	} {
		if r.ExitCode == 0 || !strings.Contains(r.Stdout+r.Stderr, want) {
			t.Errorf("%q is not in what a removal says that fails with %d:\n%s%s", want, r.ExitCode, r.Stdout, r.Stderr)
		}
	}
	if now := mainPID(t, h, "db"); now != pid || now == "0" {
		t.Errorf("the container that does not stop had PID 1 %s, and has %s", pid, now)
	}
	if t.Failed() {
		t.FailNow()
	}
	assertServing(t, h, "8081")
	if status := h.MustRun(t, `dpkg --audit; dpkg-query -W -f '${db:Status-Status}' cocker`); status != "installed" {
		t.Errorf("after a removal that failed the package is %s", status)
	}
	assertIntact(t, h)
	h.MustRun(t, `rm -r "$(dirname "$1")"; systemctl daemon-reload; systemctl start cocker@web`, dropIn)
}

// removePackage asserts that a removal names the containers that it stops, leaves
// nothing of them but their files, images and data, and that these are good again
// when the package comes back.
func removePackage(t *testing.T, h *host.Host, before host.Leftovers) {
	t.Helper()
	h.MustRun(t, `cocker run -d --name job2 demo sleep 100000 >/dev/null`)
	if said := dpkg(t, h, "-r", "cocker"); !strings.Contains(said, "Stopping containers, which cannot run without cocker: db, job2, web") {
		t.Errorf("dpkg -r says:\n%s", said)
	}
	assertNothingRuns(t, h, before)
	h.MustRun(t, `test "$(dpkg-query -W -f '${db:Status-Status}' cocker)" = config-files
		test -z "$(find /run/cocker -type f ! -path '/run/cocker/containers/*')"
		test -e /etc/cocker/containers/web.toml -a -L /etc/systemd/system/multi-user.target.wants/cocker@web.service
		test -e /var/lib/cocker/containers/db -a -s /var/lib/cocker/oci/index.json`)
	reinstall(t, h)
	h.MustRun(t, `systemctl start cocker@web cocker@db`)
	assertServing(t, h, "8080")
	if kept := inside(t, h, "web", "cat /kept"); kept != "precious" {
		t.Errorf("the container's file after remove and install is %q", kept)
	}
}

// assertNothingRuns asserts that nothing is left of containers but files.
func assertNothingRuns(t *testing.T, h *host.Host, before host.Leftovers) {
	t.Helper()
	diff := ""
	for range 20 {
		after := h.Snapshot(t)
		for _, mayStay := range []string{"state file", "runtime file"} {
			after[mayStay] = before[mayStay]
		}
		// That it is enabled stays, and makes systemd look for it.
		after["unit"] = slices.DeleteFunc(after["unit"], func(unit string) bool { return unit == "cocker@web.service inactive dead" })
		if diff = host.Diff(before, after); diff == "" {
			return
		}
	}
	t.Errorf("a removal left behind (+) or took (-):\n%s", diff)
}

func reinstall(t *testing.T, h *host.Host) {
	t.Helper()
	dpkg(t, h, "-i", "/root/first.deb")
	assertIntact(t, h)
}

// purgeBesideAnotherInstallation: who removed the package and ran "make install"
// still has containers.
func purgeBesideAnotherInstallation(t *testing.T, h *host.Host) {
	t.Helper()
	const launcher = "/usr/libexec/cocker/cocker-launch"
	dpkg(t, h, "-r", "cocker")
	h.WriteFile(t, launcher, "#!/bin/sh\n", 0o755)
	said := dpkg(t, h, "-P", "cocker")
	if !strings.Contains(said, "cocker is installed without the package now: its files all stay.") {
		t.Errorf("dpkg -P beside another installation says:\n%s", said)
	}
	h.MustRun(t, `test -s /var/lib/cocker/oci/index.json -a -e /var/lib/cocker/containers/web && rm -r "$(dirname "$1")"`, launcher)
	reinstall(t, h)
}

// purgeKeepsWhatIsNotOurs asserts that a purge under running containers goes
// neither through a mount nor through a link, not even one whose file system is the
// same, and keeps what the administrator wrote, and says so.
func purgeKeepsWhatIsNotOurs(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -e
		systemctl start cocker@web cocker@db
		mkdir -p /srv/precious /run/precious "/var/lib/cocker/containers/db/upper/a b/mnt" /var/lib/cocker/containers/old/mnt /run/cocker/containers/mnt
		echo kept >/srv/precious/file; echo kept >/run/precious/file
		mount --bind /srv/precious "/var/lib/cocker/containers/db/upper/a b/mnt"
		mount --bind /run/precious /run/cocker/containers/mnt
		ln -s /srv/precious /var/lib/cocker/containers/db/upper/link
		ln -s /srv/precious /var/lib/cocker/link
		rm /etc/cocker/containers/db.toml
		mkdir -p /etc/cocker/containers/web.toml.d /etc/systemd/system/cocker@web.service.d
		printf '[Unit]\n' >/etc/systemd/system/cocker@web.service.d/override.conf
		ln -s /etc/other.service /etc/systemd/system/multi-user.target.wants/other.service`)
	said := dpkg(t, h, "-P", "cocker")
	for _, want := range []string{
		"Stopping containers, which cannot run without cocker: db, web\n",
		"Not removed, as something is mounted there: /var/lib/cocker/containers/db/upper/a b/mnt\n",
		"Not removed, as something is mounted there: /run/cocker/containers/mnt\n",
		"Not removed, as the files in it are yours: /etc/cocker\n",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in what dpkg -P said:\n%s", want, said)
		}
	}
	h.MustRun(t, `test -s /srv/precious/file -a -s /run/precious/file -a -s /etc/cocker/containers/web.toml
		test -e /etc/systemd/system/cocker@web.service.d/override.conf -a -L /etc/systemd/system/multi-user.target.wants/other.service`)
	left := h.MustRun(t, `find /var/lib/cocker /run/cocker -mindepth 1 ! -path '*/mnt/*' | sort; find /etc/cocker -mindepth 1; find /etc/systemd -name 'cocker@*.service'`)
	const want = "/run/cocker/containers\n/run/cocker/containers/mnt\n/var/lib/cocker/containers\n/var/lib/cocker/containers/db\n" +
		"/var/lib/cocker/containers/db/upper\n/var/lib/cocker/containers/db/upper/a b\n/var/lib/cocker/containers/db/upper/a b/mnt\n" +
		"/etc/cocker/containers\n/etc/cocker/containers/web.toml"
	if left != want {
		t.Errorf("purge left\n%s\nwant\n%s", left, want)
	}
	h.MustRun(t, `set -e; umount "/var/lib/cocker/containers/db/upper/a b/mnt" /run/cocker/containers/mnt
		rm -r /srv/precious /run/precious /run/cocker/containers /var/lib/cocker/* /etc/cocker /etc/systemd/system/cocker@web.service.d
		rm /etc/systemd/system/multi-user.target.wants/other.service`)
}

// purgePackage makes the package and a container come and go once more, after a
// purge, so that what is there then can be compared with the beginning.
func purgePackage(t *testing.T, h *host.Host) {
	t.Helper()
	reinstall(t, h)
	h.MustRun(t, `cocker image demo >/dev/null && cocker create -p 8080:80 web demo >/dev/null && systemctl enable --now cocker@web`)
	assertServing(t, h, "8080")
	h.MustRun(t, `rm /etc/cocker/containers/web.toml`) // stopped by its unit's name, all the same
	purgeRunning(t, h, "web")
}

// purgeRunning purges the package under running containers where there is nothing to keep.
func purgeRunning(t *testing.T, h *host.Host, containers string) {
	t.Helper()
	if said := dpkg(t, h, "-P", "cocker"); !strings.Contains(said, "without cocker: "+containers+"\n") || strings.Contains(said, "Not removed") {
		t.Errorf("dpkg -P under %s says:\n%s", containers, said)
	}
}
