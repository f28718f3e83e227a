package host

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The first and the longest pause between two looks at something without an event.
const (
	pollFirst = 5 * time.Millisecond
	pollMost  = 200 * time.Millisecond
)

// poll calls try until it returns nil; when ctx ends first, the last error is returned.
func poll(ctx context.Context, try func() error) error {
	for pause := pollFirst; ; pause = min(2*pause, pollMost) {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waited in vain: %w", err), ctx.Err())
		case <-time.After(pause):
		}
	}
}
