// Package seccomp has the filter of system calls that containers get by default
// (seccomp(2)), as a table that was compiled when cocker was built: a start parses
// nothing. What the table comes from is default.json, in the form that OCI runtimes
// read; package compile made it, and makes filters of other such files. It imports
// nothing of cocker, and is part of cocker-init: keep it small.
package seccomp

import (
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

//go:generate go run ./gen

// Program is a filter of which a part depends on capabilities.
type Program struct {
	Instructions []unix.SockFilter
	Switches     []Switch
}

// Switch is a jump of a program that goes one way or the other, by the capabilities that a
// container has. It is an unconditional one for the kernel, which works out such programs
// once for each system call instead of running them each time (seccomp_is_const_allow in
// kernel/seccomp.c, Linux 5.11).
type Switch struct {
	At            uint16 // the index of the jump
	All           uint64 // a set of capabilities, bit n is capability n
	With, Without uint32 // how far the jump goes if all of them are there, and if not
}

// For is the filter of a container that has a set of capabilities.
func (p *Program) For(capabilities uint64) []unix.SockFilter {
	return choose(slices.Clone(p.Instructions), p.Switches, capabilities)
}

func choose(filter []unix.SockFilter, switches []Switch, capabilities uint64) []unix.SockFilter {
	for _, s := range switches {
		filter[s.At].K = s.Without
		if capabilities&s.All == s.All {
			filter[s.At].K = s.With
		}
	}
	return filter
}

// Default is the filter of a container whose file does not name another; nil: there is none
// for this processor.
func Default(capabilities uint64) []unix.SockFilter {
	filter, _ := Parse(defaultInstructions) // a test reads it
	return choose(filter, defaultSwitches[:], capabilities)
}

// instructionSize is that of struct sock_filter (linux/filter.h).
const instructionSize = 8

// Bytes is a filter as Parse reads it.
func Bytes(filter []unix.SockFilter) []byte {
	text := make([]byte, 0, len(filter)*instructionSize)
	for _, i := range filter {
		text = binary.LittleEndian.AppendUint16(text, i.Code)
		text = append(text, i.Jt, i.Jf)
		text = binary.LittleEndian.AppendUint32(text, i.K)
	}
	return text
}

// Parse reads what Bytes has written.
func Parse(text string) ([]unix.SockFilter, error) {
	if len(text) == 0 || len(text)%instructionSize != 0 || len(text)/instructionSize > MaxInstructions {
		return nil, errors.New("a filter for system calls of no possible length")
	}
	filter := make([]unix.SockFilter, len(text)/instructionSize)
	for n := range filter {
		i := text[n*instructionSize:]
		filter[n] = unix.SockFilter{
			Code: uint16(i[0]) | uint16(i[1])<<8, Jt: i[2], Jf: i[3],
			K: uint32(i[4]) | uint32(i[5])<<8 | uint32(i[6])<<16 | uint32(i[7])<<24,
		}
	}
	return filter, nil
}

// MaxInstructions bounds a filter (BPF_MAXINSNS in linux/bpf_common.h).
const MaxInstructions = 4096
