package idrange

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSubordinate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subuid")
	text := "# me:1:2\nuser:100000:65536\n\nbad:x:1\nbad:1\nlate:1879048192:65536\nmany:1879113728:18446744073709551616\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	spans := subordinate([]string{file, file + ".missing"})
	for base, want := range map[uint64]bool{
		100000 - 65537: false, 100000 - 65536: true, 100000: true, 165535: true, 165536: false,
		first: true, first + 65536: false,
	} {
		if got := overlaps(spans, base); got != want {
			t.Errorf("base %d: overlap %v, want %v", base, got, want)
		}
	}
}

// systemd's UIDS-GIDS.md: what other programs give to containers is not in the pool.
func TestPoolIsNobodyElses(t *testing.T) {
	for name, other := range map[string]span{
		"systemd-nspawn and systemd-nsresourced": {0x00080000, 0x70000000},
		"foreign ids":                            {0x7FFE0000, 0x7FFF0000},
		"subordinate ids of login.defs(5)":       {100000, 600100001},
		"strangers of cocker":                    {0x7FFF0000, 0x80000000},
	} {
		for base := uint64(first); base < end; base += 65536 {
			if overlaps([]span{other}, base) && base+65536 != other.start { // the one id behind the last range is nobody's
				t.Fatalf("%s: the range at %#x overlaps", name, base)
			}
		}
	}
}
