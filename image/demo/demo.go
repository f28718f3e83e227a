// Package demo makes an image from nothing but the host's busybox: a small web
// server and a shell, for trying cocker on a machine without a network.
package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/importer"
)

// Reference is the name of the demo image.
const Reference = "demo:1.0"

// Create makes the demo image. Its command serves /srv/www on port 80; Command,
// Environment and ExposedPorts of opts are replaced by the demo's own.
func Create(ctx context.Context, store *image.Store, opts importer.Options) (*image.Image, error) {
	img, err := create(ctx, store, opts)
	if err != nil {
		return nil, fmt.Errorf("make the demo image: %w", err)
	}
	return img, nil
}

func create(ctx context.Context, store *image.Store, opts importer.Options) (*image.Image, error) {
	path, err := findBusybox("/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static", "/usr/bin/busybox.static")
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	names, err := applets(ctx, path)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	defer r.Close()
	go func() { _ = w.CloseWithError(writeTree(w, program, names)) }() // it never fails
	opts.Command = []string{"httpd", "-f", "-p", "80", "-h", "/srv/www"}
	opts.Environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	opts.ExposedPorts = []string{"80/tcp"}
	return importer.Tar(ctx, store, r, Reference, opts)
}

// applets asks busybox which commands it has.
func applets(ctx context.Context, path string) ([]string, error) {
	out, err := exec.CommandContext(ctx, path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list: %w", path, err)
	}
	names := strings.Fields(string(out))
	names = slices.DeleteFunc(names, func(n string) bool { return n == "busybox" || strings.ContainsRune(n, '/') })
	slices.Sort(names)
	for _, needed := range []string{"sh", "httpd"} {
		if !slices.Contains(names, needed) {
			return nil, fmt.Errorf("%s has no %s", path, needed)
		}
	}
	return slices.Compact(names), nil
}
