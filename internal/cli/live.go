package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// live shows samples of something that changes: as a table that is drawn anew in its
// place on a terminal, as one table after the other anywhere else, or as JSON.
type live struct {
	out            *os.File
	interval       time.Duration
	json, noStream bool
}

// sample is what there is to show at one moment.
type sample struct {
	header  []string
	rows    [][]string
	objects []any // one for each line of JSON
}

// minInterval keeps a typing error from taking a processor.
const minInterval = 100 * time.Millisecond

func (l *live) flags(c *cobra.Command) {
	c.Flags().DurationVar(&l.interval, "interval", time.Second, "the `TIME` between two samples: 500ms, 2s, 1m")
	c.Flags().BoolVar(&l.json, "json", false, "print a JSON object on a line of its own for each row of each sample")
	c.Flags().BoolVar(&l.noStream, "no-stream", false, "print one sample, taken over the interval, and end")
}

func (l *live) check() error {
	if l.interval < minInterval {
		return fmt.Errorf("--interval %v is too short; use %v or more", l.interval, minInterval)
	}
	return nil
}

// run takes a sample at each interval and shows it, until the context is done, which is
// no error. What is a rate needs two samples, so the first one is for a terminal only.
func (l *live) run(ctx context.Context, take func() (sample, error)) error {
	shown, err := take()
	if err != nil {
		return err
	}
	screen := &screen{out: l.out}
	resized := make(chan os.Signal, 1)
	if !l.json && !l.noStream && screen.capable() {
		signal.Notify(resized, unix.SIGWINCH)
		defer signal.Stop(resized)
		screen.enter()
		// What was seen last stays to be read.
		defer func() { screen.leave(); _ = printTable(l.out, shown.header, shown.rows) }()
		if err := screen.draw(shown); err != nil {
			return err
		}
	}
	tick := time.NewTicker(l.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-resized:
		case <-tick.C:
			next, err := take()
			if err != nil {
				return err
			}
			shown = next
		}
		if err := l.show(screen, shown); err != nil || l.noStream {
			return err
		}
	}
}

func (l *live) show(screen *screen, s sample) error {
	switch {
	case l.json:
		return printLines(l.out, s.objects)
	case screen.entered:
		return screen.draw(s)
	}
	if err := printTable(l.out, s.header, s.rows); err != nil || l.noStream {
		return err
	}
	_, err := fmt.Fprintln(l.out)
	return err
}

// printLines writes each value as JSON on one line.
func printLines(w io.Writer, values []any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	for _, value := range values {
		if err := e.Encode(value); err != nil {
			return err
		}
	}
	_, err := w.Write(text.Bytes())
	return err
}

// screen is a terminal that shows one sample at a time, with the sequences of xterm
// that all of today's terminals know (console_codes(4), "Private mode").
type screen struct {
	out     *os.File
	entered bool
}

const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l" // the alternate screen, no cursor, no wrapping of lines
	leaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	toTop       = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

func (s *screen) capable() bool {
	kind := os.Getenv("TERM")
	return isTerminal(s.out) && kind != "" && kind != "dumb"
}

func (s *screen) enter() {
	s.entered = true
	fmt.Fprint(s.out, enterScreen)
}

func (s *screen) leave() {
	s.entered = false
	fmt.Fprint(s.out, leaveScreen)
}

// draw writes a sample at once, so that it does not flicker; lines that the terminal has
// no room for are counted.
func (s *screen) draw(shown sample) error {
	var table bytes.Buffer
	if err := printTable(&table, shown.header, shown.rows); err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n")
	if _, height, err := term.GetSize(int(s.out.Fd())); err == nil && height > 1 && len(lines) > height {
		hidden := len(lines) - (height - 1)
		lines = append(lines[:height-1], fmt.Sprintf("... %d more", hidden))
	}
	_, err := fmt.Fprint(s.out, toTop+strings.Join(lines, clearLine+"\n")+clearLine+clearBelow)
	return err
}
