package config

import (
	"reflect"
	"testing"
)

// A text is the shell's, a list is executed as it is; both are the same container
// when they are written and read again.
func TestReloadCommand(t *testing.T) {
	for value, want := range map[string][]string{
		`"nginx -t && nginx -s reload"`: {"/bin/sh", "-c", "nginx -t && nginx -s reload"},
		`["nginx", "-s", "reload"]`:     {"nginx", "-s", "reload"},
		`["reload"]`:                    {"reload"},
	} {
		c, err := Parse("web", "/e/web.toml", "image = \"a\"\nreload_command = "+value+"\n")
		if err != nil || !reflect.DeepEqual(c.ReloadCommand, want) || !c.Reloads() {
			t.Fatalf("%s: %q, %v", value, c.ReloadCommand, err)
		}
		text, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Parse("web", "/e/web.toml", string(text)); err != nil || !reflect.DeepEqual(again.ReloadCommand, want) {
			t.Errorf("%s became %q, %v", text, again.ReloadCommand, err)
		}
	}
}
