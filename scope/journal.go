package scope

import (
	"fmt"

	"github.com/coreos/go-systemd/v22/journal"
)

// LogAbout writes an error to the journal that is another unit's business too: with
// OBJECT_SYSTEMD_UNIT= of root's, "journalctl -u" and "systemctl status" show it for
// that unit as for the one it comes from (systemd.journal-fields(7)).
func LogAbout(unit, identifier, message string) error {
	fields := map[string]string{"OBJECT_SYSTEMD_UNIT": unit, "SYSLOG_IDENTIFIER": identifier}
	if err := journal.Send(message, journal.PriErr, fields); err != nil {
		return fmt.Errorf("log about %s: %w", unit, err)
	}
	return nil
}
