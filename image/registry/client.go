package registry

import (
	"context"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image/transfer"
)

// Client pulls and pushes images.
type Client struct {
	registries *config.Registries
	authFiles  []string
	version    string
	patience   patience
	backoff    remote.Backoff // of uploads
	dial       dialFunc
	idle       time.Duration // how long nothing of a blob may come in
	progress   func(Event)
}

// Config says how registries are reached, and who is told how it goes.
type Config struct {
	Registries *config.Registries // nil: as without registries.toml
	AuthFiles  []string           // nil: AuthFiles(os.Getenv)
	Version    string             // of cocker, told to registries
	Progress   func(Event)        // called by several goroutines, one at a time for each digest; nil: nobody is told
}

// New makes a client.
func New(c Config) *Client {
	client := &Client{registries: c.Registries, authFiles: c.AuthFiles, version: c.Version, progress: c.Progress,
		patience: patience{tries: 5, wait: sleep}, backoff: remote.Backoff{Duration: time.Second, Factor: 3, Jitter: 0.1, Steps: 4}, dial: newDial(), idle: time.Minute}
	if client.registries == nil {
		client.registries = &config.Registries{Default: config.DefaultRegistry}
	}
	if client.authFiles == nil {
		client.authFiles = AuthFiles(os.Getenv)
	}
	if client.progress == nil {
		client.progress = func(Event) {}
	}
	return client
}

// What is told and asked for is the same for all ways of moving an image.
type (
	Event    = transfer.Event
	Kind     = transfer.Kind
	Platform = transfer.Platform
	Pushed   = transfer.Pushed
)

// The kinds of events.
const (
	Begun    = transfer.Begun
	Started  = transfer.Started
	Moving   = transfer.Moving
	Finished = transfer.Finished
	Present  = transfer.Present
	Note     = transfer.Note
)

func (c *Client) note(text string) { c.progress(Event{Kind: Note, Text: text}) }

// retried tells of repetitions.
func (c *Client) retried(e endpoint) func(string) {
	return func(text string) { c.note(e.host + ": " + text + "; trying again") }
}

// opened returns the endpoints of a location, none of them talked to yet.
func (c *Client) opened(l location) []*lazySession {
	var all []*lazySession
	for _, e := range endpoints(l, c.registries) {
		all = append(all, &lazySession{endpoint: e})
	}
	return all
}

func closeAll(sessions []*lazySession) {
	for _, s := range sessions {
		s.close()
	}
}

// ended says whether an operation was given up by its caller.
func ended(ctx context.Context) error { return context.Cause(ctx) }
