package pid1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// identity is who the command runs as.
type identity struct {
	uid, gid uint32
	groups   []uint32
	home     string
	name     string // "": a number without an entry
	shell    string // "": the entry has none
}

// maxID is the highest id that the container's user namespace maps.
const maxID = 65535

// maxDatabase bounds what is read of /etc/passwd and /etc/group.
const maxDatabase = 4 << 20

// lookUp resolves a user specification: "", "user", "user:group", each a name or
// a number, by the container's own /etc/passwd and /etc/group. Without a group
// the user's own groups count, as at a login.
func lookUp(specification string) (*identity, error) {
	passwd, err := readDatabase("/etc/passwd")
	if err != nil {
		return nil, err
	}
	group, err := readDatabase("/etc/group")
	if err != nil {
		return nil, err
	}
	return resolve(specification, passwd, group)
}

func readDatabase(path string) (string, error) {
	// O_NONBLOCK: opening a fifo of the image must not block us.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s in the container is no regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxDatabase))
	return string(data), err
}

// resolve is lookUp on the databases' text (passwd(5), group(5)).
func resolve(specification, passwd, group string) (*identity, error) {
	user, groupName, hasGroup := strings.Cut(specification, ":")
	if user == "" {
		user = "0"
	}
	id, name, err := resolveUser(user, passwd)
	if err != nil {
		return nil, err
	}
	if !hasGroup {
		id.groups = memberships(name, group)
		return id, nil
	}
	id.gid, err = resolveGroup(groupName, group)
	return id, err
}

// resolveUser finds an entry. What looks like a number is one: an image cannot give
// the user of the TOML file another id by an entry whose name consists of digits.
func resolveUser(user, passwd string) (id *identity, name string, err error) {
	number, numberErr := parseID(user)
	field, want := 0, user
	if numberErr == nil {
		field, want = 2, strconv.Itoa(int(number))
	}
	for fields := range entries(passwd, 6) {
		if fields[field] != want {
			continue
		}
		id := &identity{home: fields[5], name: fields[0]}
		if len(fields) > 6 {
			id.shell = fields[6]
		}
		if id.uid, err = parseID(fields[2]); err != nil {
			return nil, "", fmt.Errorf("user %q in the container's /etc/passwd: %w", user, err)
		}
		if id.gid, err = parseID(fields[3]); err != nil {
			return nil, "", fmt.Errorf("user %q in the container's /etc/passwd: %w", user, err)
		}
		return id, fields[0], nil
	}
	if user == "root" { // an image need not say who that is
		return &identity{home: "/", name: user}, user, nil
	}
	if numberErr != nil {
		return nil, "", fmt.Errorf("user %q is not in the container's /etc/passwd", user)
	}
	return &identity{uid: number, home: "/"}, "", nil
}

func resolveGroup(name, group string) (uint32, error) {
	if gid, err := parseID(name); err == nil {
		return gid, nil
	}
	for fields := range entries(group, 3) {
		if fields[0] == name {
			return parseID(fields[2])
		}
	}
	return 0, fmt.Errorf("group %q is not in the container's /etc/group", name)
}

func memberships(user, group string) []uint32 {
	var groups []uint32
	for fields := range entries(group, 4) {
		if user == "" || !slices.Contains(strings.Split(fields[3], ","), user) {
			continue
		}
		if gid, err := parseID(fields[2]); err == nil {
			groups = append(groups, gid)
		}
	}
	return groups
}

// entries yields the lines of a database that have at least so many fields.
func entries(text string, fields int) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		scanner := bufio.NewScanner(strings.NewReader(text))
		for scanner.Scan() {
			entry := strings.Split(scanner.Text(), ":")
			if len(entry) >= fields && !yield(entry) {
				return
			}
		}
	}
}

func parseID(text string) (uint32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no id", text)
	}
	if id > maxID {
		return 0, fmt.Errorf("id %d is above %d, the highest in a container", id, maxID)
	}
	return uint32(id), nil
}

func (id *identity) credential() *syscall.Credential {
	return &syscall.Credential{Uid: id.uid, Gid: id.gid, Groups: id.groups}
}
