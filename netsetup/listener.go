package netsetup

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cocker/cocker/config"
)

// listener says which process of the host has the port, as well as /proc tells.
// It reads the tables of all sockets and is for the text of an error only.
func listener(port config.Port) string {
	inodes := map[string]bool{}
	for _, family := range []string{"", "6"} {
		text, _ := os.ReadFile("/proc/thread-self/net/" + string(port.Protocol) + family)
		for _, inode := range socketInodes(text, port.HostPort) {
			inodes[fmt.Sprintf("socket:[%s]", inode)] = true
		}
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && inodes[target] {
			pid := strings.Split(link, "/")[2]
			return fmt.Sprintf("process %s of the host (%s)", pid, commandName(pid))
		}
	}
	return "a process of the host"
}

func commandName(pid string) string {
	name, _ := os.ReadFile(filepath.Join("/proc", pid, "comm"))
	return string(bytes.TrimSpace(name))
}

// socketInodes are the inodes of the sockets in a table like /proc/net/tcp that
// have the local port and no peer: listeners, and UDP sockets. The columns are
// those of proc_pid_net(5).
func socketInodes(table []byte, port uint16) []string {
	const local, remote, inode = 1, 2, 9
	var found []string
	for line := range strings.Lines(string(table)) {
		columns := strings.Fields(line)
		if len(columns) <= inode || !strings.HasSuffix(columns[remote], ":0000") {
			continue
		}
		_, hex, _ := strings.Cut(columns[local], ":")
		if number, err := strconv.ParseUint(hex, 16, 16); err == nil && uint16(number) == port {
			found = append(found, columns[inode])
		}
	}
	return found
}
