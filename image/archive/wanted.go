package archive

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cocker/cocker/image"
)

// wanted is an image of an archive with the names it is to have in the store.
type wanted struct {
	image *found
	names []string
}

// maxImages bounds what one transaction adds.
const maxImages = 1000

// choose decides which images are taken, and under which names: all of them under
// their own; or, with ref, under that name: with its tag if it has one, each with its
// own tag if not. only, if it is not "", is the one to take. Beside images with names,
// one that has none, as it lost its name to a newer one, is left out; note is told.
func choose(all []*found, ref, only string, note func(string)) ([]wanted, error) {
	if only != "" {
		meant := slices.DeleteFunc(slices.Clone(all), func(f *found) bool { return !f.is(only) })
		if len(meant) == 0 {
			return nil, fmt.Errorf("it has no image %q; what it has: %s", only, join(all))
		}
		all = meant
	}
	switch {
	case len(all) == 0:
		return nil, errors.New("it has no image")
	case len(all) > maxImages:
		return nil, fmt.Errorf("it has %d images, and more than %d are not taken at once; choose one by --image", len(all), maxImages)
	case ref == "":
		return underOwnNames(withNames(all, note))
	}
	r, err := image.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	if r.Tag == "" && r.Digest == "" {
		return underName(all, ref)
	}
	if len(all) > 1 {
		return nil, fmt.Errorf("it has %d images, say which one is to be %s, by --image: %s", len(all), ref, join(all))
	}
	name, err := image.FullName(ref)
	return []wanted{{all[0], []string{name}}}, err
}

func join(all []*found) string {
	const most = 20
	var names []string
	for _, f := range all[:min(len(all), most)] {
		names = append(names, f.String())
	}
	if len(all) > most {
		names = append(names, fmt.Sprintf("and %d more", len(all)-most))
	}
	return strings.Join(names, "; ")
}

// is says whether the image is meant by a name, as the archive has it or in full, or
// by a digest.
func (f *found) is(text string) bool {
	full, _ := image.FullName(text)
	return slices.Contains(f.words, text) || text == f.digest || slices.ContainsFunc(f.names, func(name string) bool {
		own, err := image.FullName(name)
		return text == name || err == nil && own == full
	})
}

// withNames are those that the archive has a name for; all, if it has none for any.
func withNames(all []*found, note func(string)) []*found {
	nameless := func(f *found) bool { return len(f.names)+len(f.words) == 0 }
	named := slices.DeleteFunc(slices.Clone(all), nameless)
	if len(named) == 0 {
		return all
	}
	for _, f := range all {
		if nameless(f) && note != nil {
			note(fmt.Sprintf("%s has no name in the archive and is left out; with --image and a name it is taken", f))
		}
	}
	return named
}

func underOwnNames(all []*found) ([]wanted, error) {
	var list []wanted
	for _, f := range all {
		names := slices.Clone(f.names)
		for _, word := range f.words {
			if !isVersion(word) {
				names = append(names, word)
			}
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("%s: the archive has no name for it; give one, NAME[:TAG]", f)
		}
		w := wanted{image: f}
		for _, name := range names {
			full, err := f.ownName(name)
			if err != nil {
				return nil, fmt.Errorf("%w; give another name, NAME[:TAG]", err)
			}
			w.names = append(w.names, full)
		}
		list = append(list, w)
	}
	return list, unique(list)
}

// ownName completes a name of the archive. One with a digest is taken only if it is
// the image's: others rely on it.
func (f *found) ownName(name string) (string, error) {
	full, err := image.StoredName(name)
	if err != nil {
		return "", err
	}
	if r, err := image.ParseReference(full); err != nil || r.Digest != "" && r.Digest != f.digest {
		return "", fmt.Errorf("the archive calls %s %s, which it is not", f.digest, name)
	}
	return full, nil
}

// underName gives images one name, each with the tag that it has in the archive.
func underName(all []*found, name string) ([]wanted, error) {
	var list []wanted
	for _, f := range all {
		w := wanted{image: f}
		for _, tag := range f.tags() {
			full, err := image.FullName(name + tag)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(w.names, full) {
				w.names = append(w.names, full)
			}
		}
		list = append(list, w)
	}
	return list, unique(list)
}

// tags are the tags of an image with a colon before each; there is one, if only "".
func (f *found) tags() []string {
	var tags []string
	for _, word := range f.words {
		if _, err := image.FullName("x:" + word); err == nil {
			tags = append(tags, ":"+word)
		}
	}
	for _, name := range f.names {
		if r, err := image.ParseReference(name); err == nil && r.Tag != "" {
			tags = append(tags, ":"+r.Tag)
		}
	}
	if tags == nil {
		return []string{""}
	}
	return tags
}

// isVersion says whether a word, all that an archive calls an image, is a tag: umoci
// writes such, and the specification of layouts has them. As a name it would be odd.
func isVersion(word string) bool {
	return word == "latest" || strings.Trim(word[:1], "0123456789") == "" || len(word) > 1 && word[0] == 'v' && strings.Trim(word[1:2], "0123456789") == ""
}

// unique refuses one name for two images.
func unique(list []wanted) error {
	owner := map[string]*found{}
	for _, w := range list {
		for _, name := range w.names {
			if other := owner[name]; other != nil && other != w.image {
				return fmt.Errorf("two images of it would be %s; say which one, by --image: %s; %s", name, other, w.image)
			}
			owner[name] = w.image
		}
	}
	return nil
}
