package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Pod is what several containers share, as its file pods/NAME.toml describes it: a host
// name, the namespace of System V IPC and POSIX message queues, and a network.
type Pod struct {
	Name        string
	File        string // absolute path
	Description string
	Hostname    string // Name, if not set
	Network     Network
}

const podDirectory = "pods"

// podKeys are the keys of a pod's file: the network is described as a container's is.
func podKeys() []keySpec {
	keys := []keySpec{
		{"", "description", func(b *builder, e *entry) { b.c.Description = b.line(e) }},
		{"", "hostname", (*builder).hostname},
	}
	for _, k := range schema {
		if k.table == "network" {
			keys = append(keys, k)
		}
	}
	return keys
}

// ValidPod tells what is wrong with name as the name of a pod, which is a host name, too.
func ValidPod(name string) error {
	if err := ValidName(name); err != nil {
		return fmt.Errorf("%s", strings.Replace(err.Error(), "container", "pod", 1))
	}
	return nil
}

// LoadPod reads and checks the pod of a name. The error joins every problem, each with
// file and line.
func LoadPod(dirs []string, name string) (*Pod, error) {
	if err := ValidPod(name); err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		file := filepath.Join(dir, podDirectory, name+extension)
		if _, err := os.Lstat(file); err == nil {
			return readPod(dirs, name, file)
		}
	}
	searched := make([]string, len(dirs))
	for i, dir := range dirs {
		searched[i] = filepath.Join(dir, podDirectory)
	}
	return nil, fmt.Errorf("no such pod as %q: no %s in %s", name, name+extension, strings.Join(searched, ", "))
}

// ListPods gives the sorted names of all pods that have a file, good or bad.
func ListPods(dirs []string) (names []string, err error) {
	for _, dir := range dirs {
		files, globErr := filepath.Glob(filepath.Join(dir, podDirectory, "*"+extension))
		if globErr != nil {
			return nil, globErr
		}
		for _, file := range files {
			names = append(names, strings.TrimSuffix(filepath.Base(file), extension))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func readPod(dirs []string, name, file string) (*Pod, error) {
	text, err := readFile(file)
	if err != nil {
		return nil, err
	}
	entries, err := text.entries()
	if err != nil {
		return nil, err
	}
	b := newBuilder(Location{Name: name, File: file})
	b.keys = podKeys()
	b.c.Sources = []string{file}
	for _, e := range entries {
		b.set(e)
	}
	b.checkNetwork(entries)
	b.checkPodNetwork(entries)
	if err := b.joined(); err != nil {
		return nil, err
	}
	if err := newNetworks(dirs).checkJoins(b.c, entries); err != nil {
		return nil, err
	}
	return &Pod{Name: name, File: file, Description: b.c.Description, Hostname: b.c.Hostname, Network: b.c.Network}, nil
}

// checkPodNetwork refuses what is no network of the pod's own.
func (b *builder) checkPodNetwork(entries []*entry) {
	if !b.c.OwnNetwork() {
		b.fail(find(entries, "network", "mode"), nil, `a pod has a network of its own: "bridge", "none" or "custom", not %q`, b.c.Network.Mode)
	}
}

// checkPod refuses what a container in a pod cannot have of its own.
func (b *builder) checkPod(entries []*entry) {
	if b.c.Pod == "" {
		return
	}
	for _, e := range entries {
		if e.table == "network" || e.table == "" && e.key == "hostname" {
			b.fail(e, nil, `the pod %s decides on it for all its containers; set it in pods/%[1]s.toml`, b.c.Pod)
		}
	}
}

// pod is the key of a container's file.
func (b *builder) pod(e *entry) {
	name, ok := b.plain(e, e.value)
	if !ok {
		return
	}
	if err := ValidPod(name); err != nil {
		b.fail(e, nil, "%s", err)
		return
	}
	b.c.Pod = name
}
