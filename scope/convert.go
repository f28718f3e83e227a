package scope

import (
	"encoding/base64"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// one is the usual outcome of a conversion: a single property.
func one(name string, value any) []sd.Property {
	return []sd.Property{{Name: name, Value: dbus.MakeVariant(value)}}
}

func text(key, value string) ([]sd.Property, error) { return one(key, value), nil }

func boolean(key, value string) ([]sd.Property, error) {
	b, err := parseBool(value)
	return one(key, b), err
}

// words is a list; the unit file's empty value, which clears it, is the empty list.
func words(key, value string) ([]sd.Property, error) {
	list, err := splitWords(value)
	if list == nil {
		list = []string{}
	}
	return one(key, list), err
}

// number is an integer of the property's own width, in decimal.
func number[T int32 | uint32 | uint64](key, value string) ([]sd.Property, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || int64(T(n)) != n || (n < 0 && T(n) > 0) {
		return nil, fmt.Errorf("%q is no number that it can take", value)
	}
	return one(key, T(n)), nil
}

// usec is the D-Bus name of a time span: "RestartSec=" is RestartUSec.
func usec(key string) string { return strings.TrimSuffix(key, "Sec") + "USec" }

// timeSpan is a time in microseconds. Timeouts take 0 for "no limit" in unit
// files, which systemd itself turns into infinity.
func timeSpan(key, value string) ([]sd.Property, error) {
	t, err := parseTimeSpan(value)
	if t == 0 && strings.HasPrefix(key, "Timeout") {
		t = infinity
	}
	return one(usec(key), t), err
}

// timeoutBoth is TimeoutSec=, short for the two others.
func timeoutBoth(_, value string) ([]sd.Property, error) {
	start, err := timeSpan("TimeoutStartSec", value)
	stop, _ := timeSpan("TimeoutStopSec", value)
	return append(start, stop...), err
}

// scale converts a share of the host's resource to the range that properties
// named …Scale have, 0 to 2^32-1; rounded as systemd's own clients do.
func scale(key, value string) ([]sd.Property, error) {
	permyriad, err := parsePermyriad(value)
	if err == nil && permyriad > 10000 {
		err = fmt.Errorf("%q is more than 100%%", value)
	}
	return one(key+"Scale", uint32((permyriad*math.MaxUint32+5000)/10000)), err
}

func size(key, value string) ([]sd.Property, error) {
	if strings.HasSuffix(value, "%") {
		return scale(key, value)
	}
	bytes, err := parseSize(value, 1024)
	return one(key, bytes), err
}

func tasks(key, value string) ([]sd.Property, error) {
	switch {
	case strings.HasSuffix(value, "%"):
		return scale(key, value)
	case value == "infinity":
		return one(key, infinity), nil
	}
	return number[uint64](key, value)
}

// cpuQuota is microseconds of CPU time for each second.
func cpuQuota(_, value string) ([]sd.Property, error) {
	if value == "" {
		return one("CPUQuotaPerSecUSec", infinity), nil
	}
	permyriad, err := parsePermyriad(value)
	if err == nil && permyriad == 0 {
		err = fmt.Errorf("a quota of nothing would stop the container")
	}
	return one("CPUQuotaPerSecUSec", permyriad*100), err
}

// cpuWeight takes the word idle, which D-Bus has as zero.
func cpuWeight(key, value string) ([]sd.Property, error) {
	if value == "idle" {
		return one(key, uint64(0)), nil
	}
	return number[uint64](key, value)
}

func cpus(key, value string) ([]sd.Property, error) {
	mask, err := parseCPUs(value)
	return one(key, mask), err
}

func signal(key, value string) ([]sd.Property, error) {
	n, err := parseSignal(value)
	return one(key, n), err
}

// delegate is a boolean or a list of controllers, which is another property.
func delegate(key, value string) ([]sd.Property, error) {
	if b, err := parseBool(value); err == nil {
		return one(key, b), nil
	}
	return words("DelegateControllers", value)
}

type textPair struct{ First, Second string }

// devices is "PATH [rwm]".
func devices(key, value string) ([]sd.Property, error) {
	list := []textPair{}
	if value != "" {
		path, access, _ := strings.Cut(value, " ")
		list = append(list, textPair{path, strings.TrimSpace(access)})
	}
	return one(key, list), nil
}

type deviceLimit struct {
	Path  string
	Value uint64
}

// deviceSize is "PATH NUMBER", in powers of 1000.
func deviceSize(key, value string) ([]sd.Property, error) {
	return perDevice(key, value, func(s string) (uint64, error) { return parseSize(s, 1000) })
}

func deviceWeight(key, value string) ([]sd.Property, error) {
	return perDevice(key, value, func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) })
}

// deviceTime is "PATH TIME".
func deviceTime(key, value string) ([]sd.Property, error) {
	return perDevice(usec(key), value, parseTimeSpan)
}

// perDevice is a path, which may be quoted, and what parse takes. The unit file's
// empty value, which clears the list, is the empty list.
func perDevice(key, value string, parse func(string) (uint64, error)) ([]sd.Property, error) {
	if value == "" {
		return one(key, []deviceLimit{}), nil
	}
	path, rest, err := nextWord(value)
	if err != nil {
		return nil, err
	}
	n, err := parse(strings.TrimSpace(rest))
	return one(key, []deviceLimit{{path, n}}), err
}

type addressPrefix struct {
	Family  int32 // AF_INET or AF_INET6
	Address []byte
	Bits    uint32
}

// prefixes is a list of addresses and networks. The words any, localhost,
// link-local and multicast of unit files are not taken: write the networks.
func prefixes(key, value string) ([]sd.Property, error) {
	list := []addressPrefix{}
	for field := range strings.FieldsSeq(value) {
		p, err := netip.ParsePrefix(field)
		if ip, perr := netip.ParseAddr(field); perr == nil {
			p, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("%q is no address or network", field)
		}
		family := int32(2)
		if p.Addr().Is6() {
			family = 10
		}
		list = append(list, addressPrefix{family, p.Addr().AsSlice(), uint32(p.Bits())})
	}
	return one(key, list), nil
}

type conditionEntry struct {
	Type            string
	Trigger, Negate bool
	Parameter       string
}

// condition is any Condition…= or Assert…=: "|" makes it a trigger, "!" negates.
func condition(key, value string) ([]sd.Property, error) {
	property := "Conditions"
	if strings.HasPrefix(key, "Assert") {
		property = "Asserts"
	}
	value, trigger := strings.CutPrefix(value, "|")
	value, negate := strings.CutPrefix(value, "!")
	return one(property, []conditionEntry{{key, trigger, negate, value}}), nil
}

// loadCredential is "ID[:PATH]": systemd.exec(5).
func loadCredential(key, value string) ([]sd.Property, error) {
	id, path, found := strings.Cut(value, ":")
	if !found {
		path = id
	}
	type credential struct{ ID, Path string }
	return one(key, []credential{{id, path}}), nil
}

// encryptedCredential is "ID:BASE64", which travels as bytes.
func encryptedCredential(key, value string) ([]sd.Property, error) {
	id, text, _ := strings.Cut(value, ":")
	data, err := base64.StdEncoding.DecodeString(text)
	type credential struct {
		ID    string
		Value []byte
	}
	return one(key, []credential{{id, data}}), err
}
