package host

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Release is a Debian release that hosts can run.
type Release string

// The releases cocker is tested on.
const (
	Trixie   Release = "trixie"   // Debian 13, systemd 257
	Bookworm Release = "bookworm" // Debian 12, systemd 252
)

// Releases returns every release, newest first.
func Releases() []Release { return []Release{Trixie, Bookworm} }

// ParseRelease returns the release called name.
func ParseRelease(name string) (Release, error) {
	for _, r := range Releases() {
		if string(r) == name {
			return r, nil
		}
	}
	return "", fmt.Errorf("release %q: want one of %v", name, Releases())
}

// packages returns what a root has beyond Debian's essential packages.
func packages() []string {
	return []string{
		"systemd", "systemd-sysv", "dbus", "systemd-container", "libnss-mymachines",
		// What cocker's users have at hand, and the tests use.
		"iproute2", "nftables", "procps", "curl", "ca-certificates", "less",
		"busybox-static", "strace", "attr", "iputils-ping", "socat", "jq",
	}
}

// maskedUnits returns the units that would change the machine's kernel outside the
// host's namespaces, need hardware or a network, or start work in the middle of a test.
func maskedUnits() []string {
	return []string{
		"systemd-sysctl.service", "systemd-modules-load.service", "systemd-binfmt.service",
		"proc-sys-fs-binfmt_misc.automount", "proc-sys-fs-binfmt_misc.mount",
		"systemd-journald-audit.socket", "systemd-random-seed.service", "systemd-pstore.service",
		"sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount",
		"sys-fs-fuse-connections.mount", "dev-hugepages.mount", "tmp.mount",
		"systemd-networkd.service", "systemd-networkd.socket", "kmod-static-nodes.service",
		"systemd-firstboot.service", "getty.target", "console-getty.service",
		"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer",
		"e2scrub_all.timer", "e2scrub_reap.service", "systemd-tmpfiles-clean.timer",
	}
}

// rootFile is a file that every root has.
type rootFile struct {
	path, content string
}

// rootFiles returns the files that make a Debian root a test host.
func rootFiles() []rootFile {
	return []rootFile{
		// The journal of a host is read while it runs, and written by tests in bursts.
		{"/etc/systemd/journald.conf.d/test.conf",
			"[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitBurst=0\n"},
		// A stop that hangs is a failure; a minute and a half later is too late to say so.
		{"/etc/systemd/system.conf.d/test.conf",
			"[Manager]\nDefaultTimeoutStopSec=20s\nDefaultTimeoutStartSec=40s\n"},
		{"/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"},
		{"/etc/resolv.conf", "nameserver 192.0.2.2\n"},
		{"/etc/locale.conf", "LANG=C.UTF-8\n"},
	}
}

// recipeHash identifies everything that decides what a root holds.
func recipeHash(release Release) string {
	sum := sha256.New()
	fmt.Fprintln(sum, release, strings.Join(packages(), ","), strings.Join(maskedUnits(), ","))
	for _, f := range rootFiles() {
		fmt.Fprintln(sum, f.path, f.content)
	}
	return hex.EncodeToString(sum.Sum(nil))[:12]
}
