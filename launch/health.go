package launch

import (
	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/handoff"
)

// health is the part of the plan that is about [health]; nil without one.
func health(c *config.Container) *handoff.Health {
	if !c.Health.Checked() {
		return nil
	}
	h := c.Health.Defaults()
	return &handoff.Health{
		Command:       h.Command,
		User:          h.User,
		Interval:      h.Interval,
		Timeout:       h.Timeout,
		Retries:       h.Retries,
		StartPeriod:   h.StartPeriod,
		StartInterval: h.StartInterval,
		Restart:       h.Restarts(),
	}
}
