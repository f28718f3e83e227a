package idrange

import (
	"os"
	"strconv"
	"strings"

	"github.com/cocker/cocker/internal/linux"
)

// subordinateFiles say which ids users may have in namespaces of their own: subuid(5),
// subgid(5). A container with one of these would be within the reach of its user.
var subordinateFiles = [...]string{"/etc/subuid", "/etc/subgid"}

type span struct{ start, end uint64 }

// subordinate reads the ranges of the files. A line that is none of theirs gives nobody
// anything, and a file that cannot be read has none.
func subordinate(files []string) (spans []span) {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Split(strings.TrimSpace(line), ":")
			if len(fields) != 3 {
				continue
			}
			start, err := strconv.ParseUint(fields[1], 10, 32)
			length, lengthErr := strconv.ParseUint(fields[2], 10, 32)
			if err == nil && lengthErr == nil {
				spans = append(spans, span{start, start + length})
			}
		}
	}
	return spans
}

// overlaps tells whether the range at base has ids of one of the spans. One more belongs to
// it: that for the host's root in mapped mounts (linux.NewUserNamespace).
func overlaps(spans []span, base uint64) bool {
	for _, s := range spans {
		if s.start < base+linux.IDRangeSize+1 && base < s.end {
			return true
		}
	}
	return false
}
