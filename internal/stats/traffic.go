package stats

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Traffic is what went through links, in bytes, as the container sees it.
type Traffic struct{ Received, Sent uint64 }

// OfLinks adds up what went through the host's ends of links: what the container has sent,
// the host has received. The container can neither rename nor delete these.
func OfLinks(names []string) (*Traffic, error) { return ofLinks("/sys/class/net", names) }

func ofLinks(root string, names []string) (*Traffic, error) {
	sum := &Traffic{}
	for _, name := range names {
		received, err := counter(root, name, "tx_bytes")
		sent, sentErr := counter(root, name, "rx_bytes")
		if err := errors.Join(err, sentErr); err != nil {
			return nil, fmt.Errorf("read counters of %s: %w", name, err)
		}
		sum.Received += received
		sum.Sent += sent
	}
	return sum, nil
}

func counter(root, link, name string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(root, link, "statistics", name))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

// OfNamespace adds up all links but lo of the network namespace that a process is in.
func OfNamespace(pid int) (*Traffic, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return nil, err
	}
	return parseNetDev(string(text))
}

// parseNetDev reads proc(5) /proc/net/dev: two lines of headers, then "NAME: BYTES ...",
// the received bytes first and the sent ones ninth. A name has neither blanks nor colons
// (dev_valid_name in net/core/dev.c, Linux 6.18).
func parseNetDev(text string) (*Traffic, error) {
	sum := &Traffic{}
	for line := range strings.Lines(text) {
		name, rest, isLink := strings.Cut(line, ":")
		if !isLink || strings.TrimSpace(name) == "lo" {
			continue
		}
		fields := strings.Fields(rest)
		if len(fields) < 9 {
			return nil, fmt.Errorf("read /proc/net/dev: %q has too few columns", line)
		}
		received, err := strconv.ParseUint(fields[0], 10, 64)
		sent, sentErr := strconv.ParseUint(fields[8], 10, 64)
		if err := errors.Join(err, sentErr); err != nil {
			return nil, fmt.Errorf("read /proc/net/dev: %w", err)
		}
		sum.Received += received
		sum.Sent += sent
	}
	return sum, nil
}
