package units

import (
	"math"
	"strconv"
	"time"

	"github.com/cocker/cocker/config"
)

const (
	// usualStopTimeout is TimeoutStopSec= of cocker@.service.
	usualStopTimeout = 30 * time.Second
	// stopMargin is for what comes after the last process.
	stopMargin = 10 * time.Second
)

// stopTimeout gives several processes, which are stopped one after the other, the time
// that their file allows them.
func stopTimeout(c *config.Container) []string {
	total := stopMargin
	for _, p := range c.Ordered() {
		if p.StopTimeout == math.MaxInt64 {
			return []string{"infinity"}
		}
		total += p.StopTimeout
	}
	if len(c.Processes) == 0 || total <= usualStopTimeout {
		return nil
	}
	return []string{strconv.FormatInt(int64((total+time.Second-1)/time.Second), 10)}
}
