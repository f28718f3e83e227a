package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/cocker/cocker/image/transfer"
)

// transfers shows blobs on their way: on a terminal a bar for each one that moves,
// and one for all; elsewhere a line for each one that is done.
type transfers struct {
	w     io.Writer
	width func() int // of the terminal; nil: it is none
	now   func() time.Time
	start time.Time

	mu    sync.Mutex
	blobs []*moving // in the order of their beginning
	shown time.Time
	lines int // on the terminal, to be drawn over
}

// moving is a blob.
type moving struct {
	digest      string
	done, total int64
	finished    bool
}

func newTransfers(w *os.File) *transfers {
	t := &transfers{w: w, now: time.Now, start: time.Now()}
	if isTerminal(w) {
		t.width = func() int {
			width, _, err := term.GetSize(int(w.Fd()))
			if err != nil || width < 20 {
				width = 80
			}
			return width
		}
	}
	return t
}

// tell takes in what happened.
func (t *transfers) tell(e transfer.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.Kind {
	case transfer.Begun:
		t.print(oneLine(e.Text))
	case transfer.Note:
		t.print("cocker: note: " + oneLine(e.Text))
	case transfer.Present:
		t.print(shortDigest(e.Digest) + " " + cmp.Or(e.Text, "is here already"))
	case transfer.Finished:
		t.set(e).finished = true
		t.print(fmt.Sprintf("%s %s", shortDigest(e.Digest), byteSize(e.Total)))
	case transfer.Started, transfer.Moving:
		t.set(e)
	}
	if t.width != nil && t.now().Sub(t.shown) >= redraw {
		t.draw()
	}
}

func (t *transfers) set(e transfer.Event) *moving {
	for _, m := range t.blobs {
		if m.digest == e.Digest {
			m.done, m.total = e.Done, e.Total
			return m
		}
	}
	m := &moving{digest: e.Digest, done: e.Done, total: e.Total}
	t.blobs = append(t.blobs, m)
	return m
}

// print writes a line that stays, above the bars.
func (t *transfers) print(line string) {
	t.clear()
	fmt.Fprintln(t.w, line)
}

func (t *transfers) clear() {
	if t.lines > 0 {
		fmt.Fprintf(t.w, "\x1b[%dA\r\x1b[J", t.lines)
		t.lines = 0
	}
}

func (t *transfers) draw() {
	t.clear()
	width := t.width()
	var done, total int64
	for _, m := range t.blobs {
		done, total = done+m.done, total+m.total
		if !m.finished {
			fmt.Fprintln(t.w, barLine(shortDigest(m.digest), m.done, m.total, "", width))
			t.lines++
		}
	}
	if t.lines > 1 {
		seconds := max(t.now().Sub(t.start).Seconds(), 0.001)
		fmt.Fprintln(t.w, barLine("all", done, total, ", "+byteSize(int64(float64(done)/seconds))+"/s", width))
		t.lines++
	}
	t.shown = t.now()
}

// barLine is "NAME [====>    ] 12M/40M", not wider than the terminal.
func barLine(name string, done, total int64, rate string, width int) string {
	name = fmt.Sprintf("%-19s", name)
	numbers := fmt.Sprintf("%s/%s%s", byteSize(done), byteSize(total), rate)
	cells := min(width-len(name)-len(numbers)-len(" [] ")-1, 40)
	if cells < 5 {
		return (name + " " + numbers)[:min(width-1, len(name)+1+len(numbers))]
	}
	full := 0
	if total > 0 {
		full = int(int64(cells) * min(done, total) / total)
	}
	bar := strings.Repeat("=", full)
	if full > 0 && full < cells {
		bar = bar[:full-1] + ">"
	}
	return fmt.Sprintf("%s [%-*s] %s", name, cells, bar, numbers)
}

// end leaves only the lines that stay.
func (t *transfers) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	t.width = nil
}
