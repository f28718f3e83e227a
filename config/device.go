package config

import (
	"slices"
	"strconv"
	"strings"
)

// ParseDeviceLimit reads "PATH LIMIT", the form that systemd.resource-control(5)
// has for IOReadBandwidthMax=. It does not look at the path.
func ParseDeviceLimit(s string) (DeviceLimit, error) {
	l, problem := parseDeviceLimit(s)
	if problem != "" {
		return DeviceLimit{}, &Problem{File: "limit " + strconv.Quote(s), Text: problem}
	}
	return l, nil
}

// String is the inverse of ParseDeviceLimit.
func (l DeviceLimit) String() string { return l.Path + " " + l.Limit }

// parseDeviceLimit takes no path that would have to be quoted: systemd 257 reads it,
// but cannot hand it over to what starts the unit ("Failed to deserialize").
func parseDeviceLimit(s string) (l DeviceLimit, problem string) {
	words := strings.Fields(s)
	if len(words) != 2 {
		return l, `must be the path of a disk and a limit, such as "/dev/vda 10M" or "/srv 10M"; the path has no space`
	}
	l = DeviceLimit{Path: words[0], Limit: words[1]}
	if i := strings.IndexAny(l.Path, `"'\`); i >= 0 {
		return l, strconv.Quote(l.Path) + " has the character " + l.Path[i:i+1] + ", which systemd cannot take here; use another path to the disk"
	}
	if _, problem := parseAmount(l.Limit, 1000, "limit"); problem != "" {
		return l, strconv.Quote(l.Limit) + " " + problem
	}
	return l, ""
}

// deviceLimits is an array of limits, one for each disk.
func (b *builder) deviceLimits(e *entry) []DeviceLimit {
	var limits []DeviceLimit
	for i, v := range b.array(e, `strings such as "/dev/vda 10M"`) {
		s, ok := b.plain(e, v, i)
		if !ok {
			continue
		}
		l, problem := parseDeviceLimit(s)
		if problem != "" {
			b.fail(e, []any{i}, "%s", problem)
			continue
		}
		if b.path(e, l.Path, i) == "" {
			continue
		}
		if slices.ContainsFunc(limits, func(other DeviceLimit) bool { return other.Path == l.Path }) {
			b.fail(e, []any{i}, "%q has a limit already; keep one of them", l.Path)
			continue
		}
		limits = append(limits, l)
	}
	return limits
}

// DeviceLimits are those of all kinds.
func (r Resources) DeviceLimits() []DeviceLimit {
	return slices.Concat(r.IOReadBandwidthMax, r.IOWriteBandwidthMax, r.IOReadIOPSMax, r.IOWriteIOPSMax)
}
