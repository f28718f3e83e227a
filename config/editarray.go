package config

import "strings"

// replaceElements changes an array of strings element by element. It is false if the
// array has to be written anew.
func (e *editor) replaceElements(at *pair, want []string) bool {
	doc, err := decode("v = " + e.text[at.value.start:at.value.end])
	list, isArray := doc["v"].([]any)
	if err != nil || !isArray || len(list) == 0 || len(list) != len(at.elements) || len(want) == 0 {
		return false
	}
	old := make([]string, len(list))
	for i, v := range list {
		s, ok := v.(string)
		if !ok {
			return false
		}
		old[i] = s
	}
	a := &arrayEditor{e, at.elements}
	i, j := 0, 0
	for _, kept := range append(common(old, want), [2]int{len(old), len(want)}) {
		a.gap(i, kept[0], want[j:kept[1]])
		i, j = kept[0]+1, kept[1]+1
	}
	return true
}

// common gives the indices of a longest common subsequence.
func common(a, b []string) (kept [][2]int) {
	longest := make([][]int, len(a)+1)
	for i := range longest {
		longest[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			if a[i] == b[j] {
				longest[i][j] = longest[i+1][j+1] + 1
			}
		}
	}
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] == b[j]:
			kept = append(kept, [2]int{i, j})
			i, j = i+1, j+1
		case longest[i+1][j] >= longest[i][j+1]:
			i++
		default:
			j++
		}
	}
	return kept
}

// arrayEditor changes the elements of an array.
type arrayEditor struct {
	*editor
	elements []span
}

// gap puts new elements in the place of those from start up to end, between two that
// stay. Of as many as there are both the text alone is replaced.
func (a *arrayEditor) gap(start, end int, added []string) {
	n := min(end-start, len(added))
	for i := range n {
		s := a.elements[start+i]
		a.replace(s.start, s.end, renderText(added[i], a.text[s.start]))
	}
	if first := start + n; !a.deleteTail(first, end) {
		for i := first; i < end; i++ {
			a.delete(i)
		}
	}
	switch rest := added[n:]; {
	case len(rest) == 0:
	case start+n > 0:
		a.insertAfter(start+n-1, rest)
	default:
		a.insertBefore(0, rest)
	}
}

// comma is where the comma behind an element is; -1: there is none.
func (a *arrayEditor) comma(i int) int {
	x := indexer{text: a.text, pos: a.elements[i].end}
	if x.blank(); x.peek() == ',' {
		return x.pos
	}
	return -1
}

// lineOfItsOwn says whether nothing but the element, its comma and a comment stands on
// the element's lines.
func (a *arrayEditor) lineOfItsOwn(i int) bool {
	s, end := a.elements[i], a.lineEnd(a.elements[i].end)
	rest := s.end
	if comma := a.comma(i); comma >= end {
		return false
	} else if comma >= 0 {
		rest = comma + 1
	}
	behind := strings.TrimSpace(a.text[rest:end])
	return a.firstOfLine(i) && (behind == "" || behind[0] == '#')
}

func (a *arrayEditor) firstOfLine(i int) bool {
	start := a.elements[i].start
	return strings.TrimSpace(a.text[a.lineStart(start):start]) == ""
}

func (a *arrayEditor) insertAfter(i int, added []string) {
	s, comma := a.elements[i], a.comma(i)
	if !a.lineOfItsOwn(i) {
		for _, text := range added {
			a.replace(s.end, s.end, ", "+renderText(text, a.text[s.start]))
		}
		return
	}
	if comma < 0 {
		a.replace(s.end, s.end, ",")
	}
	indent, end := a.text[a.lineStart(s.start):s.start], a.lineEnd(s.end)
	for n, text := range added {
		line := a.newline + indent + renderText(text, a.text[s.start])
		if comma >= 0 || n < len(added)-1 {
			line += ","
		}
		a.replace(end, end, line)
	}
}

func (a *arrayEditor) insertBefore(i int, added []string) {
	s, between := a.elements[i], ", "
	if a.lineOfItsOwn(i) {
		between = "," + a.newline + a.text[a.lineStart(s.start):s.start]
	}
	for _, text := range added {
		a.replace(s.start, s.start, renderText(text, a.text[s.start])+between)
	}
}

// deleteTail deletes the last elements with the comma in front of them, if all are on the
// line of the one that stays.
func (a *arrayEditor) deleteTail(first, end int) bool {
	if first == 0 || first >= end || end < len(a.elements) {
		return false
	}
	from, to := a.elements[first-1].end, a.elements[end-1].end
	if strings.ContainsAny(a.text[from:to], "#\n") {
		return false
	}
	a.replace(from, to, "")
	return true
}

func (a *arrayEditor) delete(i int) {
	s, comma := a.elements[i], a.comma(i)
	switch {
	case a.lineOfItsOwn(i):
		a.replace(a.lineStart(s.start), a.nextLine(s.end), "")
	case comma >= 0 && !strings.ContainsAny(a.text[s.end:comma], "#\n"):
		behind := a.text[comma+1:]
		a.replace(s.start, comma+1+len(behind)-len(strings.TrimLeft(behind, " \t")), "")
	case comma >= 0:
		a.replace(s.start, s.end, "")
		a.replace(comma, comma+1, "")
	default:
		a.replace(s.start, s.end, "") // a comma may stand behind the last element
	}
}
