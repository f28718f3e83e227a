package idrange

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// records makes a directory for the links and returns the record of a container.
func records(t *testing.T) (dir string, record func(container string) string) {
	t.Helper()
	base := t.TempDir()
	return filepath.Join(base, "idranges"), func(container string) string {
		dir := filepath.Join(base, "containers", container)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, "idrange")
	}
}

func acquire(t *testing.T, dir, record, container string) uint32 {
	t.Helper()
	base, err := Acquire(dir, record, container)
	if err != nil {
		t.Fatal(err)
	}
	return base
}

func TestRangesAreUniqueAndStable(t *testing.T) {
	dir, record := records(t)
	holders := map[uint32]string{}
	for i := range 300 {
		name := "c" + strconv.Itoa(i)
		base := acquire(t, dir, record(name), name)
		if base%65536 != 0 || base < 0x70000000 || base > 0x7FFD0000 {
			t.Fatalf("%s has base %#x, outside of 0x70000000 to 0x7FFD0000 or not aligned", name, base)
		}
		if other := holders[base]; other != "" {
			t.Fatalf("%s and %s both have base %#x", name, other, base)
		}
		holders[base] = name
	}
	for base, name := range holders {
		if again := acquire(t, dir, record(name), name); again != base {
			t.Errorf("%s had %#x and has %#x now", name, base, again)
		}
	}
}

func TestLostRecordFindsTheSameRange(t *testing.T) {
	dir, record := records(t)
	base := acquire(t, dir, record("web"), "web")
	if err := os.Remove(record("web")); err != nil {
		t.Fatal(err)
	}
	if again := acquire(t, dir, record("web"), "web"); again != base {
		t.Errorf("base %#x after the record was lost, want %#x", again, base)
	}
	links, err := os.ReadDir(dir)
	if err != nil || len(links) != 1 {
		t.Errorf("%d links (%v), want 1", len(links), err)
	}
}

// A record that names a range of another container must not be believed: two
// containers would share their files' owners.
func TestForeignRecordIsNotBelieved(t *testing.T) {
	dir, record := records(t)
	base := acquire(t, dir, record("web"), "web")
	if err := os.WriteFile(record("db"), []byte(strconv.Itoa(int(base))), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := acquire(t, dir, record("db"), "db"); got == base {
		t.Errorf("db got %#x, which is web's", got)
	}
}

func TestRelease(t *testing.T) {
	dir, record := records(t)
	acquire(t, dir, record("web"), "web")
	for range 2 { // the second time there is nothing left to do
		if err := Release(dir, record("web"), "web"); err != nil {
			t.Fatal(err)
		}
	}
	links, err := os.ReadDir(dir)
	if err != nil || len(links) != 0 {
		t.Errorf("%d links are left (%v)", len(links), err)
	}
}

func TestReleaseWithoutRecord(t *testing.T) {
	dir, record := records(t)
	acquire(t, dir, record("web"), "web")
	acquire(t, dir, record("db"), "db")
	if err := os.WriteFile(record("web"), nil, 0o644); err != nil { // as a power cut leaves it
		t.Fatal(err)
	}
	if err := Release(dir, record("web"), "web"); err != nil {
		t.Fatal(err)
	}
	links, err := os.ReadDir(dir)
	if err != nil || len(links) != 1 {
		t.Errorf("%d links are left (%v), want db's", len(links), err)
	}
}

func TestPoolExhausted(t *testing.T) {
	dir, record := records(t)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for base := uint32(first); base < end; base += 65536 {
		if err := os.Symlink("other", link(dir, base)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Acquire(dir, record("web"), "web"); err == nil {
		t.Error("a range was given although all are taken")
	}
}
