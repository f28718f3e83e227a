package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// ErrNotFound says that no directory has a file of a container's name, or of a
// network's.
var ErrNotFound = errors.New("no such container")

// missing is ErrNotFound in other words.
type missing string

const errNoNetwork = missing("no such network")

func (m missing) Error() string        { return string(m) }
func (m missing) Is(target error) bool { return target == ErrNotFound } //nolint:errorlint // what errors.Is asks

// Problem is one thing that is wrong with the file of a container or a network.
type Problem struct {
	File string // absolute path
	Line int    // from 1; 0: the file as a whole
	Key  string // as written in the file, "network.ports[1]"; "" where the text names it
	Text string // what is wrong and what to do
}

// Error gives "FILE:LINE: KEY: TEXT" without what is not known. It is one line of
// valid UTF-8, whatever stands in the file or its name.
func (p *Problem) Error() string {
	text := p.Text
	if p.Key != "" {
		text = p.Key + ": " + text
	}
	if p.Line != 0 {
		text = fmt.Sprintf("%d: %s", p.Line, text)
	} else {
		text = " " + text
	}
	return strings.Map(visible, p.File+":"+text)
}

func visible(r rune) rune {
	if unicode.IsControl(r) {
		return '?'
	}
	return r
}

// Problems lists every Problem that is joined or wrapped in err, in order.
func Problems(err error) []*Problem {
	var problem *Problem
	switch e := err.(type) {
	case nil:
		return nil
	case *Problem:
		return []*Problem{e}
	case interface{ Unwrap() []error }:
		var all []*Problem
		for _, one := range e.Unwrap() {
			all = append(all, Problems(one)...)
		}
		return all
	}
	if errors.As(err, &problem) {
		return []*Problem{problem}
	}
	return nil
}
