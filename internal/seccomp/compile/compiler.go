package compile

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/seccomp"
)

// compiler collects the rules of a profile.
type compiler struct {
	machine   Machine
	otherwise uint32
	abis      []target
}

// target is one of the ABIs of the machine.
type target struct {
	abi
	numbers map[string]uint32
	rules   map[uint32][]*rule
	highest uint32 // the number that is the highest of those that the profile names
}

func newCompiler(in *profile, machine Machine) (*compiler, error) {
	if in.DefaultAction == "" {
		return nil, errors.New(`it has no defaultAction: add "defaultAction": "SCMP_ACT_ERRNO"`)
	}
	otherwise, err := actionOf("defaultAction", in.DefaultAction, in.DefaultErrnoRet, in.DefaultErrno)
	if err != nil {
		return nil, err
	}
	abis := abisOf(machine.Architecture)
	if abis == nil {
		return nil, fmt.Errorf("cocker cannot filter the system calls of %s: seccomp = \"none\" does without", machine.Architecture)
	}
	named, err := architectures(in)
	if err != nil {
		return nil, err
	}
	c := &compiler{machine: machine, otherwise: otherwise}
	for i, a := range abis {
		if i == 0 || slices.Contains(named(abis[0].name), a.name) {
			c.abis = append(c.abis, target{abi: a, numbers: numbersOf(a.table), rules: map[uint32][]*rule{}})
		}
	}
	return c, nil
}

// architectures gives what a profile names besides the machine's own.
func architectures(in *profile) (func(own string) []string, error) {
	if len(in.Architectures) > 0 && len(in.ArchMap) > 0 {
		return nil, errors.New("it has both architectures and archMap: take one out")
	}
	return func(own string) []string {
		for _, a := range in.ArchMap {
			if a.Architecture == own {
				return a.SubArchitectures
			}
		}
		return in.Architectures
	}, nil
}

// take adds an element of syscalls. Names that no table has are those of other machines, or
// of kernels to come; other runtimes pass over them, too.
func (c *compiler) take(s *syscalls) error {
	names := s.Names
	if s.Name != "" {
		names = append([]string{s.Name}, names...)
	}
	if len(names) == 0 {
		return errors.New("it has no names")
	}
	action, err := actionOf("action", s.Action, s.ErrnoRet, s.Errno)
	if err != nil {
		return err
	}
	all, err := conditionsOf(s.Args)
	if err != nil {
		return err
	}
	includes, err := capabilities(s.Includes.Caps)
	if err != nil {
		return fmt.Errorf("includes: %w", err)
	}
	excludes, err := capabilities(s.Excludes.Caps)
	if err != nil {
		return fmt.Errorf("excludes: %w", err)
	}
	applies, err := c.applies(s)
	if err != nil || !applies {
		return err
	}
	var set uint64
	for _, capability := range includes {
		set |= capability
	}
	for _, conditions := range all {
		r := &rule{conditions: conditions, includes: set, excludes: excludes, action: action}
		for i := range c.abis {
			c.abis[i].add(names, r)
		}
	}
	return nil
}

func (t *target) add(names []string, r *rule) {
	for _, name := range names {
		if number, ok := t.numbers[name]; ok {
			t.rules[number] = append(t.rules[number], r)
			if number < privateNumbers {
				t.highest = max(t.highest, number)
			}
		}
	}
}

// privateNumbers are beyond those that the kernel gives to new system calls
// (__ARM_NR_BASE in arm's asm/unistd.h).
const privateNumbers = 0x0f0000

// conditionsOf are the alternatives that the arguments of a rule make: more than one if an
// argument is named twice. All runtimes have it so, as libseccomp once compared no argument
// twice.
func conditionsOf(arguments []argument) ([][]condition, error) {
	var all []condition
	twice := false
	for _, a := range arguments {
		const last = 5
		if a.Index > last {
			return nil, fmt.Errorf("args: there is no argument %d: they are 0 to %d", a.Index, last)
		}
		c := condition{index: a.Index, comparison: a.Op, value: a.Value}
		switch a.Op {
		case notEqual, less, lessEqual, equal, greaterEqual, greater:
		case maskedEqual:
			c.mask, c.value = a.Value, a.ValueTwo&a.Value
		default:
			return nil, fmt.Errorf("args: op is %q; it must be SCMP_CMP_ and one of NE, LT, LE, EQ, GE, GT, MASKED_EQ", a.Op)
		}
		twice = twice || slices.ContainsFunc(all, func(other condition) bool { return other.index == c.index })
		all = append(all, c)
	}
	if !twice {
		return [][]condition{all}, nil
	}
	var alternatives [][]condition
	for _, c := range all {
		alternatives = append(alternatives, []condition{c})
	}
	return alternatives, nil
}

// applies tells whether a rule is for this machine. As with Docker its own architecture
// counts, and the rule holds for the others that it can run, too.
func (c *compiler) applies(s *syscalls) (bool, error) {
	own := c.abis[0].goarch
	if len(s.Includes.Arches) > 0 && !slices.Contains(s.Includes.Arches, own) || slices.Contains(s.Excludes.Arches, own) {
		return false, nil
	}
	for _, f := range []struct {
		version string
		wanted  bool
	}{{s.Includes.MinKernel, true}, {s.Excludes.MinKernel, false}} {
		if f.version == "" {
			continue
		}
		reached, err := reaches(c.machine.Kernel, f.version)
		if err != nil || reached != f.wanted {
			return false, err
		}
	}
	return true, nil
}

// reaches compares a release of the kernel with a version: 6.12.3-cloud with 6.8.
func reaches(release, version string) (bool, error) {
	have, want := strings.SplitN(release, ".", 3), strings.Split(version, ".")
	for i := range want {
		w, err := strconv.Atoi(want[i])
		if err != nil || i > 1 {
			return false, fmt.Errorf("minKernel is %q; it must be two numbers, such as 5.10", version)
		}
		h := 0
		if i < len(have) {
			h, _ = strconv.Atoi(strings.TrimRight(have[i], "-+abcdefghijklmnopqrstuvwxyz"))
		}
		if h != w {
			return h > w, nil
		}
	}
	return true, nil
}

// finish makes the program of all rules. Where the default is a refusal, what neither the
// tables nor the profile can know of, system calls that are newer than either, is as in a
// kernel that has it not: the C library and many others try what is new, and go on without
// it only after ENOSYS.
func (c *compiler) finish() (*seccomp.Program, error) {
	unknown := c.otherwise
	permissive := c.otherwise == unix.SECCOMP_RET_ALLOW || c.otherwise == unix.SECCOMP_RET_LOG || c.otherwise&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_TRACE
	if !permissive {
		unknown = errno(unix.ENOSYS)
	}
	same := map[string]*decision{}
	one := func(d *decision) *decision {
		key := d.key()
		if known := same[key]; known != nil {
			return known
		}
		same[key] = d
		return d
	}
	var tables []table
	for i := range c.abis {
		t := &c.abis[i]
		decided := map[uint32]*decision{}
		for _, number := range t.numbers {
			switch rules := t.rules[number]; {
			case rules != nil:
				decided[number] = one(&decision{rules: rules, otherwise: c.otherwise})
			case number <= t.highest || number >= privateNumbers:
				decided[number] = one(&decision{otherwise: c.otherwise})
			}
		}
		tables = append(tables, tableOf(&t.abi, decided, one(&decision{otherwise: unknown})))
	}
	return program(tables)
}
