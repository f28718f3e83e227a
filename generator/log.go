package generator

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cocker/cocker/config"
)

const (
	kernelLogPath = "/dev/kmsg"
	// maxRecord keeps a record below the 1024 bytes (LOG_LINE_MAX) that
	// /dev/kmsg takes; a longer write is refused as a whole.
	maxRecord = 960
	// maxRecords keeps a directory full of bad files from pushing the boot's
	// messages out of the kernel's buffer.
	maxRecords = 200
)

// logAll writes one line for each problem.
func logAll(log func(line string), errs []error) {
	var lines []string
	for _, err := range errs {
		lines = append(lines, messages(err)...)
	}
	for i, line := range lines {
		if i == maxRecords {
			log(fmt.Sprintf("%d more problems; \"cocker check\" shows all", len(lines)-i))
			return
		}
		log(line)
	}
}

// messages splits joined errors into lines of text.
func messages(err error) []string {
	switch e := err.(type) {
	case nil:
		return nil
	case *config.Problem:
		return []string{oneLine(e.Error())}
	case interface{ Unwrap() []error }:
		var all []string
		for _, one := range e.Unwrap() {
			all = append(all, messages(one)...)
		}
		return all
	}
	return []string{oneLine(err.Error())}
}

// oneLine keeps what a file's name may hold from ending a record or reaching a
// terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// kernelLog logs where it can be seen that early: the journal reads /dev/kmsg
// and takes the name and the number before the colon for its fields.
func kernelLog(fallback io.Writer) func(line string) {
	prefix := fmt.Sprintf("<3>cocker-generator[%d]: ", os.Getpid())
	return func(line string) {
		if writeRecord(kernelLogPath, prefix+truncate(line, maxRecord-len(prefix))+"\n") != nil {
			_, _ = io.WriteString(fallback, prefix+line+"\n")
		}
	}
}

// writeRecord opens the log each time: by default (printk.devkmsg=ratelimit) the
// kernel drops all but ten records in five seconds of each open file.
func writeRecord(path, record string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(record)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// truncate cuts at a whole character.
func truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
