package config

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// PullPolicy says whether the images of a container are pulled before it starts.
type PullPolicy string

// The values of the key pull.
const (
	PullMissing PullPolicy = "missing" // those that are not here
	PullAlways  PullPolicy = "always"  // all, and the container starts with no older ones
	PullNever   PullPolicy = "never"
)

// Pulled are the images of the container that are pulled at its start: those whose
// references say where from. A short name, such as "demo:1", is an image of this
// host, whatever registry "cocker image pull" would ask for it.
func (c *Container) Pulled() []string {
	var pulled []string
	for _, reference := range c.Images {
		if c.Pull != PullNever && namesPlace(reference) {
			pulled = append(pulled, reference)
		}
	}
	return pulled
}

// namesPlace says whether a reference begins with a registry's host or ssh://.
func namesPlace(reference string) bool {
	first, _, hasSlash := strings.Cut(reference, "/")
	return hasSlash && (isHost(first) || strings.HasPrefix(reference, "ssh://"))
}

// Marker is the name of the file below /var/lib/cocker/names that is there when the
// store has an image that a reference means. Package image keeps them, one for each
// stored name and one for each repository; "+" is in no reference. An image with
// a digest is stored without its tag.
func Marker(reference string) string {
	name, digest, hasDigest := cutDigest(reference)
	if hasDigest {
		name, _, _ = cutTag(name)
		name += "@" + digest
	}
	return strings.ReplaceAll(name, "/", "+")
}

// cutDigest cuts at the "@" of a digest: one before a slash stands behind a user.
func cutDigest(s string) (name, digest string, found bool) {
	i := strings.LastIndexByte(s, '@')
	if i < 0 || strings.Contains(s[i:], "/") {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func (b *builder) pull(e *entry) {
	switch s, ok := b.plain(e, e.value); {
	case !ok:
	case s == string(PullMissing), s == string(PullAlways), s == string(PullNever):
		b.c.Pull = PullPolicy(s)
	default:
		b.fail(e, nil, `%q is not one of "missing" (images that are not here are pulled before the start), "always" and "never"`, s)
	}
}

// pullTimeout takes what systemd takes for a time span, in seconds without a unit.
func (b *builder) pullTimeout(e *entry) {
	text, isText := e.value.(string)
	if n, ok := e.value.(int64); ok {
		text, isText = strconv.FormatInt(n, 10), true
	}
	if !isText {
		b.fail(e, nil, `must be a time such as "30min", or "infinity", not %s`, kind(e.value))
		return
	}
	if _, ok := TimeSpan(text); !ok {
		b.fail(e, nil, `%q is no time above 0; write "90s", "30min", "1h 30min", or "infinity"`, text)
		return
	}
	b.c.PullTimeout = text
}

// checkPull finds what can be known without a network: nothing would ever be pulled.
func (b *builder) checkPull(entries []*entry) {
	e := find(entries, "", "pull")
	if e == nil || b.c.Pull != PullAlways || len(b.c.Images) == 0 || len(b.c.Pulled()) > 0 {
		return
	}
	b.fail(e, nil, `there is nothing to pull: %q does not say where from; write REGISTRY/%s, or leave the key out for an image of this host`, b.c.Images[0], b.c.Images[0])
}

// TimeSpan reads a time as systemd.time(7) has it, "1h 30min"; "infinity" is the longest
// there is. It is not ok if it is none, or 0.
func TimeSpan(s string) (total time.Duration, ok bool) {
	if s == "infinity" {
		return math.MaxInt64, true
	}
	for rest := strings.Trim(s, " "); rest != ""; {
		number := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
		rest = strings.TrimLeft(rest[len(number):], " ")
		unit := rest[:len(rest)-len(strings.TrimLeftFunc(rest, isLetter))]
		rest = strings.TrimLeft(rest[len(unit):], " ")
		length := timeUnit(unit)
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || length == 0 || n > int64(maxTimeSpan/length) {
			return 0, false
		}
		if total += time.Duration(n) * length; total > maxTimeSpan {
			return 0, false
		}
	}
	return total, total > 0
}

// maxTimeSpan is more than anybody waits: what is longer is a mistake.
const maxTimeSpan = 365 * 24 * time.Hour

func timeUnit(s string) time.Duration {
	switch s {
	case "ms", "msec":
		return time.Millisecond
	case "", "s", "sec", "second", "seconds":
		return time.Second
	case "m", "min", "minute", "minutes":
		return time.Minute
	case "h", "hr", "hour", "hours":
		return time.Hour
	case "d", "day", "days":
		return 24 * time.Hour
	case "w", "week", "weeks":
		return 7 * 24 * time.Hour
	}
	return 0
}
