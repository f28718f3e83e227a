package template

import (
	"bytes"
	"fmt"
	"slices"
)

// context is how many equal lines diff(1) -u shows around a change.
const context = 3

// maxEdits bounds the search for the least number of changed lines, whose memory grows
// with its square; beyond it all lines in the middle are shown as changed.
const maxEdits = 500

// edit is a line of a diff: ' ', '-' or '+', and the line.
type edit struct {
	kind byte
	line []byte
}

// Diff gives the changes from one text to another as diff(1) -u does, or nothing.
func Diff(oldName, newName string, from, to []byte) []byte {
	if bytes.Equal(from, to) {
		return nil
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", oldName, newName)
	edits := compare(split(from), split(to))
	oldLine, newLine := 1, 1 // of edits[at]
	for at := 0; at < len(edits); {
		begin, end := hunk(edits, at)
		if begin == len(edits) {
			break
		}
		oldLine, newLine = oldLine+begin-at, newLine+begin-at // those before are equal
		olds, news := count(edits[begin:end])
		fmt.Fprintf(&out, "@@ -%s +%s @@\n", span(oldLine, olds), span(newLine, news))
		for _, e := range edits[begin:end] {
			out.WriteByte(e.kind)
			out.Write(e.line)
			if !bytes.HasSuffix(e.line, []byte("\n")) {
				out.WriteString("\n\\ No newline at end of file\n")
			}
		}
		oldLine, newLine, at = oldLine+olds, newLine+news, end
	}
	return out.Bytes()
}

func split(text []byte) [][]byte { return slices.Collect(bytes.Lines(text)) }

// hunk finds the next changes that are so near to each other that they are shown together.
func hunk(edits []edit, from int) (begin, end int) {
	changed := func(i int) bool { return edits[i].kind != ' ' }
	first := from
	for first < len(edits) && !changed(first) {
		first++
	}
	if first == len(edits) {
		return first, first
	}
	last := first
	for i := first; i < len(edits) && i <= last+2*context+1; i++ {
		if changed(i) {
			last = i
		}
	}
	return max(from, first-context), min(len(edits), last+1+context)
}

func count(edits []edit) (olds, news int) {
	for _, e := range edits {
		if e.kind != '+' {
			olds++
		}
		if e.kind != '-' {
			news++
		}
	}
	return olds, news
}

// span is a range of lines: its number of lines is left out if it is one, and an empty
// one is named by the line before it.
func span(first, lines int) string {
	switch lines {
	case 0:
		return fmt.Sprintf("%d,0", first-1)
	case 1:
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d,%d", first, lines)
}

// compare finds the edits between two lists of lines.
func compare(from, to [][]byte) []edit {
	var head, tail []edit
	for len(from) > 0 && len(to) > 0 && bytes.Equal(from[0], to[0]) {
		head = append(head, edit{' ', from[0]})
		from, to = from[1:], to[1:]
	}
	for len(from) > 0 && len(to) > 0 && bytes.Equal(from[len(from)-1], to[len(to)-1]) {
		tail = append(tail, edit{' ', from[len(from)-1]})
		from, to = from[:len(from)-1], to[:len(to)-1]
	}
	slices.Reverse(tail)
	return append(append(head, shortest(from, to)...), tail...)
}

// shortest is the greedy algorithm of Myers, "An O(ND) Difference Algorithm and Its
// Variations" (1986): reach[k] is how far from can be read on diagonal k with d edits.
func shortest(from, to [][]byte) []edit {
	most := min(len(from)+len(to), maxEdits)
	reach := make([]int, 2*most+3)
	middle := most + 1
	var steps [][]int
	for d := 0; d <= most; d++ {
		steps = append(steps, slices.Clone(reach))
		for k := -d; k <= d; k += 2 {
			x := reach[middle+k-1] + 1
			if k == -d || k != d && reach[middle+k-1] < reach[middle+k+1] {
				x = reach[middle+k+1]
			}
			for x < len(from) && x-k < len(to) && bytes.Equal(from[x], to[x-k]) {
				x++
			}
			reach[middle+k] = x
			if x >= len(from) && x-k >= len(to) {
				return trace(steps, from, to, middle)
			}
		}
	}
	return replaced(from, to)
}

// trace goes the way back from the ends of both lists.
func trace(steps [][]int, from, to [][]byte, middle int) []edit {
	var edits []edit
	x, y := len(from), len(to)
	for d := len(steps) - 1; d >= 0; d-- {
		reach, k := steps[d], x-y
		previous := k - 1
		if k == -d || k != d && reach[middle+k-1] < reach[middle+k+1] {
			previous = k + 1
		}
		startX := reach[middle+previous]
		startY := startX - previous
		for x > 0 && y > 0 && (d == 0 || x > startX && y > startY) {
			x, y = x-1, y-1
			edits = append(edits, edit{' ', from[x]})
		}
		switch {
		case d == 0:
		case previous == k+1:
			y--
			edits = append(edits, edit{'+', to[y]})
		default:
			x--
			edits = append(edits, edit{'-', from[x]})
		}
	}
	slices.Reverse(edits)
	return edits
}

func replaced(from, to [][]byte) []edit {
	edits := make([]edit, 0, len(from)+len(to))
	for _, line := range from {
		edits = append(edits, edit{'-', line})
	}
	for _, line := range to {
		edits = append(edits, edit{'+', line})
	}
	return edits
}
