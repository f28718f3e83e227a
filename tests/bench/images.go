package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The measurements of images, as rows of the report; each is one for every image.
const (
	pull       = "pull"
	pullMemory = "pull, memory of the process, KiB"
	importTar  = "import of a tar"
	firstStart = "first container to its end"
	pruneAll   = "prune of all these images"
)

// tool is one way to have images; what it has no command for is nil.
type tool struct {
	name                     string
	pull, importTar, runTrue func(g generated) [][]string
	prune                    func() [][]string
}

const (
	registry  = "127.0.0.1:5000"
	imageDir  = benchDir + "/images"
	cockers   = "cocker"
	unsynced  = "cocker, nothing synced"
	podmans   = "podman"
	unpackers = "skopeo+umoci"
)

// kinds are what is pulled: 400 MB in six layers, a third of it random as compressed
// files are, and many small files.
func kinds() []generated {
	return []generated{
		{kind: "400 MB in 6 layers", layers: 6, directories: 4, files: 16, size: 1 << 20, random: 3},
		{kind: "50,000 files", layers: 1, directories: 500, files: 100, size: 24, random: 1},
	}
}

// generated is an image of one round. No two have a layer in common, and nothing is
// deleted before everything else is measured: ext4 looks at every inode that was
// deleted in the last minutes before it takes another (recently_deleted in
// fs/ext4/ialloc.c), so whoever came next would pay for what another has pruned.
type generated struct {
	kind                       string
	round                      int
	layers, directories, files int
	size                       int // bytes of a file
	random                     int // every so many-th file is random, the others repeat themselves
}

func (g generated) id() string {
	return fmt.Sprintf("files%d-%d", g.directories*g.files*g.layers, g.round)
}
func (g generated) reference() string { return registry + "/" + g.id() + ":1" }
func (g generated) tar() string       { return imageDir + "/" + g.id() + ".tar" }

// twin is an image like it, for who has it already.
func (g generated) twin() generated {
	g.round += 100
	return g
}

func (g generated) path(name string) string {
	return imageDir + "/" + name + "-" + g.id()
}

func tools() []tool {
	return []tool{
		{
			name: cockers,
			pull: func(g generated) [][]string { return [][]string{{"cocker", "image", "pull", g.reference()}} },
			runTrue: func(g generated) [][]string {
				return [][]string{{"cocker", "run", "--rm", "--network", "none", g.reference(), "true"}}
			},
			importTar: func(g generated) [][]string {
				return [][]string{{"cocker", "image", "import", g.tar(), "imported:" + g.id()}}
			},
			prune: func() [][]string { return [][]string{{"cocker", "image", "prune", "--all"}} },
		},
		{
			// What it costs that a pull survives a power cut: the same, with calls that
			// do nothing.
			name: unsynced,
			pull: func(g generated) [][]string {
				return [][]string{{program, "unsynced", "cocker", "image", "pull", g.twin().reference()}}
			},
		},
		{
			name: podmans,
			pull: func(g generated) [][]string {
				return [][]string{podman("pull", "--quiet", "--tls-verify=false", g.reference())}
			},
			runTrue: func(g generated) [][]string {
				return [][]string{podman("run", "--rm", "--network", "none", "--cgroups", "disabled", g.reference(), "true")}
			},
			importTar: func(g generated) [][]string {
				return [][]string{podman("import", "--quiet", g.tar(), "imported:"+g.id())}
			},
			prune: func() [][]string { return [][]string{podman("image", "prune", "--all", "--force")} },
		},
		{
			name: unpackers,
			pull: func(g generated) [][]string {
				return [][]string{
					{"skopeo", "copy", "--quiet", "--src-tls-verify=false", "docker://" + g.reference(), "oci:" + g.path("layout") + ":1"},
					{"umoci", "unpack", "--image", g.path("layout") + ":1", g.path("bundle")},
				}
			},
			prune: func() [][]string {
				return [][]string{{"sh", "-c", "rm -r " + imageDir + "/layout-* " + imageDir + "/bundle-*"}}
			},
		},
	}
}

// prepareImages makes the images with umoci, and puts them into a registry with
// skopeo.
func (b *bench) prepareImages(ctx context.Context) error {
	if b.imageRounds == 0 {
		return nil
	}
	if err := os.MkdirAll(imageDir, 0o755); err != nil {
		return err
	}
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"+
		"storage: {filesystem: {rootdirectory: %s/registry}}\nhttp: {addr: %q}\n", imageDir, registry)
	err := writeAll([]file{
		{imageDir + "/registry.yml", config},
		{"/etc/cocker/registries.toml", fmt.Sprintf("[registry.%q]\ninsecure = true\n", registry)},
	})
	if err != nil {
		return err
	}
	if err := call(ctx, "systemd-run", "--quiet", "--unit=bench-registry", "docker-registry", "serve", imageDir+"/registry.yml"); err != nil {
		return err
	}
	if err := call(ctx, "curl", "--silent", "--fail", "--retry", "30", "--retry-connrefused", "--retry-delay", "1", "http://"+registry+"/v2/"); err != nil {
		return err
	}
	for round := range b.imageRounds {
		for _, g := range kinds() {
			g.round = round
			if err := errors.Join(g.make(ctx), g.twin().make(ctx)); err != nil {
				return fmt.Errorf("make images of %s: %w", g.kind, err)
			}
		}
	}
	return nil
}

// make writes an image's layers, and the tar of all of them.
func (g generated) make(ctx context.Context) error {
	image := g.path("oci") + ":1"
	words := [][]string{{"umoci", "init", "--layout", g.path("oci")}, {"umoci", "new", "--image", image}}
	for layer := range g.layers {
		directory := fmt.Sprintf("%s/%d", g.path("tree"), layer)
		if err := g.fill(directory, layer); err != nil {
			return err
		}
		words = append(words, []string{"umoci", "insert", "--image", image, directory, "/"})
	}
	collect := fmt.Sprintf("set -e; mkdir %[1]s/all; cp -al %[1]s/[0-9]*/. %[1]s/all/; tar -C %[1]s/all -cf %[2]s .", g.path("tree"), g.tar())
	words = append(words, []string{"sh", "-c", collect},
		[]string{"skopeo", "copy", "--quiet", "--dest-tls-verify=false", "oci:" + image, "docker://" + g.reference()})
	for _, w := range words {
		if err := call(ctx, w[0], w[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// fill writes the files of one layer; the lowest has the program that is run.
func (g generated) fill(directory string, layer int) error {
	if layer == 0 {
		program, err := os.ReadFile("/usr/bin/busybox")
		if err != nil {
			return err
		}
		if err := os.MkdirAll(directory+"/bin", 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(directory+"/bin/true", program, 0o755); err != nil {
			return err
		}
	}
	random := rand.NewChaCha8([32]byte{byte(layer), byte(g.round)})
	for i := range g.directories {
		below := fmt.Sprintf("%s/data/%d/%d", directory, layer, i)
		if err := os.MkdirAll(below, 0o755); err != nil {
			return err
		}
		for k := range g.files {
			content := make([]byte, g.size)
			_, _ = random.Read(content) // never fails
			if k%g.random != 0 {
				content = []byte(strings.Repeat(fmt.Sprintf("%x\n", content[:7]), g.size/15+1))[:g.size]
			}
			if err := os.WriteFile(filepath.Join(below, fmt.Sprint(k)), content, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// measureImages measures every tool with every image, and at last what it takes to
// delete all of them.
func (b *bench) measureImages(ctx context.Context) error {
	all := tools()
	for round := range b.imageRounds {
		for _, g := range kinds() {
			g.round = round
			for i := range all {
				t := all[(round+i)%len(all)]
				if err := b.measureTool(ctx, t, g); err != nil {
					return fmt.Errorf("%s, %s: %w", t.name, g.kind, err)
				}
			}
		}
	}
	for _, t := range all {
		if b.imageRounds == 0 {
			return nil
		}
		if t.prune == nil {
			continue
		}
		took, _, err := timedWithMemory(ctx, t.prune())
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		b.result.add(pruneAll, t.name, took)
	}
	return nil
}

func (b *bench) measureTool(ctx context.Context, t tool, g generated) error {
	for _, step := range []struct {
		measure  string
		commands func(generated) [][]string
	}{{pull, t.pull}, {firstStart, t.runTrue}, {importTar, t.importTar}} {
		if step.commands == nil {
			continue
		}
		took, kibibytes, err := timedWithMemory(ctx, step.commands(g))
		if err != nil {
			return err
		}
		b.result.add(imageMeasure(step.measure, g), t.name, took)
		if step.measure == pull {
			b.result.add(imageMeasure(pullMemory, g), t.name, kibibytes)
		}
	}
	return nil
}

func imageMeasure(measure string, g generated) string { return g.kind + ": " + measure }

// timedWithMemory runs commands one after the other, and returns the milliseconds
// they took and the most memory that one of their processes had.
func timedWithMemory(ctx context.Context, commands [][]string) (milliseconds, kibibytes float64, err error) {
	for _, words := range commands {
		limited, cancel := context.WithTimeout(ctx, imageDeadline)
		defer cancel()
		var out bytes.Buffer
		cmd := exec.CommandContext(limited, words[0], words[1:]...)
		cmd.Stdout, cmd.Stderr = &out, &out
		began := time.Now()
		if err := cmd.Start(); err != nil {
			return 0, 0, err
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		most, err := peakMemory(cmd.Process.Pid, ended)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w\n%s", strings.Join(words, " "), err, out.String())
		}
		milliseconds += float64(time.Since(began).Microseconds()) / 1000
		kibibytes = max(kibibytes, most)
	}
	return milliseconds, kibibytes, nil
}

// peakMemory follows VmHWM (proc_pid_status(5)) until the process has ended: what
// getrusage(2) says of a child has this program's own memory in it, from its fork on.
func peakMemory(pid int, ended <-chan error) (kibibytes float64, err error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return kibibytes, err
		case <-tick.C:
			data, _ := os.ReadFile(process(pid).path("status"))
			if _, after, ok := strings.Cut(string(data), "VmHWM:"); ok {
				n, _ := strconv.Atoi(strings.Fields(after)[0])
				kibibytes = max(kibibytes, float64(n))
			}
		}
	}
}

// imageDeadline: some need most of a minute for many small files.
const imageDeadline = 10 * time.Minute
