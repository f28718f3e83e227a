// Package journal writes entries to the host's journal that are the business of other
// units than that of the process that writes them. It imports nothing of cocker.
package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// socket takes entries in the native protocol of the journal, see
// https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.
const socket = "/run/systemd/journal/socket"

// The levels of entries, as of syslog(3).
const (
	Error   = 3
	Warning = 4
)

// About writes an entry that is the business of several units: with OBJECT_SYSTEMD_UNIT=
// of root's, "journalctl -u" and "systemctl status" show it for each
// (systemd.journal-fields(7)). The unit that it comes from is to be among them, if it is
// of interest there: journald looks that up by the process, which may have ended by then.
func About(level int, identifier, message string, units ...string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write to the journal: %w", err)
		}
	}()
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		return err
	}
	_, err = conn.Write(entry(level, identifier, message, units))
	return errors.Join(err, conn.Close())
}

func entry(level int, identifier, message string, units []string) []byte {
	e := []byte("PRIORITY=" + strconv.Itoa(level) + "\n")
	e = appendField(e, "SYSLOG_IDENTIFIER", identifier)
	for _, unit := range units {
		e = appendField(e, "OBJECT_SYSTEMD_UNIT", unit)
	}
	return appendField(e, "MESSAGE", message)
}

// appendField uses the form with a length, in which a value may have several lines.
func appendField(entry []byte, name, value string) []byte {
	entry = append(append(entry, name...), '\n')
	entry = binary.LittleEndian.AppendUint64(entry, uint64(len(value)))
	return append(append(entry, value...), '\n')
}
