package launch

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/idrange"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/rootfs"
)

// checkSecurity says at each start what of the confinement is off, and refuses what this
// kernel cannot do: to start without it would be no confinement at all.
func (l *launcher) checkSecurity() error {
	s := &l.container.Security
	for _, warning := range s.Warnings() {
		l.options.Warn("[security] " + warning)
	}
	if open := capabilitiesOf(l.container) & takesOver; open != 0 && !s.OwnUsers() && !s.Privileged {
		l.options.Warn("[security] private_users = false and " + strings.Join(config.CapabilityNames(open), ", ") +
			": whoever is root in it can take over the host")
	}
	if s.AppArmorProfile != "" && !hasModule("apparmor") {
		return fmt.Errorf("[security] apparmor_profile = %q: AppArmor is not at work on this host (no /sys/kernel/security/apparmor, see the kernel's parameter lsm=)", s.AppArmorProfile)
	}
	if s.SELinuxLabel != "" && !hasModule("selinux") {
		return fmt.Errorf("[security] selinux_label = %q: SELinux is not at work on this host (no /sys/fs/selinux, see the kernel's parameter lsm=)", s.SELinuxLabel)
	}
	return nil
}

// checkStreams refuses a directory as one of the standard descriptors, which become the
// container's: from it ".." leads to the host's root directory, whatever the container's is
// (CVE-2024-21626).
func checkStreams() error {
	for fd, name := range [...]string{"input", "output", "error"} {
		var stat unix.Stat_t
		if err := unix.Fstat(fd, &stat); err == nil && stat.Mode&unix.S_IFMT == unix.S_IFDIR {
			return fmt.Errorf("the standard %s is a directory, which would give the container a way to the host's files", name)
		}
	}
	return nil
}

// hasModule tells whether a security module is at work: by the kernel's list or, where
// securityfs is not mounted, by what each module has of its own.
func hasModule(name string) bool {
	if list, err := os.ReadFile("/sys/kernel/security/lsm"); err == nil {
		return slices.Contains(strings.Split(strings.TrimSpace(string(list)), ","), name)
	}
	if name == "apparmor" {
		enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
		return err == nil && strings.HasPrefix(string(enabled), "Y")
	}
	_, err := os.Stat("/sys/fs/selinux/enforce")
	return !errors.Is(err, os.ErrNotExist)
}

// takeIDs takes the range of ids of the container; one without a user namespace has the
// host's.
func (l *launcher) takeIDs() (err error) {
	if !l.container.Security.OwnUsers() {
		return nil
	}
	l.idBase, err = idrange.Acquire(paths.IDRanges, idRecord(l.container.Name), l.container.Name)
	return err
}

// userNamespace makes the namespace that the container's mounts are mapped with.
func (l *launcher) userNamespace() (fd int, err error) {
	if !l.container.Security.OwnUsers() {
		return rootfs.NoUserNamespace, nil
	}
	return linux.NewUserNamespace(l.idBase)
}
