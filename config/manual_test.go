package config

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// cocker.toml(5) describes every key of the schema, and nothing else.
func TestManualHasEveryKey(t *testing.T) {
	page, err := os.ReadFile("../docs/man/cocker.toml.5")
	if err != nil {
		t.Fatal(err)
	}
	want := schemaKeys(t)
	got := manualKeys(string(page))
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if !got[key] {
			t.Errorf("%s is not described", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if !want[key] {
			t.Errorf("%s is described, but is no key", key)
		}
	}
}

// schemaKeys gives "key" and "table.key" for every key, "table" for every table.
func schemaKeys(t *testing.T) map[string]bool {
	keys := map[string]bool{}
	for _, k := range schema {
		switch {
		case k.table == "":
			keys[k.key] = true
		case k.key == anyKey:
			keys[k.table] = true
		default:
			keys[k.table] = true
			keys[k.table+"."+k.key] = true
		}
	}
	for _, table := range []string{"mount", "template", "device"} {
		for _, key := range keysOfEach(t, table) {
			keys[table+"."+key] = true
		}
	}
	for _, key := range credentialKeys {
		keys["credentials."+key] = true
	}
	for _, k := range processKeys {
		keys["process."+k.key] = true
	}
	return keys
}

// keysOfEach are those of an array of tables that the error for an unknown one lists.
func keysOfEach(t *testing.T, table string) []string {
	t.Helper()
	_, err := Parse("web", "/web.toml", "image = 'a'\n[["+table+"]]\nqqqqqqqq = 1\n")
	if err == nil {
		t.Fatal("an unknown key is no error")
	}
	_, list, found := strings.Cut(err.Error(), "known are ")
	if !found {
		t.Fatalf("no list of keys in %q", err)
	}
	list, _, _ = strings.Cut(list, "\n")
	return strings.Split(list, ", ")
}

// manualKeys reads the keys of a page: ".SH [table]" or "[table.NAME]" begins a table, ".BI key" a
// key of it.
func manualKeys(page string) map[string]bool {
	var (
		keys    = map[string]bool{}
		table   string
		heading = regexp.MustCompile(`^\.SH \[+([a-z_]+)(?:\.NAME)?\]+$`)
		key     = regexp.MustCompile(`^\.BI ([a-z0-9_]+) `)
	)
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		if m := heading.FindStringSubmatch(line); m != nil {
			table = m[1]
			keys[table] = true
		} else if strings.HasPrefix(line, ".SH ") {
			table = ""
		} else if m := key.FindStringSubmatch(line); m != nil && table == "" {
			keys[m[1]] = true
		} else if m != nil {
			keys[table+"."+m[1]] = true
		}
	}
	return keys
}
