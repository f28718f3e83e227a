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
		// A registry, and others who write and read images.
		"openssh-server", "openssh-client",
		"docker-registry", "skopeo", "umoci", "podman",
	}
}

// Docker is what a root has that cocker is compared with Docker on. Its daemon does not
// start by itself.
func Docker() Extra {
	return Extra{
		Packages: []string{"docker.io", "docker-cli"},
		Masked:   []string{"docker.service", "docker.socket", "containerd.service"},
	}
}

// Firewalld is what a root has whose host has firewalld, and polkit, which that needs. It
// does not start by itself.
func Firewalld() Extra {
	return Extra{Packages: []string{"firewalld"}, Masked: []string{"firewalld.service"}}
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
		"docker-registry.service", "podman.socket", "podman.service", "podman-restart.service", "podman-auto-update.timer",
		"podman-auto-update.service", "podman-clean-transient.service", "netavark-dhcp-proxy.socket", "netavark-dhcp-proxy.service",
		"ssh.service", "ssh.socket",
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

// diskPackages returns what the disk of a virtual machine has.
func diskPackages() []string {
	return append(packages(), "linux-image-cloud-amd64", "initramfs-tools", "udev", "kmod", "e2fsprogs", "fdisk", "xfsprogs")
}

// diskHooks returns the options of mmdebstrap that make an initrd which boots from
// this virtual machine's disk, and is small.
func diskHooks() []string {
	const initramfs = `--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
		printf 'MODULES=list\n' >"$1/etc/initramfs-tools/conf.d/test"
		printf '%s\n' virtio_pci virtio_blk ext4 >"$1/usr/share/initramfs-tools/modules.d/test"`
	return []string{initramfs}
}

// diskMaskedUnits returns the units that would start work in the middle of a test, or
// take the console: a getty hangs up the terminal that it opens.
func diskMaskedUnits() []string {
	return []string{
		"serial-getty@ttyS0.service", "getty.target", "console-getty.service", "systemd-firstboot.service",
		"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer",
		"e2scrub_all.timer", "e2scrub_reap.service", "systemd-tmpfiles-clean.timer", "docker-registry.service", "ssh.service", "ssh.socket",
		"podman.socket", "podman.service", "podman-restart.service", "podman-auto-update.timer",
		"podman-auto-update.service", "podman-clean-transient.service", "netavark-dhcp-proxy.socket", "netavark-dhcp-proxy.service",
		// Without a screen and firmware variables: seconds of an emulated processor.
		"modprobe@drm.service", "modprobe@efi_pstore.service", "systemd-pstore.service",
	}
}

// diskFiles returns the files that make a Debian root a virtual test machine.
func diskFiles(release Release) []rootFile {
	survive := ""
	if release != Bookworm { // systemd.unit(5): since 255; for soft-reboot, since 254
		survive = "SurviveFinalKillSignal=yes\n"
	}
	return []rootFile{
		{"/etc/fstab", "/dev/vda / ext4 rw 0 1\n"},
		{"/etc/hostname", "test-" + string(release) + "\n"},
		{"/etc/machine-id", machineID(release) + "\n"},
		{"/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"},
		{"/etc/resolv.conf", "nameserver 192.0.2.2\n"},
		{"/etc/locale.conf", "LANG=C.UTF-8\n"},
		{"/etc/systemd/journald.conf.d/test.conf", "[Journal]\nStorage=persistent\nRateLimitBurst=0\n"},
		{"/etc/systemd/system.conf.d/test.conf", "[Manager]\nDefaultTimeoutStopSec=60s\nDefaultTimeoutStartSec=120s\n"},
		// What runs the commands of tests is there from early on to the very end: in the
		// emergency mode, while targets are isolated, and during the shutdown.
		{"/etc/systemd/system/testagent.service", "[Unit]\nDefaultDependencies=no\nIgnoreOnIsolate=yes\n" + survive +
			"Wants=dev-virtio\\x2dports-agent.device\nAfter=dev-virtio\\x2dports-agent.device\n" +
			"[Service]\nExecStart=" + agentPath + " serve /dev/virtio-ports/agent\n" +
			"Restart=always\nDelegate=yes\nTasksMax=infinity\nOOMPolicy=continue\n"},
		{"/etc/systemd/system/testnetwork.service", "[Unit]\nDefaultDependencies=no\nIgnoreOnIsolate=yes\nBefore=network.target\nWants=network.target\n" +
			"Wants=sys-subsystem-net-devices-eth0.device\nAfter=sys-subsystem-net-devices-eth0.device\n" +
			"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -ec '" +
			"ip addr add 192.0.2.1/24 dev eth0; ip link set eth0 up; ip route add default via 192.0.2.2; " +
			"if [ -e /proc/net/if_inet6 ]; then ip addr add 2001:db8:2::1/64 dev eth0 nodad; ip -6 route add default via 2001:db8:2::2; fi'\n"},
		// Drivers of hardware that is emulated, or only announced, but not used: each takes
		// an emulated processor a second of the boot.
		{"/etc/modprobe.d/test.conf", "blacklist ata_piix\nblacklist ata_generic\nblacklist kvm_amd\nblacklist kvm_intel\nblacklist powernow_k8\n" +
			"blacklist aesni_intel\nblacklist ghash_clmulni_intel\nblacklist sha512_ssse3\nblacklist sha256_ssse3\nblacklist sha1_ssse3\n" +
			"blacklist crct10dif_pclmul\nblacklist crc32_pclmul\nblacklist polyval_clmulni\nblacklist i2c_piix4\nblacklist floppy\nblacklist button\nblacklist evdev\n"},
		// Newer than /usr: the boot need not rebuild what is made from it.
		{"/etc/.updated", ""},
		{"/var/.updated", ""},
	}
}

// machineID returns the same machine ID for every machine of a release.
func machineID(release Release) string {
	sum := sha256.Sum256([]byte("cocker test machine " + release))
	return hex.EncodeToString(sum[:16])
}

// recipeHash identifies everything that decides what a root holds.
func recipeHash(release Release, extra Extra) string {
	sum := sha256.New()
	fmt.Fprintln(sum, release, strings.Join(packages(), ","), strings.Join(maskedUnits(), ","))
	for _, f := range rootFiles() {
		fmt.Fprintln(sum, f.path, f.content)
	}
	if len(extra.Packages) > 0 {
		fmt.Fprintln(sum, extra)
	}
	return hex.EncodeToString(sum.Sum(nil))[:12]
}
