package cli

import (
	"fmt"
	"strings"
)

const (
	diffContext = 3    // lines around a change
	diffLimit   = 4096 // lines on each side that are compared one by one
)

// diffLine is one line of two texts: ' ' for both, '-' for the old, '+' for the new.
type diffLine struct {
	kind byte
	text string
}

// unifiedDiff is what "diff -u" prints of two versions of a file.
func unifiedDiff(file, before, after string) string {
	lines := diffLines(strings.SplitAfter(before, "\n"), strings.SplitAfter(after, "\n"))
	var b strings.Builder
	for i := 0; i < len(lines); {
		if lines[i].kind == ' ' {
			i++
			continue
		}
		start, end := hunk(lines, i)
		if b.Len() == 0 {
			fmt.Fprintf(&b, "--- %s\n+++ %s\n", file, file)
		}
		writeHunk(&b, lines, start, end)
		i = end
	}
	return b.String()
}

// hunk is the change at i with what is so near that one context covers both.
func hunk(lines []diffLine, i int) (start, end int) {
	start, end = max(i-diffContext, 0), i
	for same := 0; i < len(lines) && same <= 2*diffContext; i++ {
		if same++; lines[i].kind != ' ' {
			same, end = 0, i+1
		}
	}
	return start, min(end+diffContext, len(lines))
}

func writeHunk(b *strings.Builder, lines []diffLine, start, end int) {
	count := func(lines []diffLine, other byte) (n int) {
		for _, l := range lines {
			if l.kind != other {
				n++
			}
		}
		return n
	}
	old, added := count(lines[start:end], '+'), count(lines[start:end], '-')
	fmt.Fprintf(b, "@@ -%s +%s @@\n", place(count(lines[:start], '+'), old), place(count(lines[:start], '-'), added))
	for _, l := range lines[start:end] {
		b.WriteByte(l.kind)
		b.WriteString(l.text)
		if !strings.HasSuffix(l.text, "\n") {
			b.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

// place is where a part begins and how long it is; of an empty one diff(1) names the
// line above.
func place(before, n int) string {
	if n > 0 {
		before++
	}
	return fmt.Sprintf("%d,%d", before, n)
}

func diffLines(before, after []string) (lines []diffLine) {
	before, after = withoutLast(before), withoutLast(after)
	add := func(kind byte, texts []string) {
		for _, text := range texts {
			lines = append(lines, diffLine{kind, text})
		}
	}
	head := 0
	for head < min(len(before), len(after)) && before[head] == after[head] {
		head++
	}
	tail := 0
	for tail < min(len(before), len(after))-head && before[len(before)-1-tail] == after[len(after)-1-tail] {
		tail++
	}
	add(' ', before[:head])
	old, added := before[head:len(before)-tail], after[head:len(after)-tail]
	if len(old) > diffLimit || len(added) > diffLimit {
		add('-', old)
		add('+', added)
	} else {
		lines = append(lines, compared(old, added)...)
	}
	add(' ', before[len(before)-tail:])
	return lines
}

// withoutLast drops what SplitAfter gives behind the last line break.
func withoutLast(lines []string) []string {
	if n := len(lines); lines[n-1] == "" {
		return lines[:n-1]
	}
	return lines
}

// compared finds the longest common subsequence.
func compared(before, after []string) (lines []diffLine) {
	longest := make([][]int, len(before)+1)
	for i := range longest {
		longest[i] = make([]int, len(after)+1)
	}
	for i := len(before) - 1; i >= 0; i-- {
		for j := len(after) - 1; j >= 0; j-- {
			longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			if before[i] == after[j] {
				longest[i][j] = longest[i+1][j+1] + 1
			}
		}
	}
	i, j := 0, 0
	for i < len(before) || j < len(after) {
		switch {
		case i < len(before) && j < len(after) && before[i] == after[j]:
			lines = append(lines, diffLine{' ', before[i]})
			i, j = i+1, j+1
		case i < len(before) && (j == len(after) || longest[i+1][j] >= longest[i][j+1]):
			lines = append(lines, diffLine{'-', before[i]})
			i++
		default:
			lines = append(lines, diffLine{'+', after[j]})
			j++
		}
	}
	return lines
}
