package image

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// CheckOptions say how thorough a check is.
type CheckOptions struct {
	Deep   bool // unpack every layer's blob once more, and compare
	Repair bool

	// Unpack writes what is in a layer's blob below an empty directory, and returns
	// the digest of its tar.
	Unpack func(ctx context.Context, blob io.Reader, dir string) (diffID string, err error)
	// InUse returns the directories of layers that are mounted.
	InUse func() ([]string, error)
}

// Finding is one thing that is wrong with a store.
type Finding struct {
	Kind     string   // leftover, index, manifest, configuration, blob, layer, stray or marker
	Object   string   // a digest, or a path
	Images   []string // names, or digests, of the images that need it
	Problem  string
	Advice   string // what somebody can do that a repair cannot; "": a repair does it
	Repaired bool

	fix func(context.Context) error // nil: there is nothing to do here
}

func (f Finding) same(other Finding) bool { return f.Kind == other.Kind && f.Object == other.Object }

// Check looks at all of a store: that what the images name is here, with the right
// digest and size, that every layer is unpacked, and that there is nothing else. With
// Repair it mends what can be mended:
//
//   - what a process that died has left is finished, or taken back;
//   - a layer that is missing or, with Deep, damaged is unpacked from its blob;
//   - a blob that is damaged is put aside, so that a pull brings it again;
//   - what no image needs is removed;
//   - the markers are made anew.
//
// No image loses its name. The findings say what was repaired; none means that the
// store is clean. Nothing is added to the store or removed while it is looked at.
func (s *Store) Check(ctx context.Context, o CheckOptions) ([]Finding, error) {
	found, err := s.look(ctx, o)
	if err != nil || len(found) == 0 || !o.Repair {
		return found, err
	}
	failed := map[string]error{}
	for _, f := range found {
		if f.fix != nil {
			failed[f.Kind+f.Object] = f.fix(ctx)
		}
	}
	left, err := s.look(ctx, o)
	for i, f := range left {
		if err := failed[f.Kind+f.Object]; err != nil {
			left[i].Problem += "; the repair failed: " + err.Error()
		}
	}
	for _, f := range found {
		if f.Repaired = !slices.ContainsFunc(left, f.same); f.Repaired {
			left = append(left, f)
		}
	}
	slices.SortStableFunc(left, compareFindings)
	return left, err
}

// kinds is the order of findings, and that in which they are repaired: what is taken
// back first is no stray later.
func kinds() []string {
	return []string{"index", "leftover", "manifest", "configuration", "blob", "layer", "stray", "marker"}
}

func compareFindings(a, b Finding) int {
	return cmp.Or(slices.Index(kinds(), a.Kind)-slices.Index(kinds(), b.Kind), strings.Compare(a.Object, b.Object))
}

// check is a look at a store at work.
type check struct {
	store   *Store
	options CheckOptions
	index   *index
	scratch *area           // nil: nothing is unpacked
	undone  parts           // what journals of the dead name
	damaged map[string]bool // blobs whose content has another digest
	found   []Finding
}

func (s *Store) look(ctx context.Context, o CheckOptions) (found []Finding, err error) {
	if _, err := os.Lstat(s.OCI()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	c := &check{store: s, options: o, undone: newParts(), damaged: map[string]bool{}}
	if o.Deep {
		if c.scratch, err = s.newScratch(); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.scratch.remove()) }()
	}
	lock, err := s.Hold()
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	if c.index, err = s.readIndex(); err != nil {
		return []Finding{{Kind: "index", Object: s.index(), Problem: err.Error(), Advice: "restore it from a backup; nothing was changed"}}, nil
	}
	for _, step := range []func(context.Context) error{c.leftovers, c.blobs, c.images, c.layers, c.strays, c.markers} {
		if err := errors.Join(step(ctx), ctx.Err()); err != nil {
			return nil, fmt.Errorf("check image store %s: %w", s.OCI(), err)
		}
	}
	slices.SortStableFunc(c.found, compareFindings)
	return c.found, nil
}

// newScratch makes a staging area without a look at those of others. The directories
// may be missing if whoever made the store was killed.
func (s *Store) newScratch() (*area, error) {
	if err := s.makeDirs(); err != nil {
		return nil, err
	}
	lock, err := s.lockExclusive()
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	return s.newArea()
}

// add takes in a finding; what several images share is found once.
func (c *check) add(f Finding) {
	if i := slices.IndexFunc(c.found, f.same); i >= 0 {
		c.found[i].Images = append(c.found[i].Images, f.Images...)
		return
	}
	c.found = append(c.found, f)
}

// leftovers finds the staging areas whose processes died, and files that were to
// replace others.
func (c *check) leftovers(context.Context) error {
	areas, err := c.store.leftovers()
	for _, a := range areas {
		j, journalErr := a.readJournal()
		for _, hex := range j.Layers {
			c.undone.layers[hex] = true
		}
		for _, hex := range j.Blobs {
			c.undone.blobs[hex] = true
		}
		err = errors.Join(err, journalErr, a.lock.Close())
		c.add(Finding{Kind: "leftover", Object: a.oci(), Problem: "a process that added or removed images was killed", fix: c.store.recover})
	}
	for _, file := range []string{c.store.index(), filepath.Join(c.store.OCI(), "oci-layout")} {
		if tmp := file + ".tmp"; exists(tmp) {
			c.add(Finding{Kind: "leftover", Object: tmp, Problem: "a process was killed while it wrote the file", fix: c.store.remover(tmp)})
		}
	}
	return err
}

func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// blobs compares each blob with the digest that it is named by.
func (c *check) blobs(ctx context.Context) error {
	names, err := namesIn(c.store.blobs())
	for _, name := range names {
		if _, bad := digestHex(digestPrefix + name); bad != nil {
			continue // a stray
		}
		sum, err := hashFile(ctx, c.store.blob(name))
		if err != nil && ctx.Err() != nil {
			return err
		}
		c.damaged[name] = err != nil || sum != name
	}
	return err
}

// hashFile reads in pieces, so that a check can be interrupted.
func hashFile(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	for {
		_, err := io.CopyN(hash, f, 16<<20)
		if err == io.EOF {
			return hex.EncodeToString(hash.Sum(nil)), nil
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return "", err
		}
	}
}

// images looks for the documents and blobs that images name.
func (c *check) images(context.Context) error {
	for _, d := range c.index.Manifests {
		c.document(d, titleOf(d), maxNesting)
	}
	return nil
}

// document checks a manifest, or an index and the manifest in it that is for this
// machine; others need not be here.
func (c *check) document(d Descriptor, title string, depth int) {
	if !c.blob("manifest", d, title) || depth == 0 {
		return
	}
	if d.MediaType == MediaTypeIndex || d.MediaType == mediaTypeDockerList {
		var nested index
		if err := c.store.readDocument(d, &nested); err != nil {
			c.unusable("manifest", d, title, err)
			return
		}
		if next, err := nested.forPlatform("linux", runtime.GOARCH); err == nil {
			c.document(next, title, depth-1)
		}
		return
	}
	var m Manifest
	if err := c.store.readDocument(d, &m); err != nil {
		c.unusable("manifest", d, title, err)
		return
	}
	if c.blob("configuration", m.Config, title) {
		if _, err := c.store.load(d); err != nil {
			c.unusable("configuration", m.Config, title, err)
		}
	}
	for _, l := range m.Layers {
		c.blob("blob", l, title)
	}
}

// blob says whether a blob that an image needs is here and what it should be.
func (c *check) blob(kind string, d Descriptor, title string) bool {
	f := Finding{Kind: kind, Object: d.Digest, Images: []string{title}}
	hex, err := digestHex(d.Digest)
	info, missing := os.Lstat(c.store.blob(hex))
	switch aside := c.store.quarantined(hex); {
	case err != nil:
		f.Problem, f.Advice = err.Error(), adviceFor(title)
	case missing != nil && exists(aside):
		f.Problem, f.Advice = "it was damaged, and is put aside as "+aside, adviceFor(title)
	case missing != nil:
		f.Problem, f.Advice = "it is missing", adviceFor(title)
	case c.damaged[hex]:
		f.Problem, f.Advice = "it is damaged: its content has another digest", adviceFor(title)
		f.fix = func(context.Context) error { return c.store.quarantine(hex) }
	case info.Size() != d.Size:
		f.Problem = fmt.Sprintf("it has %d bytes, where %d are said to be", info.Size(), d.Size)
		f.Advice = adviceFor(title)
	default:
		return true
	}
	c.add(f)
	return false
}

func (c *check) unusable(kind string, d Descriptor, title string, err error) {
	c.add(Finding{Kind: kind, Object: d.Digest, Images: []string{title}, Problem: err.Error(), Advice: adviceFor(title)})
}

// adviceFor says how to get an image anew.
func adviceFor(title string) string {
	first, _, hasSlash := strings.Cut(title, "/")
	switch {
	case hasSlash && (strings.ContainsAny(first, ".:") || first == "localhost"):
		return "cocker image pull " + title
	case strings.HasPrefix(title, digestPrefix):
		return "cocker image rm " + title
	}
	return "import or commit " + title + " again, or pull it from where it came from"
}

// layers looks for the layers that images name, and with Deep into them.
func (c *check) layers(ctx context.Context) error {
	users, blobs := map[string][]string{}, map[string][]Descriptor{}
	for _, d := range c.index.Manifests {
		for _, l := range c.store.pairs(d) {
			users[l.diffID] = append(users[l.diffID], titleOf(d))
			blobs[l.diffID] = append(blobs[l.diffID], l.blob)
		}
	}
	for _, diffID := range slices.Sorted(maps.Keys(users)) {
		f := Finding{Kind: "layer", Object: diffID, Images: users[diffID]}
		good := slices.DeleteFunc(blobs[diffID], func(d Descriptor) bool {
			hex, err := digestHex(d.Digest)
			return err != nil || c.damaged[hex] || !c.store.hasBlob(d)
		})
		var err error
		if f.Problem, err = c.layer(ctx, diffID, good); err != nil {
			return err
		}
		switch {
		case f.Problem == "":
			continue
		case len(good) == 0:
			f.Advice = adviceFor(f.Images[0])
		default:
			f.fix = func(ctx context.Context) error { return c.store.unpackAgain(ctx, c.options, diffID, good[0]) }
		}
		c.add(f)
	}
	return nil
}

func (c *check) layer(ctx context.Context, diffID string, blobs []Descriptor) (problem string, err error) {
	hex, err := digestHex(diffID)
	if err != nil {
		return err.Error(), nil
	}
	info, err := os.Lstat(c.store.layer(hex))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "it is not unpacked", nil
	case err != nil:
		return err.Error(), nil
	case !info.IsDir():
		return "it is not a directory", nil
	case c.scratch == nil || len(blobs) == 0:
		return "", nil
	}
	dir := filepath.Join(c.scratch.layers(), hex)
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := c.store.unpackBlob(ctx, c.options, diffID, blobs[0], dir); err != nil {
		return "its blob cannot be unpacked: " + err.Error(), ctx.Err()
	}
	return differ(dir, c.store.layer(hex))
}

// strays finds what no image needs. While an image is damaged nobody knows.
func (c *check) strays(context.Context) error {
	if c.store.checkReadable(c.index.Manifests) == nil {
		strays, err := c.store.findStrays(c.index)
		if err != nil {
			return err
		}
		strays.subtract(c.undone)
		sweep := func(context.Context) error { _, err := c.store.Sweep(c.options.InUse, false); return err }
		for hex := range strays.blobs {
			c.add(Finding{Kind: "stray", Object: c.store.blob(hex), Problem: "no image needs it", fix: sweep})
		}
		for hex := range strays.layers {
			c.add(Finding{Kind: "stray", Object: c.store.layer(hex), Problem: "no image needs it", fix: sweep})
		}
	}
	return c.foreign()
}

// foreign finds what cocker does not make, and half a staging area, which it does not
// leave.
func (c *check) foreign() error {
	s := c.store
	known := map[string]func(name string) bool{
		s.OCI(): func(name string) bool {
			return slices.Contains([]string{"oci-layout", "index.json", "index.json.tmp", "oci-layout.tmp", ".lock", "blobs"}, name) || strings.HasPrefix(name, stagingPrefix)
		},
		s.blobs(): isDigestName, s.unpacked(): isDigestName,
		filepath.Dir(s.blobs()): func(name string) bool { return name == "sha256" },
		s.layers(): func(name string) bool {
			return name == "sha256" || strings.HasPrefix(name, stagingPrefix) && exists(filepath.Join(s.OCI(), name))
		},
	}
	for _, dir := range slices.Sorted(maps.Keys(known)) {
		names, err := namesIn(dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			if known[dir](name) {
				continue
			}
			f := Finding{Kind: "stray", Object: filepath.Join(dir, name), Problem: "cocker has not made it", Advice: "look at it, and remove it"}
			if strings.HasPrefix(name, stagingPrefix) {
				f.Problem, f.Advice, f.fix = "a process that added or removed images was killed", "", s.remover(f.Object)
			}
			c.add(f)
		}
	}
	return nil
}

func isDigestName(name string) bool {
	_, err := digestHex(digestPrefix + name)
	return err == nil
}

func namesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// markers compares the markers of names with the index. One too few is no harm, and
// what an upgrade leaves.
func (c *check) markers(context.Context) error {
	names, err := namesIn(c.store.names())
	have, want := setOf(names), c.index.markers()
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if !want[name] {
			c.add(c.marker(name, "there is no such image"))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !have[name] {
			c.add(c.marker(name, "it is missing"))
		}
	}
	return err
}

func (c *check) marker(name, problem string) Finding {
	return Finding{Kind: "marker", Object: filepath.Join(c.store.names(), name), Problem: problem, fix: func(context.Context) error { return c.store.Mark() }}
}
