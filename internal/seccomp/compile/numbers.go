package compile

import (
	"strconv"
	"strings"
)

// numbersOf reads one of the tables, which are of text: the launcher has them in its program
// and nothing in its memory until it needs them.
func numbersOf(table string) map[string]uint32 {
	numbers := make(map[string]uint32, strings.Count(table, "\n"))
	for line := range strings.Lines(table) {
		name, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		number, _ := strconv.ParseUint(text, 10, 32)
		numbers[name] = uint32(number)
	}
	return numbers
}
