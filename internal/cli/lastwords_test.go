package cli

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// testPatience is the deadline of what takes lastWordsTime at most.
const testPatience = time.Minute

// holdings are outputs that somebody holds open although the container has ended.
func holdings(t *testing.T) map[string][2]*os.File {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range []*os.File{reader, writer, master, slave} {
			f.Close()
		}
	})
	return map[string][2]*os.File{"pipe": {reader, writer}, "terminal": {master, slave}}
}

func TestOutputHeldOpenEnds(t *testing.T) {
	for name, ends := range holdings(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shown, to, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer shown.Close()
			words, err := newLastWords(ends[0])
			if err != nil {
				t.Fatal(err)
			}
			x := &stdio{streams: &streams{out: to}, words: words}
			stop := x.show()
			if _, err := io.WriteString(ends[1], "last words"); err != nil {
				t.Fatal(err)
			}
			stopped := make(chan struct{})
			go func() { stop(); close(stopped) }()
			select {
			case <-stopped:
			case <-time.After(testPatience):
				t.Fatal("the wait for the last words has no end")
			}
			to.Close()
			if text, _ := io.ReadAll(shown); string(text) != "last words" {
				t.Errorf("shown: %q", text)
			}
		})
	}
}

// Somebody who goes on writing does not keep the client either.
func TestOutputWithoutEndEnds(t *testing.T) {
	ends := holdings(t)["pipe"]
	words, err := newLastWords(ends[0])
	if err != nil {
		t.Fatal(err)
	}
	chatter := []byte(strings.Repeat("x", 4096))
	go func() {
		for {
			if _, err := ends[1].Write(chatter); err != nil {
				return
			}
		}
	}()
	words.end()
	ended := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, words); ended <- err }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(testPatience):
		t.Error("the chatter is read for ever")
	}
}

// A reader that is slow gets everything: only waiting for the container is bounded.
func TestSlowReaderGetsAllWords(t *testing.T) {
	ends := holdings(t)["pipe"]
	words, err := newLastWords(ends[0])
	if err != nil {
		t.Fatal(err)
	}
	words.time = time.Millisecond
	want := strings.Repeat("0123456789", 5000)
	if _, err := io.WriteString(ends[1], want); err != nil {
		t.Fatal(err)
	}
	ends[1].Close()
	words.end()
	var got bytes.Buffer
	for buffer := make([]byte, 10000); err == nil; {
		var n int
		n, err = words.Read(buffer)
		got.Write(buffer[:n])
		for began := time.Now(); time.Since(began) < 2*time.Millisecond; { // it is slow
		}
	}
	if err != io.EOF || got.String() != want {
		t.Errorf("%d bytes of %d, %v", got.Len(), len(want), err)
	}
}
