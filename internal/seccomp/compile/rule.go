package compile

import (
	"fmt"
	"math/bits"
	"strings"

	"golang.org/x/sys/unix"
)

// comparison is how a condition compares.
type comparison string

// The comparisons of OCI runtimes.
const (
	notEqual     comparison = "SCMP_CMP_NE"
	less         comparison = "SCMP_CMP_LT"
	lessEqual    comparison = "SCMP_CMP_LE"
	equal        comparison = "SCMP_CMP_EQ"
	greaterEqual comparison = "SCMP_CMP_GE"
	greater      comparison = "SCMP_CMP_GT"
	maskedEqual  comparison = "SCMP_CMP_MASKED_EQ"
)

// condition is one on an argument, all 64 bits of it.
type condition struct {
	index       uint
	comparison  comparison
	value, mask uint64
}

// rule says what is done with a system call if all of it is true.
type rule struct {
	conditions []condition
	includes   uint64   // capabilities that all must be there
	excludes   []uint64 // capabilities none of which may be there
	action     uint32   // a return value of a filter
}

func (r *rule) unconditional() bool {
	return len(r.conditions) == 0 && r.includes == 0 && len(r.excludes) == 0
}

// decision is what is done with a system call: the first rule that is true counts.
type decision struct {
	rules     []*rule
	otherwise uint32
}

// constant tells whether it is the same for every call in every container.
func (d *decision) constant() (action uint32, ok bool) {
	switch {
	case len(d.rules) == 0:
		return d.otherwise, true
	case d.rules[0].unconditional():
		return d.rules[0].action, true
	}
	return 0, false
}

// key is the same for decisions that are the same.
func (d *decision) key() string {
	var b strings.Builder
	fmt.Fprint(&b, d.otherwise)
	for _, r := range d.rules {
		fmt.Fprint(&b, ";", *r)
	}
	return b.String()
}

// decide adds the instructions of a decision. A rule that only a capability has kept from
// being the one tells the others that it is not there.
func (a *assembler) decide(d *decision) {
	var absent uint64
	for _, known := range d.rules {
		r := *known
		r.excludes = nil
		for _, capability := range known.excludes {
			if capability&absent == 0 {
				r.excludes = append(r.excludes, capability)
			}
		}
		other := a.label()
		a.rule(&r, other)
		a.here(other)
		if r.unconditional() {
			return
		}
		if len(r.conditions) == 0 && len(r.excludes) == 0 && bits.OnesCount64(r.includes) == 1 {
			absent |= r.includes
		}
	}
	a.result(d.otherwise)
}

func (a *assembler) rule(r *rule, other label) {
	if r.includes != 0 {
		a.unless(r.includes, other)
	}
	for _, capability := range r.excludes {
		absent := a.label()
		a.unless(capability, absent)
		a.always(other)
		a.here(absent)
	}
	for _, c := range r.conditions {
		a.condition(c, other)
	}
	a.result(r.action)
}

// Offsets in struct seccomp_data (linux/seccomp.h).
const (
	offsetNumber       = 0
	offsetArchitecture = 4
	offsetArguments    = 16
)

// condition goes on at other unless it is true. Filters know words only; the lower one of
// an argument is the first on all architectures that there are tables for.
func (a *assembler) condition(c condition, other label) {
	lower := offsetArguments + 8*uint32(c.index) //nolint:gosec // below 6
	high, low := uint32(c.value>>32), uint32(c.value&0xffffffff)
	yes := a.label()
	defer a.here(yes)
	a.load(lower + 4)
	switch c.comparison {
	case equal:
		a.jump(unix.BPF_JEQ, high, next, other)
		a.load(lower)
		a.jump(unix.BPF_JEQ, low, yes, other)
	case notEqual:
		a.jump(unix.BPF_JEQ, high, next, yes)
		a.load(lower)
		a.jump(unix.BPF_JEQ, low, other, yes)
	case greater:
		a.compare(unix.BPF_JGT, high, low, lower, yes, other)
	case greaterEqual:
		a.compare(unix.BPF_JGE, high, low, lower, yes, other)
	case less:
		a.compare(unix.BPF_JGE, high, low, lower, other, yes)
	case lessEqual:
		a.compare(unix.BPF_JGT, high, low, lower, other, yes)
	case maskedEqual:
		a.and(uint32(c.mask >> 32))
		a.jump(unix.BPF_JEQ, high, next, other)
		a.load(lower)
		a.and(uint32(c.mask & 0xffffffff))
		a.jump(unix.BPF_JEQ, low, yes, other)
	}
}

// compare makes one of two words, of which the higher one has been loaded: how compares the
// lower ones.
func (a *assembler) compare(how uint16, high, low, lower uint32, jt, jf label) {
	a.jump(unix.BPF_JGT, high, jt, next)
	a.jump(unix.BPF_JEQ, high, next, jf)
	a.load(lower)
	a.jump(how, low, jt, jf)
}

func (a *assembler) and(k uint32) {
	a.add(instruction{code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, k: k})
}
