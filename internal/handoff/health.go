package handoff

import (
	"strings"
	"time"
)

// Health is how init finds out whether the container is well.
type Health struct {
	Command       []string
	User          string // as Plan.User; "": that
	Interval      time.Duration
	Timeout       time.Duration
	Retries       int
	StartPeriod   time.Duration
	StartInterval time.Duration
	Restart       bool // systemd is told when the container has become unhealthy, as of a watchdog
}

// What the status text of a unit begins with whose container is checked (STATUS= in
// sd_notify(3)). Init writes it, and nobody else in the container can.
const (
	StatusNotYet    = "Not healthy yet"
	StatusHealthy   = "Healthy"
	StatusUnhealthy = "Unhealthy"
)

// HealthWord is the state that a status text tells of: "starting", "healthy",
// "unhealthy", or "" if it is of something else.
func HealthWord(status string) string {
	switch {
	case strings.HasPrefix(status, StatusNotYet):
		return "starting"
	case strings.HasPrefix(status, StatusHealthy):
		return "healthy"
	case strings.HasPrefix(status, StatusUnhealthy):
		return "unhealthy"
	}
	return ""
}
