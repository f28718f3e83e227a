package sshrepo

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/transfer"
)

// DefaultDirectory is where images are on the other side, below the home directory.
const DefaultDirectory = "cocker-images"

// Client pulls, pushes and lists images.
type Client struct {
	settings map[string]config.SSHRepository
	progress func(transfer.Event)
	command  func(ctx context.Context, p image.Place, remote string) (*exec.Cmd, error)
	wait     time.Duration // before another connection, when one broke off
}

// Config says where directories are that are not in the usual place, and who is told
// how it goes.
type Config struct {
	Registries *config.Registries // nil: as without registries.toml
	Progress   func(transfer.Event)
}

// New makes a client.
func New(c Config) *Client {
	client := &Client{progress: c.Progress, command: sshCommand, wait: 2 * time.Second}
	if c.Registries != nil {
		client.settings = c.Registries.SSH
	}
	if client.progress == nil {
		client.progress = func(transfer.Event) {}
	}
	return client
}

func (c *Client) note(text string) {
	c.progress(transfer.Event{Kind: transfer.Note, Text: text})
}

// directory is that of a place: as registries.toml has it for the whole of what is
// before the name, or for the host alone.
func (c *Client) directory(p image.Place) string {
	for _, key := range []string{strings.TrimPrefix(p.String(), image.SchemeSSH), p.Host} {
		if s, ok := c.settings[key]; ok && s.Directory != "" {
			return s.Directory
		}
	}
	return DefaultDirectory
}

// repository is a directory on the other side, with the connection to it if there is one.
type repository struct {
	client *Client
	place  image.Place
	conn   *connection
}

// connect returns the connection, a new one if there is none any more.
func (r *repository) connect(ctx context.Context) (*connection, error) {
	if r.conn != nil && !r.conn.closed {
		return r.conn, nil
	}
	conn, err := r.client.dial(ctx, r.place)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.place.Host, err)
	}
	r.conn = conn
	return conn, nil
}

func (r *repository) close() {
	if r.conn != nil {
		_ = r.conn.close() // all that was asked for has been answered
		r.conn = nil
	}
}

// tries is how often something is begun whose connection breaks off. A connection that
// cannot be made is no such case: that does not pass within seconds.
const tries = 3

// again says, with a pause, whether to try once more.
func (r *repository) again(ctx context.Context, try int, err error, what string) bool {
	if !errors.Is(err, errBroken) || try >= tries || ctx.Err() != nil {
		return false
	}
	r.close()
	r.client.note(fmt.Sprintf("%s: %v; trying again%s", r.place.Host, err, what))
	timer := time.NewTimer(r.client.wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ended is the reason for which an operation was given up by its caller, or err.
func ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && err != nil {
		return cause
	}
	return err
}
