package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cocker/cocker/image/transfer"
)

func TestTransfersPlain(t *testing.T) {
	var b bytes.Buffer
	tr := &transfers{w: &b, now: time.Now, start: time.Now()}
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, e := range []transfer.Event{
		{Kind: transfer.Begun, Text: "r/web:1 from r"}, {Kind: transfer.Present, Digest: "sha256:bb"},
		{Kind: transfer.Started, Digest: digest, Total: 2048}, {Kind: transfer.Moving, Digest: digest, Done: 1024, Total: 2048},
		{Kind: transfer.Note, Text: "a\x1b[2J"}, {Kind: transfer.Finished, Digest: digest, Done: 2048, Total: 2048},
	} {
		tr.tell(e)
	}
	tr.end()
	want := "r/web:1 from r\nsha256:bb is here already\ncocker: note: a?[2J\nsha256:aaaaaaaaaaaa 2.0K\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// What is drawn over is as many lines as were drawn, and nothing of it stays.
func TestTransfersOnATerminal(t *testing.T) {
	var b bytes.Buffer
	clock := time.Unix(0, 0)
	tr := &transfers{w: &b, now: func() time.Time { return clock }, start: clock, width: func() int { return 60 }}
	tell := func(e transfer.Event) {
		clock = clock.Add(time.Second)
		tr.tell(e)
	}
	tell(transfer.Event{Kind: transfer.Moving, Digest: "sha256:a", Done: 50, Total: 100})
	if got := b.String(); got != "sha256:a            [=============>              ] 50B/100B\n" {
		t.Errorf("got %q", got)
	}
	tell(transfer.Event{Kind: transfer.Moving, Digest: "sha256:b", Done: 0, Total: 100})
	if got := b.String(); !strings.Contains(got, "\x1b[1A") || strings.Count(got, "\n") != 4 || !strings.Contains(got, "50B/200B, 25B/s") {
		t.Errorf("got %q", got)
	}
	b.Reset()
	tr.end()
	if got := b.String(); got != "\x1b[3A\r\x1b[J" {
		t.Errorf("got %q", got)
	}
}

func TestBarsFitTheTerminal(t *testing.T) {
	for width := 20; width < 200; width++ {
		for _, done := range []int64{0, 1, 50, 100, 200} {
			line := barLine("sha256:aaaaaaaaaaaa", done, 100, ", 1.0M/s", width)
			if len(line) >= width {
				t.Errorf("%d columns: %q", width, line)
			}
		}
	}
}
