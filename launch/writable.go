package launch

import (
	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/rootfs"
)

// prepareWritable makes a container's writable layer, if it has none, and what belongs to
// it. The caller has the container's lock and holds the store.
func prepareWritable(c *config.Container, images []*image.Image) error {
	if err := limitDisk(c); err != nil {
		return err
	}
	layers := layersOf(images)
	if err := rootfs.CreateWritable(writable(c.Name), layers[len(layers)-1]); err != nil {
		return err
	}
	return recordBase(c.Name, images)
}

// layersOf are the layers of all images, the lowest first.
func layersOf(images []*image.Image) (layers []string) {
	for _, image := range images {
		layers = append(layers, image.Layers...)
	}
	return layers
}
