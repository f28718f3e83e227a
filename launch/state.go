package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/paths"
)

// State is what is known of a running container that neither systemd nor the
// kernel can be asked for. It lies in /run, so a boot begins without.
type State struct {
	Name         string   `json:"name"`
	Images       []string `json:"images"`        // as the file names them, lowest first
	ImageDigests []string `json:"image_digests"` // what the names stood for at the start
	Layers       []string `json:"layers"`        // the directories the overlay stands on
	Leader       int      `json:"leader"`        // PID 1 of the container, as the host numbers it; 0: not started yet
	LeaderStart  uint64   `json:"leader_start"`  // clock ticks since boot; names the process for good
	Volumes      []string `json:"volumes,omitempty"`
	IDBase       uint32   `json:"id_base"`          // the host's id of the container's root
	Cgroup       string   `json:"cgroup"`           // the unit's, as /proc/PID/cgroup names it; PID 1 may be in one below
	Health       bool     `json:"health,omitempty"` // the unit's status text tells of it
	Pod          string   `json:"pod,omitempty"`    // whose Connection it is
	ResourceView bool     `json:"resource_view,omitempty"`
	Connection

	viewDevice uint64 // the lxcfs that was mounted last
}

func newState(c *config.Container, images []*image.Image, idBase uint32) *State {
	state := &State{Name: c.Name, Images: c.Images, IDBase: idBase, Cgroup: ownCgroup(), Volumes: volumeNames(c), Health: c.Health.Checked(), Pod: c.Pod, ResourceView: c.Resources.View}
	for _, image := range images {
		state.ImageDigests = append(state.ImageDigests, image.Digest)
		state.Layers = append(state.Layers, image.Layers...)
	}
	return state
}

// ReadState returns the state of a container; fs.ErrNotExist tells that it is
// not running.
func ReadState(container string) (*State, error) {
	data, err := os.ReadFile(statePath(container))
	if err != nil {
		return nil, err
	}
	state := new(State)
	if err := json.Unmarshal(data, state); err != nil {
		return nil, fmt.Errorf("read %q: %w", statePath(container), err)
	}
	return state, nil
}

// States returns the states of all containers, running or not cleaned up yet, in
// the order of their names. One that cannot be read does not hide the others.
func States() (states []*State, err error) {
	files, err := filepath.Glob(filepath.Join(paths.Running, "*.json"))
	for _, file := range files {
		state, readErr := ReadState(strings.TrimSuffix(filepath.Base(file), ".json"))
		if errors.Is(readErr, fs.ErrNotExist) {
			continue // it has ended meanwhile
		}
		if err = errors.Join(err, readErr); readErr == nil {
			states = append(states, state)
		}
	}
	return states, err
}

// Write writes the state, whole or not at all. It is not synced: after a power
// cut there is no /run.
func (s *State) Write() error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write state of %s: %w", s.Name, err)
	}
	if err := os.MkdirAll(paths.Running, 0o755); err != nil {
		return fmt.Errorf("write state of %s: %w", s.Name, err)
	}
	temporary := statePath(s.Name) + ".new"
	if err := os.WriteFile(temporary, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write state of %s: %w", s.Name, err)
	}
	if err := os.Rename(temporary, statePath(s.Name)); err != nil {
		return fmt.Errorf("write state of %s: %w", s.Name, err)
	}
	return nil
}

// Running tells whether the container's PID 1 is alive.
func (s *State) Running() bool {
	if s.Leader == 0 {
		return false
	}
	start, err := linux.ProcessStart(s.Leader)
	return err == nil && start == s.LeaderStart
}

// CgroupDir is the directory of the cgroup that has all of the container's. The state of
// an older cocker does not name it, but PID 1 was in it.
func (s *State) CgroupDir() (string, error) {
	if s.Cgroup == "" {
		return linux.CgroupOf(s.Leader)
	}
	return linux.CgroupPath(s.Cgroup), nil
}

// dyingTimeout bounds the wait for a PID 1 that the kernel is about to end.
const dyingTimeout = time.Minute

// Ended is true if the container's PID 1 is not alive any more. It waits for one that
// is in exit(2): a cgroup is empty, and systemd cleans up after its unit, before PID 1
// has waited for the last process of its namespace (cgroup_exit comes before
// exit_notify in do_exit, Linux 6.18).
func (s *State) Ended() bool {
	if !s.Running() || !linux.ProcessExiting(s.Leader) {
		return !s.Running()
	}
	pidfd, err := unix.PidfdOpen(s.Leader, 0)
	if err != nil {
		return !s.Running()
	}
	defer unix.Close(pidfd)
	return !s.Running() || linux.WaitReadable(pidfd, dyingTimeout)
}

func removeState(container string) error {
	return errors.Join(
		ignoreMissing(os.Remove(ControlSocket(container))),
		ignoreMissing(os.Remove(ProcessSocket(container))),
		ignoreMissing(os.Remove(statePath(container)+".new")),
		ignoreMissing(os.Remove(statePath(container))),
	)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func statePath(container string) string { return filepath.Join(paths.Running, container+".json") }
func writable(container string) string  { return filepath.Join(paths.Writable, container) }
func idRecord(container string) string  { return filepath.Join(writable(container), "idrange") }
