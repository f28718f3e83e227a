package quota

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrUnsupported is part of the error for a file system that keeps no limits.
var ErrUnsupported = errors.New("disk space cannot be limited here")

// Check says why no tree below dir can have a limit, and what to do about it; nil: it
// can. Everybody may ask.
func Check(dir string) error {
	root, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return enforced(root)
}

func enforced(root *os.File) error {
	s := state{version: stateVersion}
	if err := call(root, getState, 0, &s); err == nil && s.flags&stateEnforced != 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrUnsupported, advice(root))
}

// advice says where the directory is and how quota is turned on there.
func advice(root *os.File) string {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(root.Fd()), &st); err != nil {
		return err.Error()
	}
	place := mountOf(root)
	where := fmt.Sprintf("%s is on %s, %s mounted on %s", root.Name(), place.kind, place.source, place.target)
	options := fmt.Sprintf("the mount option prjquota (%s)", place.configured())
	switch int64(st.Type) {
	case unix.EXT4_SUPER_MAGIC:
		return fmt.Sprintf("%s, without project quota; turn it on with \"tune2fs -O project,quota -Q prjquota %s\" while it is not mounted, and with %s", where, place.source, options)
	case unix.XFS_SUPER_MAGIC:
		return fmt.Sprintf("%s, without project quota; turn it on with %s", where, options)
	}
	return where + ", which keeps no limits of directories; ext4 and xfs do"
}

// mountPoint is what mountinfo tells of a mount.
type mountPoint struct{ kind, source, target string }

func (m mountPoint) configured() string {
	if m.target == "/" {
		return "for / on the kernel's command line: rootflags=prjquota"
	}
	return "in /etc/fstab; a remount is not enough"
}

// mountOf finds the mount that an open directory is on, by its id: proc_pid_fdinfo(5).
func mountOf(root *os.File) mountPoint {
	unknown := mountPoint{"a file system", "not", "any place that is known"}
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", root.Fd()))
	if err != nil {
		return unknown
	}
	id := ""
	for line := range strings.Lines(string(info)) {
		if key, value, _ := strings.Cut(line, ":"); key == "mnt_id" {
			id = strings.TrimSpace(value)
		}
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return unknown
	}
	defer mounts.Close()
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		if m, ok := parseMount(lines.Text(), id); ok {
			return m
		}
	}
	return unknown
}

// parseMount reads a line of proc_pid_mountinfo(5), if it is that of the id.
func parseMount(line, id string) (mountPoint, bool) {
	before, after, ok := strings.Cut(line, " - ")
	fields, rest := strings.Fields(before), strings.Fields(after)
	if !ok || len(fields) < 6 || len(rest) < 2 || fields[0] != id {
		return mountPoint{}, false
	}
	return mountPoint{kind: rest[0], source: unescape(rest[1]), target: unescape(fields[4])}, true
}

// unescape reads the octal escapes of white space and backslashes.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
