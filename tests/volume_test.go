package tests

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// imageWithData makes the image data:1, whose /data belongs to user 33.
func imageWithData(t *testing.T, h *host.Host) {
	t.Helper()
	importTree(t, h, "data:1", `mkdir -p data/sub empty && echo hello >data/sub/file && ln data/sub/file data/again && ln -s /etc/passwd data/link &&
		chown 33:34 data data/sub/file && chmod 2770 data && touch -d @1234567890 data/sub && ln -s /data lead && ln -s / top && ln -s /sys kernel && : >plain`)
}

// withVolume is the file of a container with a volume.
func withVolume(name, target, script string, keys ...string) string {
	return "images = ['demo', 'data:1']\n" + sh(script) + "[[mount]]\ntype = 'volume'\nsource = '" + name + "'\ntarget = '" + target + "'\n" +
		strings.Join(keys, "\n") + "\n"
}

func removeVolumes(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `cocker volume ls --json | jq -r '.[].name' | xargs -r cocker volume rm --force; [ -z "$(ls -A /var/lib/cocker/volumes)" ]`)
}

// The first start fills a volume with what the image has; containers with other ids see
// the same owners in it, at the same time; it outlives them, and other images.
func TestVolumes(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		imageWithData(t, h)
		const look = `cd /data; stat -c '%n %a %u:%g %h' . sub sub/file; stat -c %Y sub; readlink link; cat again; grep -c ' /data .*nodev.*idmapped' /proc/self/mountinfo`
		const want = ". 2770 33:34 3\nsub 755 0:0 2\nsub/file 644 33:34 2\n1234567890\n/etc/passwd\nhello\n1"
		if got := output(t, h, "first", withVolume("db", "/data", look)); got != want {
			t.Errorf("the first container sees\n%s\nwant\n%s", got, want)
		}
		if got := output(t, h, "linked", withVolume("linked", "/lead", strings.ReplaceAll(look, "cd /data", "cd /lead"))); got != want {
			t.Errorf("through a link of the image:\n%s", got)
		}
		if got := output(t, h, "new", withVolume("new", "/var/new", "stat -c '%a %u:%g' /var/new; ls -A /var/new")); got != "755 0:0" {
			t.Errorf("where the image has nothing: %q", got)
		}
		start(t, h, "a", withVolume("db", "/data", "sleep 100000"))
		start(t, h, "b", "image = 'demo'\ncommand = ['sleep', '100000']\n[[mount]]\ntype = 'volume'\nsource = 'db'\ntarget = '/elsewhere'\n")
		if a, b := inside(t, h, "a", "cat /proc/self/uid_map"), inside(t, h, "b", "cat /proc/self/uid_map"); a == b {
			t.Errorf("both have the ids %s: the test is not testing", a)
		}
		inside(t, h, "a", "echo from a >/data/a && chown 7:8 /data/a && chmod 600 /data/a")
		if got := inside(t, h, "b", "stat -c '%a %u:%g' /elsewhere/a && cat /elsewhere/a && echo from b >/elsewhere/b && chown 9 /elsewhere/b"); got != "600 7:8\nfrom a" {
			t.Errorf("b sees %q", got)
		}
		if got := inside(t, h, "a", "stat -c %u /data/b"); got != "9" {
			t.Errorf("a sees the owner %s", got)
		}
		if got := h.MustRun(t, "stat -c '%n %a %u' /var/lib/cocker/volumes; cd /var/lib/cocker/volumes/db; ls -A; stat -c %u:%g data/a"); got != "/var/lib/cocker/volumes 700 0\ndata\n7:8" {
			t.Errorf("on the disk: %q", got)
		}
		if got := h.Run(t, "cocker volume rm --force db"); got.ExitCode == 0 || !strings.Contains(got.Stderr, "db is mounted by a, b") {
			t.Errorf("rm: %+v", got)
		}
		h.MustRun(t, "cocker rm -f a b first linked new && cocker image rm data:1")
		if got := output(t, h, "after", "image = 'demo'\n"+sh("cat /data/a; (echo x >/data/x) 2>&1; id -u >/data/x || echo refused")+
			"[[mount]]\ntype = 'volume'\nsource = 'db'\ntarget = '/data'\nread_only = true\n"); !strings.HasPrefix(got, "from a\n") || !strings.Contains(got, "Read-only file system") || !strings.HasSuffix(got, "refused") {
			t.Errorf("a later one, read-only, says %q", got)
		}
		removeVolumes(t, h)
	})
}

// An image may have anything where a volume comes. What is not the image's is not copied.
func TestVolumesOnHostileImages(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		imageWithData(t, h)
		refused(t, h, "file", withVolume("file", "/plain", "true"), "the image has no directory there")
		refused(t, h, "root", withVolume("root", "/top", "true"), `the image has a link to "/" there`)
		refused(t, h, "kernel", withVolume("kernel", "/kernel", "true", "[network]", "mode = 'host'"), "/sys is not the kernel's: something else is mounted there")
		if got := h.MustRun(t, "ls -A /var/lib/cocker/volumes; ls -A /var/lib/cocker/volumes/kernel/data"); got != "kernel" {
			t.Errorf("got %q", got)
		}
		removeVolumes(t, h)
	})
}

// However many start with a new volume at once, one fills it and all have it whole.
func TestVolumeStartedAtOnce(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		files, names := map[string]string{}, []string{}
		for i := range 5 {
			importTree(t, h, fmt.Sprintf("many:%d", i), fmt.Sprintf(`mkdir data; for n in $(seq 300); do echo %d >data/$n; done`, i))
			name := fmt.Sprintf("at-once-%d", i)
			files[name] = fmt.Sprintf("images = ['demo', 'many:%d']\n", i) + sh("ls /data | wc -l >/data/seen-by-$(hostname); exec sleep 100000") +
				"[[mount]]\ntype = 'volume'\nsource = 'shared'\ntarget = '/data'\n"
			names = append(names, "cocker@"+name)
		}
		declare(t, h, files)
		h.MustRun(t, "timeout 120 systemctl start "+strings.Join(names, " "))
		h.WaitFor(t, eventually, "all to have looked", `[ "$(ls /var/lib/cocker/volumes/shared/data | grep -c seen)" = 5 ]`)
		got := h.MustRun(t, `cd /var/lib/cocker/volumes/shared/data; find . -name '[0-9]*' | xargs cat | sort | uniq -c | xargs; for f in seen-*; do [ "$(cat $f)" -ge 300 ] || cat $f; done`)
		if fields := strings.Fields(got); len(fields) != 2 || fields[0] != "300" {
			t.Errorf("files of the images, and too small counts: %q", got)
		}
		h.MustRun(t, "timeout 100 systemctl stop "+strings.Join(names, " "))
		removeVolumes(t, h)
	})
}

// Whenever the launcher is killed while it fills a volume, the volume has nothing yet or
// all, and the next start makes it whole.
func TestVolumeKilledWhileFilled(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		imageWithData(t, h)
		h.WriteFile(t, "/usr/local/bin/killer", killer, 0o755)
		h.WriteFile(t, "/etc/systemd/system/cocker@victim.service.d/killer.conf",
			"[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=\nExecStart=/usr/local/bin/killer /run/kill-start /usr/libexec/cocker/cocker-launch start %i\n", 0o644)
		defer h.MustRun(t, "rm -r /etc/systemd/system/cocker@victim.service.d /usr/local/bin/killer; systemctl daemon-reload")
		declare(t, h, map[string]string{"victim": withVolume("db", "/data", "cat /data/again; stat -c %u:%g /data/sub/file", "[network]", "mode = 'none'")})
		const once = `
			echo "$1" >/run/kill-start
			timeout 60 systemctl start --wait cocker@victim 2>/dev/null
			rm /run/kill-start
			killed=$(grep -c 'killed by SIGKILL' /run/killed.trace)
			[ ! -e /var/lib/cocker/volumes/db/data ] || { cat /var/lib/cocker/volumes/db/data/again >/dev/null; stat -c %u:%g /var/lib/cocker/volumes/db/data/sub/file | grep -qx 33:34; } || { echo "half: $(find /var/lib/cocker/volumes)" >&2; exit 1; }
			systemctl reset-failed cocker@victim 2>/dev/null
			timeout 60 systemctl start --wait cocker@victim || { systemctl status -n 30 --no-pager cocker@victim; exit 1; } >&2
			cocker volume export db | tar -t | sort | xargs
			[ "$(ls -A /var/lib/cocker/volumes /var/lib/cocker/volumes/db | xargs)" = "/var/lib/cocker/volumes: db /var/lib/cocker/volumes/db: data" ] || { find /var/lib/cocker/volumes >&2; exit 1; }
			cocker volume rm --force db || exit 1
			echo $killed; rm -f /run/killed.trace`
		kills := 0
		for _, call := range strings.Fields("mkdirat renameat2 syncfs fsync fchmod fchownat linkat symlinkat utimensat flock openat2 pwrite64") {
			for n := 1; ; n++ {
				r := h.Run(t, once, fmt.Sprint(call, " ", n))
				lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
				killed, err := strconv.Atoi(lines[len(lines)-1])
				if err != nil || r.Stderr != "" || lines[0] != "./ ./again ./link ./sub/ ./sub/file" {
					t.Errorf("killed at %s %d: exit status %d\n%s%s", call, n, r.ExitCode, r.Stdout, r.Stderr)
				}
				if killed <= 1 || n >= 12 { // one process more dies by SIGKILL: the one that a user namespace is made with
					break
				}
				kills++
			}
		}
		if kills < 15 {
			t.Errorf("only %d kills: the test is not testing", kills)
		}
		t.Logf("%d kills", kills)
	})
}

// A volume is saved, lost and restored, with the commands that users have.
func TestVolumeCommands(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		imageWithData(t, h)
		start(t, h, "w", withVolume("db", "/data", "exec sleep 100000"))
		inside(t, h, "w", "echo mine >/data/mine && chown 12:13 /data/mine && chmod 4755 /data/mine")
		want := inside(t, h, "w", "cd /data && ls -lnAR --full-time")
		for command, reason := range map[string]string{
			"volume rm db":                                    "named in /etc/cocker/containers/w.toml",
			"volume rm --force db":                            "mounted by w",
			"volume rm none":                                  "no such volume",
			"volume create db":                                "the volume exists",
			"volume create ../db":                             "is a path",
			"volume import db /srv/db.tar":                    "no such file",
			"volume import db /etc/passwd":                    "--replace",
			"volume import --replace db /etc/passwd":          "mounted by w",
			"volume import other /etc/passwd":                 "no tar archive",
			"volume set db":                                   "disk-max",
			"volume set --disk-max 1K db":                     "too little",
			"volume export none":                              "no such volume",
			"volume export -o /nonexistent/x db":              "/nonexistent/x",
			"volume inspect none":                             "no such volume",
			"volume":                                          "say what to do",
			"create -v db:/proc x demo":                       "cocker sets up /proc itself",
			"create --mount type=volume,target=/x x demo":     "name the volume",
			"create --tmpfs /x --disk-max 1K x demo":          "too little",
			"script -eqc 'cocker volume export db' /dev/null": "your terminal",
		} {
			if !strings.HasPrefix(command, "script") {
				command = "cocker " + command
			}
			if r := h.Run(t, command+" </dev/null"); r.ExitCode == 0 || !strings.Contains(r.Stderr+r.Stdout, reason) {
				t.Errorf("%s: exit status %d, %q is not in\n%s%s", command, r.ExitCode, reason, r.Stderr, r.Stdout)
			}
		}
		list := h.MustRun(t, `cocker volume ls --json | jq -c '.[] | [.name, .filled, .containers, .running, .size > 0, .limit]'; cocker volume ls | sed -n '2s/ [^ ]* *- / /p' | tr -s ' '`)
		if list != `["db",true,["w"],["w"],true,null]`+"\ndb w" {
			t.Errorf("ls: %s", list)
		}
		h.MustRun(t, `set -e; cocker volume export -o /srv/db.tar db; cocker volume export db | cmp - /srv/db.tar; systemctl stop cocker@w
			cocker volume import --replace db /srv/db.tar; cocker volume rm --force db; cocker volume import db <"/srv/db.tar"; systemctl start cocker@w`)
		if got := inside(t, h, "w", "cd /data && ls -lnAR --full-time"); got != want {
			t.Errorf("restored\n%s\nwas\n%s", got, want)
		}
		if got := h.MustRun(t, `cocker __complete volume rm "" 2>/dev/null | head -1`); got != "db" {
			t.Errorf("completion offers %q", got)
		}
		h.MustRun(t, "systemctl stop cocker@w; cocker rm w")
		if got := h.MustRun(t, "cocker volume create new; cocker volume ls --json | jq -c '[.[].name], [.[].filled]'"); got != `["db","new"]`+"\n[true,false]" {
			t.Errorf("ls: %s", got)
		}
		removeVolumes(t, h)
	})
}

// mount_setattr(2) with AT_RECURSIVE: read-only is what is mounted below the source, too.
func TestReadOnlyBindWithSubmounts(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, "mkdir -p /srv/tree/below && mount -t tmpfs -o mode=1777 tmpfs /srv/tree/below && echo x >/srv/tree/below/file && chmod 666 /srv/tree/below/file")
		defer h.MustRun(t, "umount /srv/tree/below")
		for _, idmap := range []string{"", "idmap = false\n", "idmap = true\n"} {
			got := output(t, h, "readonly", "image = 'demo'\n"+sh(`cat /tree/below/file; for f in /tree/new /tree/below/new /tree/below/file; do (echo y >$f) 2>&1; done
				mount -o remount,rw,bind /tree/below 2>/dev/null && echo remounted; cat /tree/below/file`)+
				"[[mount]]\ntype = 'bind'\nsource = '/srv/tree'\ntarget = '/tree'\nread_only = true\n"+idmap)
			if strings.Count(got, "Read-only file system") != 3 || !strings.Contains(got, "x\nsh: ") || !strings.HasSuffix(got, "\nx") {
				t.Errorf("%q: %s", idmap, got)
			}
		}
	})
}

// A limit that cannot be kept is no limit: the start says what is missing.
func TestDiskLimitWithoutQuota(t *testing.T) {
	if *host.InVirtualMachines {
		t.Skip("TestVMDiskMax does this, where there is quota")
	}
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		if h.Run(t, `findmnt -n -o OPTIONS --target /var/lib/cocker | grep -w prjquota`).ExitCode == 0 {
			t.Skip("this machine has project quota")
		}
		refused(t, h, "limited", "image = 'demo'\n[resources]\ndisk_max = '10M'\n", "disk_max in [resources] of /etc/cocker/containers/limited.toml", "disk space cannot be limited here", "/var/lib/cocker")
		refused(t, h, "volume", "image = 'demo'\n[[mount]]\ntype = 'volume'\nsource = 'db'\ntarget = '/data'\ndisk_max = '10M'\n", `mount "/data"`, "limit volume db: disk space cannot be limited here", "/etc/cocker/containers/volume.toml")
		if r := h.Run(t, "cocker check"); !strings.Contains(r.Stderr, "warning: limited: disk_max") || !strings.Contains(r.Stderr, "warning: volume: disk_max") || r.ExitCode != 0 {
			t.Errorf("check: %+v", r)
		}
		h.MustRun(t, `[ -z "$(ls -A /var/lib/cocker/volumes)" ]`)
	})
}
