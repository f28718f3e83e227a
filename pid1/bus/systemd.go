package bus

import (
	"errors"
	"strconv"
	"strings"
)

// Manager is the interface of systemd that has the calls.
const Manager = "org.freedesktop.systemd1.Manager"

// Shell is what machined asks for with StartTransientUnit.
type Shell struct {
	Unit        string
	User        string
	Environment []string
	Path        string // the program
	Arguments   []string
	Files       [3]int // which of the descriptors that came are standard input, output and error; -1: none
}

// The names of the units that machined asks for.
const (
	shellPrefix = "container-shell@"
	gettyPrefix = "container-getty@"
	suffix      = ".service"
)

// ParseShell reads the arguments of StartTransientUnit: the name of a unit, a mode,
// properties, other units. All properties are optional, as their number has grown from
// version to version, and those that are not known are ignored.
func ParseShell(c *Call) (*Shell, error) {
	if c.signature != "ssa(sv)a(sa(sv))" {
		return nil, errMalformed
	}
	d := &decoder{data: c.body, order: c.order}
	s := &Shell{Unit: d.string(), Files: [3]int{-1, -1, -1}}
	d.string()
	d.array(8, func() {
		d.align(8)
		name := d.string()
		s.property(d, name, d.signature())
	})
	switch {
	case d.err != nil:
		return nil, d.err
	case !strings.HasPrefix(s.Unit, shellPrefix) || !strings.HasSuffix(s.Unit, suffix):
		return nil, errors.New("this container has no systemd: only machinectl shell and machinectl login work")
	case s.Path == "" || len(s.Arguments) == 0:
		return nil, errors.New("the call names no program")
	}
	return s, nil
}

func (s *Shell) property(d *decoder, name, signature string) {
	switch {
	case name == "StandardInputFileDescriptor" && signature == "h":
		s.Files[0] = fileIndex(d)
	case name == "StandardOutputFileDescriptor" && signature == "h":
		s.Files[1] = fileIndex(d)
	case name == "StandardErrorFileDescriptor" && signature == "h":
		s.Files[2] = fileIndex(d)
	case name == "User" && signature == "s":
		s.User = d.string()
	case name == "Environment" && signature == "as":
		s.Environment = d.strings()
	case name == "ExecStart" && signature == "a(sasb)":
		d.array(8, func() {
			d.align(8)
			s.Path, s.Arguments = d.string(), d.strings()
			d.bool()
		})
	default:
		d.skip(signature, 0)
	}
}

func fileIndex(d *decoder) int {
	index := d.uint32()
	if index >= maxFiles {
		d.fail()
		return -1
	}
	return int(index)
}

// ParseGetty reads the arguments of StartUnit, and gives the number of the terminal on
// which a user is to log in.
func ParseGetty(c *Call) (terminal int, err error) {
	if c.signature != "ss" {
		return 0, errMalformed
	}
	d := &decoder{data: c.body, order: c.order}
	unit := d.string()
	if d.err != nil {
		return 0, d.err
	}
	number, isPrefix := strings.CutPrefix(unit, gettyPrefix)
	number, isSuffix := strings.CutSuffix(number, suffix)
	terminal, err = strconv.Atoi(number)
	if !isPrefix || !isSuffix || err != nil || terminal < 0 {
		return 0, errors.New("this container has no systemd: only machinectl shell and machinectl login work")
	}
	return terminal, nil
}
