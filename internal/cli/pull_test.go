package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/transfer"
)

// The line in systemctl status, from the question to the last layer.
func TestPullProgress(t *testing.T) {
	var notes []string
	p := newPullProgress(func(text string) { notes = append(notes, text) })
	want := func(line string) {
		t.Helper()
		if got := p.String(); got != line {
			t.Errorf("got %q, want %q", got, line)
		}
	}
	const ref = "registry.example.com/web:1.27"
	want("")
	p.begin(ref)
	p.say("waiting for another pull of " + ref)
	want("waiting for another pull of " + ref)
	p.tell(transfer.Event{Kind: transfer.Begun, Text: ref})
	want(ref + ": asking for it")
	p.tell(transfer.Event{Kind: transfer.Sized, Layers: 3, Total: 60 << 20})
	p.tell(transfer.Event{Kind: transfer.Present, Digest: "a", Total: 10 << 20})
	want(ref + ": layer 2 of 3, 10M of 60M")
	p.tell(transfer.Event{Kind: transfer.Started, Digest: "b", Total: 20 << 20})
	p.tell(transfer.Event{Kind: transfer.Moving, Digest: "b", Done: 5 << 20, Total: 20 << 20})
	p.tell(transfer.Event{Kind: transfer.Moving, Digest: "c", Done: 1 << 20, Total: 30 << 20})
	want(ref + ": layer 2 of 3, 16M of 60M")
	p.tell(transfer.Event{Kind: transfer.Note, Text: "trying again"})
	p.tell(transfer.Event{Kind: transfer.Finished, Digest: "b", Total: 20 << 20})
	want(ref + ": layer 3 of 3, 31M of 60M")
	p.tell(transfer.Event{Kind: transfer.Finished, Digest: "c", Total: 30 << 20})
	want(ref + ": writing to disk")
	if got := p.summary(); got != "3 layers, 60M (1 of them here already)" || !p.moved() || len(notes) != 1 {
		t.Errorf("summary %q, moved %v, notes %q", got, p.moved(), notes)
	}
	p.begin("another")
	if want("another: asking for it"); p.moved() {
		t.Error("the second image has moved")
	}
}

// One at a time has the lock; who waits can give up, and the file goes with the last.
func TestLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		t.Helper()
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	never := func() { t.Error("waits for nobody") }
	first, second := open(), open()
	if err := lockFile(t.Context(), first, never); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gaveUp := errors.New("gave up")
	if err := lockFile(ctx, open(), func() { cancel(gaveUp) }); !errors.Is(err, gaveUp) {
		t.Errorf("got %v", err)
	}
	if err := lockFile(t.Context(), second, func() { _ = first.Close() }); err != nil {
		t.Errorf("after the first: %v", err)
	}
}

// What no start would bring is told; what a start pulls is not.
func TestLostImages(t *testing.T) {
	dir := t.TempDir()
	var containers []*config.Container
	for name, text := range map[string]string{
		"short": `image = "none:1"`, "never": `image = "a.b/none:1"` + "\n" + `pull = "never"`, "missing": `image = "a.b/none:1"`,
	} {
		c, err := config.Parse(name, "/etc/"+name, text)
		if err != nil {
			t.Fatal(err)
		}
		containers = append(containers, c)
	}
	got := map[string]string{}
	for _, w := range lostImages(containers, image.Open(dir)) {
		got[w.Container] = w.Text
	}
	if len(got) != 2 || !strings.Contains(got["short"], `"none:1" is not here, and no start pulls it: its name does not say`) || !strings.HasSuffix(got["never"], `pull = "never"`) {
		t.Errorf("got %q", got)
	}
}
