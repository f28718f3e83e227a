package cli

import (
	"fmt"
	"sync"
	"time"

	"github.com/cocker/cocker/image/remote"
	"github.com/cocker/cocker/image/transfer"
	"github.com/cocker/cocker/launch"
)

// pullProgress is how far a pull is, in one line for "systemctl status".
type pullProgress struct {
	note func(text string)

	mu        sync.Mutex
	reference string
	text      string // what there is to say instead of figures
	layers    int    // of the image; 0: not known yet
	total     int64  // bytes of them
	finished  int    // layers
	present   int    // layers of these that were here
	done      map[string]int64
}

func newPullProgress(note func(string)) *pullProgress { return &pullProgress{note: note} }

// begin forgets the image before.
func (p *pullProgress) begin(reference string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reference, p.text, p.layers, p.total, p.finished, p.present = reference, "", 0, 0, 0, 0
	p.done = map[string]int64{}
}

func (p *pullProgress) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = text
}

// tell takes in what happened.
func (p *pullProgress) tell(e remote.Event) {
	if e.Kind == transfer.Note {
		p.note(e.Text)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = ""
	switch e.Kind {
	case transfer.Sized:
		p.layers, p.total = e.Layers, e.Total
	case transfer.Present:
		p.done[e.Digest] = e.Total
		p.finished++
		p.present++
	case transfer.Moving:
		p.done[e.Digest] = e.Done
	case transfer.Finished:
		p.done[e.Digest] = e.Total
		p.finished++
	}
}

// moved reports whether anything of the image had to be fetched.
func (p *pullProgress) moved() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.layers > 0
}

// summary is for the line at the end.
func (p *pullProgress) summary() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := fmt.Sprintf("%s, %s", countOf(p.layers, "layer", "layers"), byteSize(p.total))
	if p.present > 0 {
		text += fmt.Sprintf(" (%d of them here already)", p.present)
	}
	return text
}

// String is the line: "registry.example.com/web:1.27: layer 3 of 6, 41M of 120M".
func (p *pullProgress) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.text != "":
		return p.text
	case p.reference == "":
		return ""
	case p.layers == 0:
		return p.reference + ": asking for it"
	case p.finished >= p.layers:
		return p.reference + ": writing to disk"
	}
	var done int64
	for _, n := range p.done {
		done += n
	}
	return fmt.Sprintf("%s: layer %d of %d, %s of %s", p.reference, p.finished+1, p.layers, byteSize(done), byteSize(p.total))
}

// report tells systemd the line whenever it has changed, but only so often, until the
// function that it returns is called.
func (p *pullProgress) report() (end func()) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(time.Second / 2)
		defer ticker.Stop()
		for last := ""; ; {
			if line := p.String(); line != last && launch.Notify("STATUS="+line) == nil {
				last = line
			}
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
		}
	})
	return func() { close(stop); wg.Wait() }
}
