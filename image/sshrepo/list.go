package sshrepo

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/transfer"
)

// List returns the images of a place that have a name and a tag, by name.
func (c *Client) List(ctx context.Context, place image.Place) ([]transfer.Listed, error) {
	list, err := c.list(ctx, place)
	if err = ended(ctx, err); err != nil {
		return nil, fmt.Errorf("list %s: %w", place, err)
	}
	return list, nil
}

func (c *Client) list(ctx context.Context, place image.Place) ([]transfer.Listed, error) {
	r := &repository{client: c, place: place}
	defer r.close()
	conn, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	idx, err := conn.readIndex()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var list []transfer.Listed
	for _, e := range slices.Backward(idx.entries) { // the last of a name counts
		ref, err := image.ParseReference(e.Name())
		if err != nil || ref.Tag == "" || ref.Digest != "" || ref.IsSSH() || seen[e.Name()] || image.CheckDigest(e.Digest) != nil {
			continue // not to be asked for by name, or by another tool's rules
		}
		seen[e.Name()] = true
		list = append(list, transfer.Listed{Place: place.String(), Name: ref.Name, Tag: ref.Tag, Digest: e.Digest})
	}
	slices.SortFunc(list, func(a, b transfer.Listed) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), image.CompareTags(a.Tag, b.Tag))
	})
	return list, nil
}
