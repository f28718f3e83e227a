// Package derive makes images of images: one more layer on top (commit), all layers
// in one (squash), the topmost layer taken off (checkout). It knows nothing of
// containers: what a writable layer holds is told to it as a pack.Writable.
package derive
