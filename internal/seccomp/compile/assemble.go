// Package compile makes filters of system calls (seccomp(2)) of profiles in the JSON form
// of OCI runtimes, with what Docker and Podman have added to it. It may import
// internal/seccomp.
package compile

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/seccomp"
)

// label is a place in a program that is not known yet.
type label int

// The targets of a conditional jump that are no labels.
const (
	next label = -1 - iota // the next instruction
	skip                   // the one after that
)

// instruction is one whose jumps go to labels.
type instruction struct {
	code   uint16
	k      uint32
	jt, jf label // of a conditional jump; of an unconditional one jt counts
	all    uint64
}

// assembler collects instructions.
type assembler struct {
	code   []instruction
	places []int // of the labels; -1: not known yet
}

func (a *assembler) label() label {
	a.places = append(a.places, -1)
	return label(len(a.places) - 1)
}

// here makes a label stand for the next instruction.
func (a *assembler) here(l label) { a.places[l] = len(a.code) }

func (a *assembler) add(i instruction) { a.code = append(a.code, i) }

// load takes a word of struct seccomp_data, which alone a filter can read.
func (a *assembler) load(offset uint32) {
	a.add(instruction{code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, k: offset})
}

func (a *assembler) result(value uint32) {
	a.add(instruction{code: unix.BPF_RET | unix.BPF_K, k: value})
}

// jump goes on at jt if the comparison with k is true, at jf otherwise.
func (a *assembler) jump(comparison uint16, k uint32, jt, jf label) {
	a.add(instruction{code: unix.BPF_JMP | unix.BPF_K | comparison, k: k, jt: jt, jf: jf})
}

func (a *assembler) always(to label) {
	a.add(instruction{code: unix.BPF_JMP | unix.BPF_JA, jt: to})
}

// unless goes on at a label if not all of these capabilities are there.
func (a *assembler) unless(all uint64, to label) {
	a.add(instruction{code: unix.BPF_JMP | unix.BPF_JA, jt: next, jf: to, all: all})
}

// maxShortJump is how far a conditional jump goes, whose distances are bytes.
const maxShortJump = 255

// finish puts in where the labels are. All jumps of these programs go forward, as the
// kernel wants it.
func (a *assembler) finish() (*seccomp.Program, error) {
	p := &seccomp.Program{Instructions: make([]unix.SockFilter, len(a.code))}
	if len(a.code) > seccomp.MaxInstructions {
		return nil, fmt.Errorf("it takes %d instructions, and the kernel takes %d: name fewer system calls, or fewer arguments", len(a.code), seccomp.MaxInstructions)
	}
	for at, i := range a.code {
		out := unix.SockFilter{Code: i.code, K: i.k}
		switch {
		case i.code&0x07 != unix.BPF_JMP:
		case i.all != 0:
			p.Switches = append(p.Switches, seccomp.Switch{At: uint16(at), All: i.all, With: uint32(a.distance(at, i.jt)), Without: uint32(a.distance(at, i.jf))}) //nolint:gosec // below MaxInstructions
		case i.code == unix.BPF_JMP|unix.BPF_JA:
			out.K = uint32(a.distance(at, i.jt)) //nolint:gosec // as above
		default:
			jt, jf := a.distance(at, i.jt), a.distance(at, i.jf)
			if jt > maxShortJump || jf > maxShortJump {
				return nil, fmt.Errorf("a jump over %d instructions", max(jt, jf))
			}
			out.Jt, out.Jf = uint8(jt), uint8(jf) //nolint:gosec // checked
		}
		p.Instructions[at] = out
	}
	return p, nil
}

// distance is that of a jump from an instruction: 0 is the next one.
func (a *assembler) distance(from int, to label) int {
	switch to {
	case next:
		return 0
	case skip:
		return 1
	}
	return a.places[to] - from - 1
}
