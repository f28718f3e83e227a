package tests

import (
	"slices"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// quotaFilesystem is a file system for /var/lib/cocker, and how quota comes to it.
type quotaFilesystem struct {
	name, mkfs, turnOn string
	advice             string // what the error says of it
}

func quotaFilesystems() []quotaFilesystem {
	return []quotaFilesystem{
		{"ext4", "mkfs.ext4 -q -F -I 256", `tune2fs -O project,quota -Q prjquota "$1" >/dev/null`, "tune2fs -O project,quota -Q prjquota /dev/loop"},
		{"xfs", "mkfs.xfs -q -f", ":", "the mount option prjquota (in /etc/fstab"},
	}
}

const diskImage = "/var/tmp/quota.img"

// onFilesystem gives /var/lib/cocker a file system of its own, without quota, with what
// is there.
func onFilesystem(t *testing.T, h *host.Host, fs quotaFilesystem, test func()) {
	t.Helper()
	h.MustRun(t, `set -e; truncate -s 500M "$1"; $2 "$1"; mkdir -p /mnt/quota; mount -o loop "$1" /mnt/quota
		cp -a /var/lib/cocker/. /mnt/quota; umount /mnt/quota; rmdir /mnt/quota; mount -o loop "$1" /var/lib/cocker`, diskImage, fs.mkfs)
	defer h.MustRun(t, `umount /var/lib/cocker; rm "$1"`, diskImage)
	defer removeAll(t, h)
	defer stopAll(t, h)
	test()
}

func turnOnQuota(t *testing.T, h *host.Host, fs quotaFilesystem) {
	t.Helper()
	h.MustRun(t, `umount /var/lib/cocker; set -- "$1"; `+fs.turnOn+`; mount -o loop,prjquota "$1" /var/lib/cocker`, diskImage)
}

func limitedTo(limit string) string {
	toml := "images = ['demo', 'old:1']\ncommand = ['sleep', '100000']\nnetwork.mode = 'none'\n"
	if limit != "" {
		toml += "[resources]\ndisk_max = '" + limit + "'\n"
	}
	return toml
}

// megabytes is what df(1) says of a directory in a container.
func megabytes(t *testing.T, h *host.Host, name, dir string) string {
	t.Helper()
	return inside(t, h, name, "df -P -m "+dir+" | awk 'NR == 2 { print $2 }'")
}

func assertMegabytes(t *testing.T, h *host.Host, name, dir, want string) {
	t.Helper()
	if got := megabytes(t, h, name, dir); got != want {
		t.Errorf("df %s in %s: %sM, want %sM", dir, name, got, want)
	}
}

// assertFull writes more than there is room for. The error is EDQUOT on ext4, ENOSPC on xfs.
func assertFull(t *testing.T, h *host.Host, name, dir string, megabytes string) {
	t.Helper()
	got := inside(t, h, name, "dd if=/dev/zero of="+dir+"/filling bs=1M count="+megabytes+" conv=fsync 2>&1 || echo failed; rm "+dir+"/filling; dd if=/dev/zero of="+dir+"/small bs=1M count=1 conv=fsync 2>/dev/null && rm "+dir+"/small && echo room")
	if !strings.Contains(got, "No space left on device") && !strings.Contains(got, "quota exceeded") || !strings.HasSuffix(got, "failed\nroom") {
		t.Errorf("%sM to %s in %s: %s", megabytes, dir, name, got)
	}
}

func restartWith(t *testing.T, h *host.Host, name, toml string) {
	t.Helper()
	h.MustRun(t, `systemctl stop cocker@"$1"`, name)
	start(t, h, name, toml)
}

// The kernel keeps the limits of the writable layer and of volumes, on both file systems
// that have project quota: on one of them with the older kernel, and on the other with the
// newer, as it takes five emulated minutes.
func TestVMDiskMax(t *testing.T) {
	onVirtualHost(t, func(t *testing.T, h *host.Host) {
		fs := quotaFilesystems()[slices.Index(host.Releases(), h.Release)]
		onFilesystem(t, h, fs, func() {
			importTree(t, h, "old:1", "mkdir -p data big && chown 33:33 data && dd if=/dev/zero bs=1M count=12 | tr '\\0' x >big/file")
			withoutQuota(t, h, fs)
			turnOnQuota(t, h, fs)
			limitsOfLayers(t, h)
			limitsOfVolumes(t, h)
		})
	})
}

// withoutQuota leaves the layer of a container that had no limit.
func withoutQuota(t *testing.T, h *host.Host, fs quotaFilesystem) {
	t.Helper()
	refused(t, h, "limited", limitedTo("20M"), "disk space cannot be limited here", fs.advice)
	start(t, h, "limited", limitedTo(""))
	inside(t, h, "limited", "mkdir -p /old/dir && echo x >/old/file && ln -s file /old/link && mkfifo /old/fifo && rm -r /data && rm /etc/motd")
	h.MustRun(t, "systemctl stop cocker@limited")
}

func limitsOfLayers(t *testing.T, h *host.Host) {
	t.Helper()
	start(t, h, "limited", limitedTo("20M"))
	assertMegabytes(t, h, "limited", "/", "20")
	assertFull(t, h, "limited", "/old", "30")
	if got := inside(t, h, "limited", `df -P -i / | awk 'NR == 2 { print $2 }'; mkdir /many; cd /many; seq 6000 | xargs touch 2>&1 | grep -c -m 1 'No space left on device\|quota exceeded'; rm -r /many`); got != "5120\n1" { // one for each 4K
		t.Errorf("inodes of 20M, and whether 6000 are refused: %s", got)
	}
	// What was there before can be renamed, replaced and removed like any other file;
	// a copy would have another inode.
	if got := inside(t, h, "limited", `set -e; cd /old; before=$(stat -c %i file link fifo dir | sort); mkdir new; mv file link fifo dir new/
		[ "$before" = "$(cd new; stat -c %i file link fifo dir | sort)" ] || echo copied; mkdir /data; echo x >/etc/motd; rm -r new /data; cat /etc/motd`); got != "x" {
		t.Errorf("an old layer: %s", got)
	}
	start(t, h, "other", limitedTo(""))
	inside(t, h, "other", "dd if=/dev/zero of=/40M bs=1M count=40 conv=fsync && rm /40M")
	whole := megabytes(t, h, "other", "/")
	restartWith(t, h, "limited", limitedTo("20M"))
	assertMegabytes(t, h, "limited", "/", "20")
	assertFull(t, h, "limited", "", "30")
	restartWith(t, h, "limited", limitedTo("40M"))
	assertMegabytes(t, h, "limited", "/", "40")
	restartWith(t, h, "limited", limitedTo(""))
	assertMegabytes(t, h, "limited", "/", whole)
	inside(t, h, "limited", "mkdir /many; cd /many; seq 6000 | xargs touch && rm -r /many")
	restartWith(t, h, "limited", limitedTo("20M"))
	h.MustRun(t, "cocker rm -f limited other")
	start(t, h, "limited", limitedTo(""))
	assertMegabytes(t, h, "limited", "/", whole)
	h.MustRun(t, "cocker rm -f limited")
}

func limitsOfVolumes(t *testing.T, h *host.Host) {
	t.Helper()
	mount := func(target, limit string) string {
		return limitedTo("") + "[[mount]]\ntype = 'volume'\nsource = 'db'\ntarget = '" + target + "'\n" + limit
	}
	refused(t, h, "first", mount("/big", "disk_max = '10M'\n"), "fill volume db with what the image has")
	h.MustRun(t, `[ -z "$(ls -A /var/lib/cocker/volumes)" ]`)
	start(t, h, "first", mount("/data", "disk_max = '10M'\n"))
	start(t, h, "second", mount("/mnt", ""))
	assertMegabytes(t, h, "first", "/data", "10")
	assertMegabytes(t, h, "second", "/mnt", "10")
	assertFull(t, h, "first", "/data", "20")
	inside(t, h, "first", "dd if=/dev/zero of=/20M bs=1M count=20 conv=fsync")
	inside(t, h, "second", "dd if=/dev/zero of=/mnt/8M bs=1M count=8 conv=fsync")
	assertFull(t, h, "first", "/data", "4")
	h.MustRun(t, "cocker volume set --disk-max 30M db")
	assertMegabytes(t, h, "first", "/data", "30")
	inside(t, h, "first", "dd if=/dev/zero of=/data/12M bs=1M count=12 conv=fsync")
	if got := h.MustRun(t, `cocker volume ls --json | jq -c '.[] | [.limit, .size > 20000000, .size < 24000000]'`); got != "[31457280,true,true]" {
		t.Errorf("ls: %s", got)
	}
	h.MustRun(t, `systemctl stop cocker@first cocker@second; cocker volume export -o /var/tmp/db.tar db; cocker volume set --disk-max infinity db; cocker volume import --replace db /var/tmp/db.tar; cocker volume set --disk-max 30M db`)
	start(t, h, "second", mount("/mnt", ""))
	assertMegabytes(t, h, "second", "/mnt", "30")
	assertFull(t, h, "second", "/mnt", "40")
	h.MustRun(t, `cocker rm -f first second; cocker volume rm db; rm /var/tmp/db.tar; cocker volume create --disk-max 15M db`)
	start(t, h, "first", mount("/data", ""))
	assertMegabytes(t, h, "first", "/data", "15")
	if got := inside(t, h, "first", "stat -c %u /data"); got != "33" {
		t.Errorf("a volume that was made before has not the image's content: owner %s", got)
	}
	h.MustRun(t, `cocker rm -f first; cocker volume rm db; [ -z "$(ls -A /var/lib/cocker/volumes)" ]`)
}
