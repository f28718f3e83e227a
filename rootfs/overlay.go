package rootfs

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// maxLayers is OVL_MAX_STACK of the kernel (fs/overlayfs/params.h).
const maxLayers = 500

// layerNames turns the absolute directories of layers, lowest first, into names
// below root. A layer that comes twice, because stacked images share it, counts
// where it comes first: overlayfs refuses the second (ELOOP), and what it would
// hide is what the images in between have changed.
func layerNames(root string, layers []string) ([]string, error) {
	seen := make(map[string]bool, len(layers))
	var names []string
	for _, layer := range layers {
		name, err := filepath.Rel(root, layer)
		if err != nil || !filepath.IsLocal(name) {
			return nil, fmt.Errorf("layer %q is not below %q", layer, root)
		}
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	switch {
	case len(names) == 0:
		return nil, fmt.Errorf("the image has no layer")
	case len(names) > maxLayers:
		return nil, fmt.Errorf("the images have %d layers, overlayfs takes at most %d", len(names), maxLayers)
	}
	return names, nil
}

// overlayOptions are the mount options for count layers linked as l/0 (lowest)
// to l/count-1, with the stage as the working directory. overlayfs wants the
// topmost layer first. index and metacopy are off whatever the kernel's default
// is: both tie the upper layer to one set of lower layers for ever. So is
// redirect_dir: a renamed directory would leave what is in it under its old name, and
// no image has a form for that; rename(2) gives EXDEV instead, and mv(1) copies.
func overlayOptions(count int) string {
	var b strings.Builder
	b.WriteString("index=off,metacopy=off,redirect_dir=off,lowerdir=")
	for i := count - 1; i >= 0; i-- {
		b.WriteString(stageLinks + "/" + strconv.Itoa(i))
		if i > 0 {
			b.WriteByte(':')
		}
	}
	b.WriteString(",upperdir=" + stageWritable + "/upper,workdir=" + stageWritable + "/work")
	return b.String()
}
