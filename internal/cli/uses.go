package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
)

// imagesInUse is what a clean-up must leave alone: what the files of containers name,
// what runs, and what writable layers stand on. A file that does not say what it names
// is an error: it may name anything.
func imagesInUse() (image.Uses, error) {
	u := image.Uses{}
	files, err := containerFiles()
	if err != nil {
		return u, err
	}
	for _, c := range files {
		u.References = append(u.References, c.Images...)
	}
	states, err := launch.States()
	if err != nil {
		return u, err
	}
	for _, state := range states {
		if state.Running() || state.Leader == 0 { // 0: it is about to start
			u.Digests = append(u.Digests, state.ImageDigests...)
			u.Layers = append(u.Layers, state.Layers...)
		}
	}
	data, err := dataNames()
	if err != nil {
		return u, err
	}
	for _, name := range data {
		base, err := launch.Base(name)
		switch {
		case err == nil:
			u.Digests = append(u.Digests, base...)
		case errors.Is(err, fs.ErrNotExist):
		case !errors.Is(err, launch.ErrNoBase):
			return u, err
		case files[name] == nil: // what has a file starts with the images that the file names
			u.Unknown = errors.Join(u.Unknown, err)
		}
	}
	return u, nil
}

// containerFiles reads the files of all containers. The error names those of which not
// even the images, or the mounts, are known.
func containerFiles() (map[string]*config.Container, error) {
	locations, err := config.Scan(paths.ConfigDirs())
	errs := []error{err}
	all := map[string]*config.Container{}
	for _, l := range locations {
		c, problem := l.Read()
		if _, err := os.Lstat(l.File); errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile, as those of "cocker run --rm" are all the time
		}
		if problem != nil && !tellsWhatItNeeds(problem) {
			errs = append(errs, fmt.Errorf("nobody knows what container %s needs (mend its file, or remove it): %w", l.Name, problem))
		}
		all[l.Name] = c
	}
	return all, errors.Join(errs...)
}

// tellsWhatItNeeds says whether the images and mounts of a bad file can be relied on:
// what is wrong is one of its other keys.
func tellsWhatItNeeds(problem error) bool {
	for _, p := range config.Problems(problem) {
		if p.Key == "" || strings.HasPrefix(p.Key, "image") || strings.HasPrefix(p.Key, "mount") {
			return false
		}
	}
	return true
}

// layersInUse are the layers that running containers stand on, by what their
// launchers wrote down: an image may have got another name or content since.
func layersInUse() ([]string, error) {
	states, err := launch.States()
	var layers []string
	for _, state := range states {
		if state.Running() || state.Leader == 0 { // 0: it is about to start
			layers = append(layers, state.Layers...)
		}
	}
	return layers, err
}
