package compile

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/seccomp"
)

// abi is a way to make system calls: a processor has one or two.
type abi struct {
	name   string // as OCI runtimes have it
	goarch string // as includes.arches and excludes.arches have it
	audit  uint32 // as the kernel tells it to filters
	x32    bool   // what has x32Bit shares its number
	table  string // its numbers
}

// x32Bit is in the numbers of the third ABI of x86-64 (asm/unistd.h, __X32_SYSCALL_BIT).
const x32Bit = 0x40000000

// abisOf are those of a Go architecture, the processor's own first; nil: there is no
// table for it.
func abisOf(goarch string) []abi {
	switch goarch {
	case "amd64":
		return []abi{
			{name: "SCMP_ARCH_X86_64", goarch: "amd64", audit: unix.AUDIT_ARCH_X86_64, x32: true, table: numbersAMD64},
			{name: "SCMP_ARCH_X86", goarch: "x86", audit: unix.AUDIT_ARCH_I386, table: numbers386},
		}
	case "arm64":
		return []abi{
			{name: "SCMP_ARCH_AARCH64", goarch: "arm64", audit: unix.AUDIT_ARCH_AARCH64, table: numbersARM64},
			{name: "SCMP_ARCH_ARM", goarch: "arm", audit: unix.AUDIT_ARCH_ARM, table: numbersARM},
		}
	}
	return nil
}

func errno(number unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(number) }

// table is what is done with the system calls of an ABI, in the order of their numbers.
type table struct {
	abi   *abi
	spans []span
}

// program puts the tables together. A system call of an ABI without one ends the process:
// the filter cannot tell which it is. x32 is as if the kernel had been built without it,
// which Debian's is: it would double what there is to get wrong (CVE-2014-0038).
func program(tables []table) (*seccomp.Program, error) {
	var a assembler
	var found places
	a.load(offsetArchitecture)
	for _, t := range tables {
		other := a.label()
		if size := searchSize(t.spans) + 3; size <= maxShortJump { // load, and the test for x32
			a.jump(unix.BPF_JEQ, t.abi.audit, next, other)
		} else {
			a.jump(unix.BPF_JEQ, t.abi.audit, skip, next)
			a.always(other)
		}
		a.load(offsetNumber)
		if t.abi.x32 {
			a.jump(unix.BPF_JGE, x32Bit, next, skip)
			a.result(errno(unix.ENOSYS))
		}
		a.search(t.spans, &found)
		a.here(other)
	}
	a.result(unix.SECCOMP_RET_KILL_PROCESS)
	for i := 0; i < len(found.decisions); i++ {
		a.here(found.labels[i])
		a.decide(found.decisions[i])
	}
	return a.finish()
}

// tableOf orders what is decided on the system calls of an ABI by their numbers. What is
// between them is unknown.
func tableOf(abi *abi, decided map[uint32]*decision, unknown *decision) table {
	numbers := make([]uint32, 0, len(decided))
	for number := range decided {
		numbers = append(numbers, number)
	}
	slices.Sort(numbers)
	t := table{abi: abi}
	follows := uint32(0)
	add := func(first uint32, d *decision) {
		if len(t.spans) == 0 || t.spans[len(t.spans)-1].rules != d {
			t.spans = append(t.spans, span{first, d})
		}
	}
	for _, number := range numbers {
		if number != follows {
			add(follows, unknown)
		}
		add(number, decided[number])
		follows = number + 1
	}
	add(follows, unknown)
	return t
}
