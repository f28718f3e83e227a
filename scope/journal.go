package scope

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
)

// journalSocket takes entries in the native protocol of the journal, see
// https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.
const journalSocket = "/run/systemd/journal/socket"

// LogAbout writes an error to the journal that is the business of several units: with
// OBJECT_SYSTEMD_UNIT= of root's, "journalctl -u" and "systemctl status" show it for
// each (systemd.journal-fields(7)). The unit that it comes from is to be among them:
// journald looks that up by the process, which may have ended by then.
func LogAbout(identifier, message string, units ...string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write to the journal: %w", err)
		}
	}()
	conn, err := net.Dial("unixgram", journalSocket)
	if err != nil {
		return err
	}
	entry := []byte("PRIORITY=3\n")
	entry = appendField(entry, "SYSLOG_IDENTIFIER", identifier)
	for _, unit := range units {
		entry = appendField(entry, "OBJECT_SYSTEMD_UNIT", unit)
	}
	_, err = conn.Write(appendField(entry, "MESSAGE", message))
	return errors.Join(err, conn.Close())
}

// appendField uses the form with a length, in which a value may have several lines.
func appendField(entry []byte, name, value string) []byte {
	entry = append(append(entry, name...), '\n')
	entry = binary.LittleEndian.AppendUint64(entry, uint64(len(value)))
	return append(append(entry, value...), '\n')
}
