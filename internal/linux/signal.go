package linux

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BlockSignal keeps a signal from being delivered to this thread, and to what is cloned or
// executed from it, until it is unblocked: it is pending meanwhile (signal(7)). The
// caller has locked the thread. A Go program leaves what was blocked when it began blocked
// in all of its threads, but for the signals that its runtime needs.
func BlockSignal(number int) error {
	var set unix.Sigset_t
	width := int(unsafe.Sizeof(set.Val[0])) * 8
	set.Val[(number-1)/width] |= 1 << ((number - 1) % width)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil); err != nil {
		return fmt.Errorf("block signal %d: %w", number, err)
	}
	return nil
}

// UnblockSignals takes back what is blocked in this thread.
func UnblockSignals() error {
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, new(unix.Sigset_t), nil); err != nil {
		return fmt.Errorf("unblock signals: %w", err)
	}
	return nil
}
