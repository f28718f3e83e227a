package tests

import (
	"strconv"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// commented is a container's file as people write them.
const commented = `# The web server of the shop.
image = 'demo'   # small
command = ['httpd', '-f', '-h', '/srv/www']

[network]
ports = [
  '8080:80', # public
  # for the monitoring
  '127.0.0.1:8081:80',
]

[resources]
tasks_max = 64 # enough
memory_max = "64M"
`

func setFile(t *testing.T, h *host.Host, name string) string {
	t.Helper()
	return h.MustRun(t, "cat /etc/cocker/containers/$1.toml", name) + "\n"
}

// setRefused asserts that "cocker set" fails with words, and that no file has changed.
func setRefused(t *testing.T, h *host.Host, words string, arguments ...string) {
	t.Helper()
	const all = "cd /etc/cocker/containers && find . -type f -exec sha256sum {} + | sort; cat /run/cocker/state/*.json 2>/dev/null; nft list map inet cocker ports4"
	before := h.MustRun(t, all)
	r := h.Run(t, `cocker set "$@"`, arguments...)
	if r.ExitCode != 1 || !strings.Contains(r.Stderr, words) {
		t.Errorf("set %q: exit status %d, want 1 and %q:\n%s", arguments, r.ExitCode, words, r.Stderr)
	}
	if after := h.MustRun(t, all); after != before {
		t.Errorf("set %q was refused, and has changed\n%s\nto\n%s", arguments, before, after)
	}
}

// The file keeps its comments, its owner and its mode; ports lead to the running container
// at once, and those that are taken away do no more.
func TestSetPorts(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "web", commented)
		pid := mainPID(t, h, "web")
		h.MustRun(t, "chown 7:8 /etc/cocker/containers/web.toml; chmod 640 /etc/cocker/containers/web.toml")
		h.MustRun(t, get, "127.0.0.1:8080")
		page := h.MustRun(t, getOnce, "127.0.0.1:8080")
		h.MustRun(t, "cocker set web --port-add 8083:80 --port-rm 8081")
		want := strings.Replace(commented, "'127.0.0.1:8081:80'", "'8083:80'", 1)
		if got := setFile(t, h, "web"); got != want {
			t.Errorf("the file is\n%s\nwant\n%s", got, want)
		}
		if got := h.MustRun(t, "stat -c %u:%g:%a /etc/cocker/containers/web.toml; ls -A /etc/cocker/containers | xargs"); got != "7:8:640\nweb.toml" {
			t.Errorf("the file has %q", got)
		}
		for address, want := range map[string]string{"127.0.0.1:8080": page, "127.0.0.1:8083": page, hostAddress + ":8083": page, "127.0.0.1:8081": "nothing"} {
			if got := h.MustRun(t, getOnce, address, "5"); got != want {
				t.Errorf("%s gives %q", address, got)
			}
		}
		if got := strings.TrimSpace(h.Outside(t, getOnce, hostAddress+":8083", "30").Stdout); got != page {
			t.Errorf("outside gets %q", got)
		}
		// The same port of the host leads to another one of the container.
		h.MustRun(t, "cocker exec -d web httpd -f -p 81 -h /srv/www 2>/dev/null || cocker exec web sh -c 'httpd -p 81 -h /srv/www'")
		h.MustRun(t, "cocker set web -p 8080:81")
		if got := h.MustRun(t, getOnce, "127.0.0.1:8080"); got != page {
			t.Errorf("a port that was moved gives %q", got)
		}
		h.MustRun(t, `cocker set web --publish ""`)
		if got := h.MustRun(t, `nft list map inet cocker ports4 | grep web || echo none; jq '.ports | length' /run/cocker/state/web.json; grep ports /etc/cocker/containers/web.toml || echo none`); got != "none\n0\nnone" {
			t.Errorf("without ports there is left: %s", got)
		}
		if now := mainPID(t, h, "web"); now != pid {
			t.Errorf("PID 1 was %s and is %s", pid, now)
		}
	})
}

// What goes through a port ends when that is taken away; through others, it goes on.
func TestSetPortsEndsConnections(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTools(t, h)
		start(t, h, "chat", "images = ['demo', 'tools:1']\ncommand = ['socat', 'TCP-LISTEN:7,fork,reuseaddr', 'EXEC:cat']\n[network]\nports = ['9007:7', '9008:7']\n")
		// Each says what it gets, and "end" when the connection ends.
		const talk = `mkfifo /srv/to-$1; (socat - TCP:"$2:$1" </srv/to-$1 >/srv/from-$1 2>/dev/null; echo end >>/srv/from-$1) >/dev/null 2>&1 & sleep 1000000 >/srv/to-$1 2>/dev/null & echo $! >>/srv/pids`
		defer h.MustRun(t, "kill $(cat /srv/pids)")
		h.WaitFor(t, eventually, "the server", `[ "$(echo x | socat -t 5 - TCP:127.0.0.1:9007)" = x ]`)
		h.MustRun(t, talk, "9007", "127.0.0.1")
		h.MustRun(t, talk, "9008", hostAddress)
		says := func(text string) { h.MustRun(t, "echo $1 >/srv/to-9007; echo $1 >/srv/to-9008", text) }
		says("one")
		h.WaitFor(t, eventually, "both answers", "[ \"$(cat /srv/from-*| xargs)\" = 'one one' ]")
		h.MustRun(t, "cocker set chat --port-rm 9007 --port-add 9009:7")
		says("two")
		h.WaitFor(t, eventually, "the end of one", `timeout 2 sh -c "echo >/srv/to-9007"; [ "$(cat /srv/from-9008 | xargs)" = 'one two' ] && [ "$(cat /srv/from-9007 | xargs)" = 'one end' ]`)
	})
}

// A port that somebody has changes nothing, neither of the file nor of what runs.
func TestSetTakenPort(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "web", commented)
		start(t, h, "other", "image = 'demo'\ncommand = ['sleep', '1000']\n[network]\nports = ['9001:1']\n")
		h.MustRun(t, "systemd-run -q --unit=taker socat TCP-LISTEN:9000,fork /dev/null")
		defer h.MustRun(t, "systemctl stop taker")
		h.WaitFor(t, eventually, "the process to listen", "ss -Hltn sport = 9000 | grep -q .")
		setRefused(t, h, "socat", "web", "--port-add", "9002:80", "--port-add", "9000:80", "--egress-max", "1M")
		setRefused(t, h, "other", "web", "-p", "9001:80")
		if got := h.MustRun(t, "ip -o link | grep -c cq- || :"); got != "0" {
			t.Errorf("%s links are left of a rate that was not set", got)
		}
		h.MustRun(t, get, "127.0.0.1:8080")
	})
}

// Limits are the unit's at once, of a container with a file and of one without, and are
// what the file says again after a restart.
func TestSetLimits(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "web", commented)
		pid := mainPID(t, h, "web")
		h.MustRun(t, "cocker set web -m 128M --tasks-max 99 --cpu-weight 7")
		assertProperties(t, h, "web", map[string]string{"MemoryMax": strconv.Itoa(128 << 20), "TasksMax": "99", "CPUWeight": "7", "MainPID": pid})
		// Where the host delegates the controller the kernel has it, too.
		h.MustRun(t, `f=/sys/fs/cgroup$(systemctl show -P ControlGroup cocker@web)/pids.max; [ ! -e "$f" ] || [ "$(cat "$f")" = 99 ]`)
		if got := setFile(t, h, "web"); !strings.Contains(got, "tasks_max = \"99\" # enough\nmemory_max = \"128M\"\ncpu_weight = 7\n") {
			t.Errorf("the file is\n%s", got)
		}
		h.MustRun(t, "cocker set web resources.memory_max= cpu_weight=")
		assertProperties(t, h, "web", map[string]string{"MemoryMax": "infinity", "TasksMax": "99", "CPUWeight": "[not set]", "MainPID": pid})
		h.MustRun(t, "systemctl restart cocker@web")
		assertProperties(t, h, "web", map[string]string{"MemoryMax": "infinity", "TasksMax": "99"})
		h.MustRun(t, "systemctl set-property --runtime cocker@web TasksMax=77")
		if r := h.Run(t, "cocker set web --tasks-max 55"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "systemctl revert cocker@web.service") {
			t.Errorf("a limit of set-property: exit status %d: %s", r.ExitCode, r.Stderr)
		}
		h.MustRun(t, "systemctl revert cocker@web")
		assertProperties(t, h, "web", map[string]string{"TasksMax": "55"})

		h.MustRun(t, "cocker run -d --name passing -m 64M demo sleep 1000")
		h.MustRun(t, "cocker set passing -m 96M --port-add 7777:80")
		if got := h.MustRun(t, "systemctl show -P MemoryMax cocker-passing.service; grep -c 7777:80 /run/cocker/containers/passing.toml; ls /etc/cocker/containers"); got != strconv.Itoa(96<<20)+"\n1\nweb.toml" {
			t.Errorf("a transient container has %s", got)
		}
		h.MustRun(t, "cocker rm -f passing")
	})
}

// The kernel has a new limit while the container runs, and none that was taken away.
func TestVMSetLimits(t *testing.T) {
	onVirtualHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "web", commented)
		const limits = `cd /sys/fs/cgroup$(systemctl show -P ControlGroup cocker@web) && cat memory.max pids.max cpu.weight | xargs`
		for _, tt := range []struct{ change, want string }{
			{"-m 128M --tasks-max 99 --cpu-weight 7", "134217728 99 7"},
			{"resources.memory_max= cpu_weight=", "max 99 100"},
		} {
			h.MustRun(t, "cocker set web "+tt.change)
			if got := h.MustRun(t, limits); got != tt.want {
				t.Errorf("%s: the kernel has %s, want %s", tt.change, got, tt.want)
			}
		}
	})
}

// The rates of both directions hold for the running container, and for the next start.
func TestSetRate(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTools(t, h)
		start(t, h, "quick", "images = ['demo', 'tools:1']\ncommand = ['socat', 'TCP-LISTEN:9,fork,reuseaddr', 'SYSTEM:head -c 4194304 /dev/zero']\n[network]\nports = ['9090:9']\n")
		if got := rateOf(t, h); got < 30 {
			t.Errorf("without a limit: %d Mbit/s", got)
		}
		for range 2 {
			h.MustRun(t, "cocker set quick --egress-max 16M")
			if got := rateOf(t, h); got < 13 || got > 19 {
				t.Errorf("%d Mbit/s, want 16", got)
			}
			h.MustRun(t, "systemctl restart cocker@quick")
		}
		if got := rateOf(t, h); got < 13 || got > 19 {
			t.Errorf("after a restart: %d Mbit/s, want 16", got)
		}
		h.MustRun(t, `cocker set quick --egress-max ""`)
		if got := rateOf(t, h); got < 30 {
			t.Errorf("without a limit again: %d Mbit/s", got)
		}
		if got := h.MustRun(t, "ip -o link | grep -c cq- || :; tc qdisc show | grep -c tbf || :"); got != "0\n0" {
			t.Errorf("left of a rate: %s", got)
		}
		h.MustRun(t, "cocker set quick --ingress-max 5M --egress-max 50M")
		if got := h.MustRun(t, "tc qdisc show dev ck-quick | grep -o 'rate [^ ]*'; tc qdisc show dev cq-quick | grep -o 'rate [^ ]*'"); got != "rate 5Mbit\nrate 50Mbit" {
			t.Errorf("the rates are %s", got)
		}
	})
}

// rateOf is how fast 4 MiB come from the container, in megabit/s.
func rateOf(t *testing.T, h *host.Host) int {
	t.Helper()
	h.WaitFor(t, eventually, "the server to listen", "socat -u TCP:127.0.0.1:9090 - | head -c 1 | grep -qz . || socat -T5 -u TCP:127.0.0.1:9090 - | head -c1 | wc -c | grep -q 1")
	// From the first byte on: on a busy machine it takes a while until two processes have started.
	text := h.MustRun(t, `socat -u TCP:127.0.0.1:9090 - | {
		dd bs=1 count=1 status=none >/dev/null; begin=$(date +%s%N); n=$(wc -c); end=$(date +%s%N)
		[ "$n" = 4194303 ] && echo $((n * 8000 / (end - begin))); }`)
	rate, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return rate
}

// What cannot change in a running container is said, and is there after a restart.
func TestSetNextStart(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "web", commented)
		r := h.Run(t, "cocker set web --address 10.88.9.9 -e GREETING=hi --tmpfs /scratch:1M --description shop")
		if r.ExitCode != 0 || !strings.Contains(r.Stderr, "next start: environment.GREETING, mount, network.address") && !strings.Contains(r.Stderr, "next start: ") || strings.Contains(r.Stderr, "description") {
			t.Errorf("exit status %d: %s", r.ExitCode, r.Stderr)
		}
		for _, key := range []string{"environment.GREETING", "mount", "network.address"} {
			if !strings.Contains(r.Stderr, key) {
				t.Errorf("%s is not named: %s", key, r.Stderr)
			}
		}
		if got := h.MustRun(t, "systemctl show -P Description cocker@web"); got != "shop" {
			t.Errorf("the unit is called %q", got)
		}
		h.MustRun(t, "systemctl restart cocker@web")
		if got := h.MustRun(t, "cocker exec web sh -c 'echo $GREETING; grep -c /scratch /proc/mounts; ip -4 -o addr show eth0 | grep -c 10.88.9.9'"); got != "hi\n1\n1" {
			t.Errorf("after a restart: %s", got)
		}
		h.MustRun(t, "cocker set web --mount-rm /scratch address= environment.GREETING=")
		if got := setFile(t, h, "web"); strings.Contains(got, "[[mount]]") || strings.Contains(got, "GREETING") {
			t.Errorf("the file is\n%s", got)
		}
	})
}

// Of two at once none loses what the other has set, and a container that is started,
// stopped and set all the time ends as its file says.
func TestSetAtOnce(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "web", "image = 'demo'\ncommand = ['sleep', '1000']\n")
		h.MustRun(t, `for i in $(seq 8); do cocker set web --port-add 90$i:80 -e V$i=$i >/dev/null & done; wait`)
		if got := h.MustRun(t, `jq '.ports | length' /run/cocker/state/web.json; grep -c '^V[1-8] = ' /etc/cocker/containers/web.toml; nft list map inet cocker ports4 | grep -c '"web"'`); got != "8\n8\n8" {
			t.Errorf("ports, variables and elements: %s", got)
		}
		h.MustRun(t, `(for i in $(seq 4); do timeout 60 systemctl restart cocker@web; done) &
			for i in $(seq 8); do cocker set web --port-rm 90$i --port-add 91$i:80 >/dev/null || exit 1; done; wait; systemctl is-active cocker@web`)
		h.WaitFor(t, eventually, "the launcher's end", "! pgrep -x cocker-launch")
		if got := h.MustRun(t, `jq -r '.ports[].HostPort' /run/cocker/state/web.json | sort | xargs; nft list map inet cocker ports4 | grep -o 'tcp . 9[01][0-9] comment "web"' | sort | grep -o '9[01][0-9]' | xargs`); got != "911 912 913 914 915 916 917 918\n911 912 913 914 915 916 917 918" {
			t.Errorf("published are %s", got)
		}
	})
}

// A package's file stays as it is; a drop-in says what is different.
func TestSetVendorFile(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /usr/lib/cocker/containers")
		defer h.MustRun(t, "systemctl stop cocker@vendor; rm -rf /usr/lib/cocker/containers /etc/cocker/containers/vendor.toml.d; systemctl daemon-reload; cocker rm vendor 2>/dev/null || :")
		h.WriteFile(t, "/usr/lib/cocker/containers/vendor.toml", commented, 0o644)
		h.MustRun(t, "systemctl daemon-reload; systemctl start cocker@vendor; cocker set vendor --port-rm 8081 -m 80M")
		assertProperties(t, h, "vendor", map[string]string{"MemoryMax": strconv.Itoa(80 << 20)})
		if got := h.MustRun(t, "cat /usr/lib/cocker/containers/vendor.toml") + "\n"; got != commented {
			t.Errorf("the package's file is\n%s", got)
		}
		if got := h.MustRun(t, "cat /etc/cocker/containers/vendor.toml.d/50-set.toml"); got != "[network]\nports = [\"8080:80\"]\n\n[resources]\nmemory_max = \"80M\"" {
			t.Errorf("the drop-in is\n%s", got)
		}
		setRefused(t, h, "belongs to a package", "vendor", "tasks_max=")
	})
}

func TestSetRefuses(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		start(t, h, "web", commented)
		h.WriteFile(t, "/etc/cocker/containers/broken.toml", "image = 'demo'\nusr = 'x'\n", 0o644)
		defer h.MustRun(t, "rm /etc/cocker/containers/broken.toml; systemctl daemon-reload")
		for _, tt := range []struct {
			words     string
			arguments []string
		}{
			{"no such container", []string{"nobody", "-m", "1G"}},
			{"nothing to set", []string{"web"}},
			{"broken.toml:2", []string{"broken", "-m", "1G"}},
			{"unknown key", []string{"web", "memory=1G"}},
			{"too little", []string{"web", "-m", "1M"}},
			{"is missing", []string{"web", "-p", "80"}},
			{"is not published", []string{"web", "--port-rm", "1"}},
			{"no KEY=VALUE", []string{"web", "memory_max"}},
			{"nothing is mounted", []string{"web", "--mount-rm", "/x"}},
			{"no image", []string{"web", "image="}},
			{"no valid container name", []string{"../web", "-m", "1G"}},
			{"rate", []string{"web", "--egress-max", "fast"}},
			{"no such network", []string{"web", "network.name=nonet"}},
		} {
			setRefused(t, h, tt.words, tt.arguments...)
		}
		before := setFile(t, h, "web")
		diff := h.MustRun(t, "cocker set --dry-run web -m 1G")
		if !strings.Contains(diff, "\n-memory_max = \"64M\"\n+memory_max = \"1G\"") || setFile(t, h, "web") != before {
			t.Errorf("the dry run shows\n%s", diff)
		}
		assertProperties(t, h, "web", map[string]string{"MemoryMax": strconv.Itoa(64 << 20)})
	})
}
