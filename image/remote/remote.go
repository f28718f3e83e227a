// Package remote moves images between the store and wherever their names say that
// they come from: it picks the package that speaks to such a place, registry or
// sshrepo, and is the one entry point for a command or a unit that pulls.
package remote

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/registry"
	"github.com/cocker/cocker/image/sshrepo"
	"github.com/cocker/cocker/image/transfer"
)

// Client pulls and pushes images.
type Client struct {
	registry *registry.Client
	ssh      *sshrepo.Client
	limits   image.Limits
}

// Config says how places are reached, and who is told how it goes.
type Config struct {
	Registries *config.Registries // nil: as without registries.toml
	Version    string             // of cocker, told to registries
	Progress   func(Event)        // called by several goroutines, one at a time for each digest; nil: nobody is told
}

// Event is something to show while an image is moved.
type Event = transfer.Event

// Platform is what an image is to run on.
type Platform = transfer.Platform

// Pushed is what a place has got.
type Pushed = transfer.Pushed

// Listed is an image that a place has.
type Listed = transfer.Listed

// HostPlatform is this machine's.
func HostPlatform() Platform { return transfer.HostPlatform() }

// ParsePlatform reads "[linux/]ARCHITECTURE[/VARIANT]"; "" is the host's.
func ParsePlatform(text string) (Platform, error) { return transfer.ParsePlatform(text) }

// New makes a client.
func New(c Config) *Client {
	client := &Client{
		registry: registry.New(registry.Config{Registries: c.Registries, Version: c.Version, Progress: c.Progress}),
		ssh:      sshrepo.New(sshrepo.Config{Registries: c.Registries, Progress: c.Progress}),
	}
	if c.Registries != nil {
		client.limits = image.Limits{Size: int64(min(c.Registries.MaxSize, math.MaxInt64)), Files: int64(c.Registries.MaxFiles)}
	}
	return client
}

// mover is what every way of moving an image can do.
type mover interface {
	Pull(ctx context.Context, store *image.Store, ref string, p Platform) (*image.Image, error)
	Push(ctx context.Context, store *image.Store, stored, ref string) (*Pushed, error)
}

// mover picks the way by the name of an image; one that is no name is refused by each.
func (c *Client) mover(ref string) mover {
	if strings.HasPrefix(ref, image.SchemeSSH) {
		return c.ssh
	}
	return c.registry
}

// Pull gets an image into the store, under the name that was asked for; one without a
// tag means the tag latest, or else the highest version that there is. When it returns
// without an error the image survives a power cut; with one, nothing of it is left in
// the store.
func (c *Client) Pull(ctx context.Context, store *image.Store, ref string, p Platform) (*image.Image, error) {
	img, err := c.mover(ref).Pull(ctx, store.Limit(c.limits), ref, p)
	if errors.Is(err, image.ErrTooLarge) {
		err = fmt.Errorf("%w (max_size and max_files in registries.toml say how large)", err)
	}
	return img, err
}

// Push gives an image of the store to a place, under the name ref, or, if that is "",
// under its own.
func (c *Client) Push(ctx context.Context, store *image.Store, stored, ref string) (*Pushed, error) {
	where := ref
	if where == "" {
		if found, err := store.Resolve(stored); err == nil {
			where = found.Reference
		}
	}
	return c.mover(where).Push(ctx, store, stored, ref)
}

// List returns what a place has: a registry, or ssh:// and a host, or a repository there.
func (c *Client) List(ctx context.Context, where string, wanted func(name string) bool) ([]Listed, error) {
	if !strings.HasPrefix(where, image.SchemeSSH) {
		return c.registry.List(ctx, where, wanted)
	}
	place, name, err := placeAndName(where)
	if err != nil {
		return nil, err
	}
	list, err := c.ssh.List(ctx, place)
	return slices.DeleteFunc(list, func(l Listed) bool { return name != "" && l.Name != name }), err
}

// placeAndName reads ssh://HOST[/NAME].
func placeAndName(where string) (image.Place, string, error) {
	host := strings.TrimSuffix(strings.TrimPrefix(where, image.SchemeSSH), "/")
	if !strings.Contains(host, "/") {
		place, err := image.ParsePlace(image.SchemeSSH + host)
		if err != nil {
			err = fmt.Errorf("%w; write ssh://[USER@]HOST[:PORT]", err)
		}
		return place, "", err
	}
	ref, err := image.ParseReference(where)
	if err == nil && (ref.Tag != "" || ref.Digest != "") {
		err = fmt.Errorf("%s: wanted ssh://[USER@]HOST[:PORT], or a name there without a tag", where)
	}
	if err != nil {
		return image.Place{}, "", err
	}
	return ref.Place()
}
