// Package transfer is what all ways of getting an image from another machine have in
// common: which manifest of an index is meant, which layers are here already, how a
// layer is unpacked and checked while it comes in, and what is told meanwhile. The
// ways themselves are packages of their own, such as registry and sshrepo; they know
// where a blob is and how to read it.
//
// A place that an image comes from is not trusted: what it sends counts only if it
// has the digest by which it was asked for, and a layer is unpacked by package unpack
// with its limits.
package transfer

// Event is something to show while an image is moved.
type Event struct {
	Kind   Kind
	Digest string // of the blob; "": it is about the whole
	Done   int64  // bytes of it so far
	Total  int64  // its size
	Text   string // of a note; the place an image comes from or goes to; where a blob is present, if not here
	Layers int    // of an image
}

// Kind is what an event says.
type Kind int

// The kinds of events.
const (
	Begun    Kind = iota // with Text, where from or to
	Started              // a blob
	Moving               // Done of Total bytes
	Finished             // a blob
	Present              // a blob that need not be moved
	Note                 // Text is for the user
	Sized                // an image that is fetched has so many Layers, of Total bytes with those that are here
)

// Pushed is what a place has got.
type Pushed struct {
	Reference string // in full
	Digest    string
}

// ShortDigest is enough of a digest for an error or a note.
func ShortDigest(digest string) string { return digest[:min(len(digest), len("sha256:")+12)] }

// Listed is an image that a place has.
type Listed struct {
	Place  string // what comes before the slash: a registry, or ssh:// and a host
	Name   string // there
	Tag    string
	Digest string // "": the place did not say
}

// Reference is the name to pull it by.
func (l Listed) Reference() string { return l.Place + "/" + l.Name + ":" + l.Tag }
