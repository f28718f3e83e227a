package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// Who is not root gets nothing by default: no command does something, no socket and no
// file is open, and systemd and machined refuse.
func TestOrdinaryUsersGetNothing(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		startSecret(t, h, "web", "image = 'demo'\ncommand = ['sh', '-c', 'echo s3cr1t >/file; exec sleep 100000']\n[credentials]\nown = { set = 's3cr1t' }\n")
		h.MustRun(t, `set -e; cocker create other demo; mkdir -p /srv/open -m 777; cocker volume create data >/dev/null`)
		const state = `md5sum /etc/cocker/containers/*; systemctl show -p InvocationID,ActiveState,MemoryMax 'cocker@*'; cocker ps --all --json | jq -c '.[]|del(.since)'; cocker image ls --json; cocker volume ls --json; cocker network ls --json`
		before := h.MustRun(t, state)
		for _, command := range []string{
			"start other", "stop web", "restart web", "kill web", "exec web true", "shell web", "login web", "sessions web", "process restart web main", "ps", "ps web", "inspect web",
			"rm --force web", "rm other", "run --rm demo true", "run -d demo true", "create new demo", "set web --memory 1G", "cp web:/file /srv/open/x", "cp /etc/passwd web:/", "export web", "diff web",
			"commit web x:1", "checkout demo x", "render web", "image ls", "image rm demo", "image import /srv/open x:1", "image export demo /srv/open/demo.tar", "image pull registry.invalid/x", "image prune", "image inspect demo",
			"network ls", "network inspect cocker0", "network repair --all", "volume ls", "volume rm data", "volume create x", "volume export data", "system df", "system prune", "system check",
		} {
			r := h.Run(t, asNobody+`as_nobody timeout 20 cocker $1 </dev/null`, command)
			if r.ExitCode == 0 || !strings.Contains(r.Stderr, "only root may do this") && !strings.Contains(r.Stderr, "you may not") || r.Stdout != "" {
				t.Errorf("cocker %s: %+v", command, r)
			}
		}
		for _, command := range []string{
			"/usr/libexec/cocker/cocker-launch start other", "/usr/libexec/cocker/cocker-launch cleanup web", "/usr/libexec/cocker/cocker-launch network-down cocker0",
			"systemctl --no-ask-password start cocker@other", "systemctl --no-ask-password stop cocker@web", "systemctl --no-ask-password kill cocker@web",
			"systemctl --no-ask-password set-property cocker@web MemoryMax=1G", "systemctl --no-ask-password edit --runtime cocker@web", "systemctl --no-ask-password daemon-reload",
			"machinectl --no-ask-password terminate web", "machinectl --no-ask-password poweroff web", "machinectl --no-ask-password copy-from web /file /srv/open/x", "machinectl --no-ask-password shell web /bin/true",
			"busctl call org.freedesktop.machine1 /org/freedesktop/machine1 org.freedesktop.machine1.Manager OpenMachineLogin s web",
			"busctl call org.freedesktop.machine1 /org/freedesktop/machine1 org.freedesktop.machine1.Manager OpenMachineRootDirectory s web",
			"cat /etc/cocker/containers/web.toml", "ls /var/lib/cocker/containers", "ls /var/lib/cocker/layers", "ls /var/lib/cocker/oci", "ls /var/lib/cocker/volumes", "ls /run/cocker/control", "ls /run/credentials/cocker@web.service",
			"nsenter --all --target $(systemctl show -P MainPID cocker@web) true", "kill -9 $(systemctl show -P MainPID cocker@web)", "ls /proc/$(systemctl show -P MainPID cocker@web)/root/",
		} {
			if r := h.Run(t, asNobody+`eval "as_nobody timeout 20 $1" </dev/null`, command); r.ExitCode == 0 {
				t.Errorf("%s: %s", command, r.Stdout)
			}
		}
		if after := h.MustRun(t, state); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		if found := h.MustRun(t, asNobody+`{ as_nobody find /run/cocker /var/lib/cocker /etc/cocker -writable ! -type l; as_nobody find /run/cocker /var/lib/cocker -type s
			find /usr/bin/cocker /usr/libexec/cocker -perm /6000; as_nobody grep -rasl 's3cr[1]t' /run /etc /var/lib/cocker /proc/[0-9]*/environ; ls -A /srv/open; } 2>/dev/null; :`); found != "" {
			t.Errorf("open to others: %s", found)
		}
		h.MustRun(t, `cocker volume rm data >/dev/null`)
	})
}

// The example of a rule, which the manual has too, lets one user, and those of a group,
// start, stop and log in to one container, and nothing else.
func TestPolkitRule(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a test host needs root: run this test as root")
	}
	rule, err := os.ReadFile("../examples/50-cocker.rules")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/man/cocker-polkit.7")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.ReplaceAll(string(page), `\-`, "-"), string(rule)) {
		t.Error("cocker-polkit(7) has another rule than the example")
	}
	for _, release := range host.Releases() {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			packages := polkitPackages(t, release)
			h := host.Start(t, release, host.WithCocker())
			installPolkit(t, h, packages)
			h.MustRun(t, `cocker image demo >/dev/null; for user in alice bob carol; do useradd "$user"; done; groupadd web-operators; gpasswd -a carol web-operators`)
			for _, name := range []string{"web", "db"} {
				startSecret(t, h, name, "image = 'demo'\ncommand = ['sleep', '100000']\nnetwork.mode = 'none'\n[credentials]\nown = { set = 's3cr1t' }\n")
			}
			polkitDecides(t, h, string(rule))
		})
	}
}

// openLogin is what "machinectl login" asks machined for, and needs no terminal.
const openLogin = "busctl call org.freedesktop.machine1 /org/freedesktop/machine1 org.freedesktop.machine1.Manager OpenMachineLogin s "

func polkitDecides(t *testing.T, h *host.Host, rule string) {
	t.Helper()
	as := func(user, command string) host.Result {
		t.Helper()
		return h.Run(t, `runuser -u "$1" -- timeout 60 sh -c "$2" </dev/null`, user, command)
	}
	permitted := []string{
		"systemctl --no-ask-password stop cocker@web", "systemctl --no-ask-password start cocker@web", "systemctl --no-ask-password restart cocker@web",
		"cocker stop web", "cocker start web", "cocker restart web", openLogin + "web",
	}
	for _, command := range permitted {
		if r := as("alice", command); r.ExitCode == 0 {
			t.Errorf("without a rule: %s", command)
		}
	}
	h.WriteFile(t, "/etc/polkit-1/rules.d/50-cocker.rules", rule, 0o644)
	h.WaitFor(t, eventually, "polkit to read the rule", `runuser -u alice -- systemctl --no-ask-password start cocker@web`)
	for _, user := range []string{"alice", "carol"} {
		for _, command := range permitted {
			if r := as(user, command); r.ExitCode != 0 {
				t.Errorf("%s: %s: %+v", user, command, r)
			}
		}
		if got := h.MustRun(t, `systemctl is-active cocker@web`); got != "active" {
			t.Errorf("after all: %s", got)
		}
		for _, command := range []string{
			"systemctl --no-ask-password stop cocker@db", "cocker stop db", "cocker start web db", openLogin + "db", "systemctl --no-ask-password kill cocker@web",
			"systemctl --no-ask-password set-property --runtime cocker@web MemoryMax=1G", "systemctl --no-ask-password daemon-reload", "systemctl --no-ask-password enable cocker@web",
			"machinectl --no-ask-password shell web /bin/true", "machinectl --no-ask-password terminate web", "cocker kill web", "cocker exec web true", "cocker inspect web", "cocker rm -f web",
			"cat /etc/cocker/containers/web.toml", "systemctl --no-ask-password start cocker-cleanup@web",
		} {
			if r := as(user, command); r.ExitCode == 0 {
				t.Errorf("%s: %s: %+v", user, command, r)
			}
		}
	}
	if r := as("alice", "cocker stop db"); r.Stderr != "cocker: stop: you may not stop db: use sudo, or ask the administrator for a polkit rule, see cocker-polkit(7)\n" {
		t.Errorf("cocker stop db: %s", r.Stderr)
	}
	for command, hint := range map[string]string{"login web": `"machinectl login NAME"`, "shell web": `"machinectl shell NAME"`, "ps": "systemctl list-units"} {
		if r := as("alice", "cocker "+command); !strings.Contains(r.Stderr, hint) {
			t.Errorf("cocker %s: %s", command, r.Stderr)
		}
	}
	for _, command := range permitted {
		if r := as("bob", command); r.ExitCode == 0 {
			t.Errorf("bob: %s", command)
		}
	}
	h.MustRun(t, `systemctl is-active cocker@web cocker@db && [ "$(systemctl show -P MemoryMax cocker@web)" = infinity ] && rm /etc/polkit-1/rules.d/50-cocker.rules`)
	h.WaitFor(t, eventually, "polkit to forget the rule", `! runuser -u alice -- systemctl --no-ask-password start cocker@web`)
}

// installPolkit installs Debian's polkitd, without logind, and without xml-core, which only
// makes catalogues.
func installPolkit(t *testing.T, h *host.Host, dir string) {
	t.Helper()
	files, err := filepath.Glob(dir + "/*.deb")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		h.WriteFile(t, "/root/polkit/"+filepath.Base(file), string(content), 0o644)
	}
	h.MustRun(t, `ln -s /bin/true /usr/sbin/update-xmlcatalog; DEBIAN_FRONTEND=noninteractive dpkg --force-depends -i /root/polkit/*.deb >&2 && systemctl start polkit && busctl status org.freedesktop.PolicyKit1 >/dev/null`)
}

// polkitPackages are Debian's polkitd and the libraries that the roots of the hosts lack,
// in a directory that is kept. The machine that runs the tests fetches them: a host has no
// network, and a package more in the recipe would be one for every test.
func polkitPackages(t *testing.T, release host.Release) string {
	t.Helper()
	cache := os.Getenv("COCKER_TEST_CACHE")
	if cache == "" {
		cache = "../.cache"
	}
	dir := filepath.Join(cache, "polkit-"+string(release))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	onMachine(t, `release=$1; dir=$2; mirror=${COCKER_TEST_MIRROR:-http://deb.debian.org/debian}
		mkdir -p "$(dirname "$dir")"; new=$(mktemp -d "$dir.XXXXXX"); apt=$(mktemp -d); trap 'rm -rf "$apt" "$new"' EXIT
		mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"; : >"$apt/status"
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" >"$apt/sources.list"
		set -- -q -o Dir::State="$apt" -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" \
			-o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root -o Acquire::Languages=none
		apt-get "$@" update
		(cd "$new"; apt-get "$@" download polkitd libpolkit-gobject-1-0 libpolkit-agent-1-0 libduktape207 libexpat1)
		mv -T "$new" "$dir" 2>/dev/null || [ -d "$dir" ]`, string(release), dir)
	return dir
}
