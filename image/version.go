package image

import (
	"cmp"
	"strings"
)

// CompareTags orders tags by version: a number by its value (1.9 < 1.10), more
// parts after fewer (1.2 < 1.2.1), a suffix before its plain version (1.2-rc1 <
// 1.2), and what does not start with a digit before all versions. A leading v
// counts for nothing unless it is the only difference.
func CompareTags(a, b string) int {
	mainA, suffixA := splitVersion(a)
	mainB, suffixB := splitVersion(b)
	return cmp.Or(
		cmp.Compare(rank(mainA), rank(mainB)),
		compareNatural(mainA, mainB),
		cmp.Compare(boolRank(suffixA == ""), boolRank(suffixB == "")),
		compareNatural(suffixA, suffixB),
		strings.Compare(a, b),
	)
}

func splitVersion(tag string) (main, suffix string) {
	if len(tag) > 1 && tag[0] == 'v' && isDigit(tag[1]) {
		tag = tag[1:]
	}
	main, suffix, _ = strings.Cut(tag, "-")
	return main, suffix
}

func rank(main string) int { return boolRank(main != "" && isDigit(main[0])) }

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// compareNatural compares run by run: digits by value, the rest as text.
func compareNatural(a, b string) int {
	for a != "" && b != "" {
		var runA, runB string
		runA, a = cutRun(a)
		runB, b = cutRun(b)
		if c := compareRuns(runA, runB); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

func cutRun(s string) (run, rest string) {
	end := 1
	for end < len(s) && isDigit(s[end]) == isDigit(s[0]) {
		end++
	}
	return s[:end], s[end:]
}

// compareRuns compares numbers of any length: a tag may be a date or a hash.
func compareRuns(a, b string) int {
	if !isDigit(a[0]) || !isDigit(b[0]) {
		return strings.Compare(a, b)
	}
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}
