package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// List is a network configuration list: the plugins that make up one network, in the
// order in which they add.
type List struct {
	File         string   `json:"file"`
	Name         string   `json:"name"`
	Version      string   `json:"cniVersion"` // of the specification
	DisableCheck bool     `json:"disableCheck,omitempty"`
	Plugins      []Plugin `json:"plugins"`
}

// Plugin is the configuration of one plugin, all keys of it.
type Plugin map[string]json.RawMessage

// Type is the name of the plugin's program.
func (p Plugin) Type() (name string) {
	_ = json.Unmarshal(p["type"], &name) // parsed before
	return name
}

// has tells whether the configuration lets the plugin have a capability.
func (p Plugin) has(capability string) bool {
	capabilities := map[string]bool{}
	_ = json.Unmarshal(p["capabilities"], &capabilities) // parsed before
	return capabilities[capability]
}

// Has tells whether one of the plugins takes what belongs to a capability.
func (l *List) Has(capability string) bool {
	return slices.ContainsFunc(l.Plugins, func(p Plugin) bool { return p.has(capability) })
}

// Find reads the configuration of a name: of all files of the directory, those of the
// type .conflist before those of a single plugin, .conf and .json. A file that is wrong
// does not hide the others.
func (h Host) Find(name string) (*List, error) {
	entries, err := os.ReadDir(h.Configs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var others []string
	var wrong []error
	for _, extensions := range [][]string{{".conflist"}, {".conf", ".json"}} {
		for _, entry := range entries {
			if !slices.Contains(extensions, filepath.Ext(entry.Name())) {
				continue
			}
			list, err := h.read(filepath.Join(h.Configs, entry.Name()))
			switch {
			case err != nil:
				wrong = append(wrong, err)
			case list.Name == name:
				return list, nil
			default:
				others = append(others, strconv.Quote(list.Name))
			}
		}
	}
	return nil, errors.Join(append([]error{h.notFound(name, others)}, wrong...)...)
}

func (h Host) notFound(name string, others []string) error {
	have := "there is none at all"
	if len(others) > 0 {
		have = "there is " + strings.Join(others, " ")
	}
	return fmt.Errorf("no CNI configuration %q: no file of %s, *.conflist or *.conf, has this \"name\" (%s); write one, or name another with cni in the network's file",
		name, h.Configs, have)
}

// read reads a file of either sort.
func (h Host) read(file string) (*List, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list, err := parse(text, filepath.Ext(file) == ".conflist", func(name string) ([]Plugin, error) { return h.ofDirectory(name) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	list.File = file
	return list, nil
}

// ofDirectory reads the plugins that a list has beside the inlined ones ("Plugin
// configuration loading" of the specification): files of the directory of its name.
func (h Host) ofDirectory(name string) (plugins []Plugin, err error) {
	files, err := filepath.Glob(filepath.Join(h.Configs, name, "*.conf"))
	for _, file := range files {
		text, readErr := os.ReadFile(file)
		var p Plugin
		if readErr == nil {
			p, readErr = parsePlugin(text)
		}
		if readErr != nil {
			return nil, fmt.Errorf("%s: %w", file, readErr)
		}
		plugins = append(plugins, p)
	}
	return plugins, err
}

// parse reads a configuration list, or the configuration of a single plugin.
func parse(text []byte, isList bool, more func(name string) ([]Plugin, error)) (*List, error) {
	var fields struct {
		Name         string            `json:"name"`
		Version      string            `json:"cniVersion"`
		Versions     []string          `json:"cniVersions"`
		DisableCheck flexible          `json:"disableCheck"`
		OnlyInlined  flexible          `json:"loadOnlyInlinedPlugins"`
		Plugins      []json.RawMessage `json:"plugins"`
	}
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	if !validName(fields.Name) {
		return nil, fmt.Errorf("name: %q is no name of a CNI network", fields.Name)
	}
	list := &List{Name: fields.Name, DisableCheck: bool(fields.DisableCheck)}
	var err error
	if list.Version, err = newest(append(fields.Versions, fields.Version)); err != nil {
		return nil, err
	}
	if !isList {
		fields.Plugins = []json.RawMessage{text}
	}
	for i, raw := range fields.Plugins {
		p, err := parsePlugin(raw)
		if err != nil {
			return nil, fmt.Errorf("plugins[%d]: %w", i, err)
		}
		list.Plugins = append(list.Plugins, p)
	}
	if isList && !bool(fields.OnlyInlined) {
		found, err := more(list.Name)
		if err != nil {
			return nil, err
		}
		list.Plugins = append(list.Plugins, found...)
	}
	if len(list.Plugins) == 0 {
		return nil, errors.New("plugins: there are none")
	}
	return list, nil
}

func parsePlugin(text []byte) (p Plugin, err error) {
	var known struct {
		Type         string          `json:"type"`
		Capabilities map[string]bool `json:"capabilities"`
	}
	if err = json.Unmarshal(text, &known); err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err == nil && (!validName(known.Type) || strings.HasPrefix(known.Type, ".")) {
		err = fmt.Errorf("type: %q is no name of a plugin", known.Type)
	}
	return p, err
}

// validName: the specification has letters, digits, "_", "." and "-", and a letter or
// digit first. A name becomes that of a file.
func validName(name string) bool {
	plain := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' }
	return name != "" && plain(rune(name[0])) &&
		!strings.ContainsFunc(name, func(r rune) bool { return !plain(r) && !strings.ContainsRune("_.-", r) })
}

// flexible is a boolean that may be written as a string, as libcni reads it.
type flexible bool

func (f *flexible) UnmarshalJSON(text []byte) error {
	b, err := strconv.ParseBool(strings.Trim(string(text), `"`))
	*f = flexible(b)
	return err
}
