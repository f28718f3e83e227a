package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/transfer"
)

// List returns the tags of a repository, or of all repositories of a registry whose
// names are wanted. Registries of many users do not tell what they all have.
func (c *Client) List(ctx context.Context, where string, wanted func(name string) bool) ([]transfer.Listed, error) {
	list, err := c.list(ctx, strings.TrimSuffix(where, "/"), wanted)
	if cause := ended(ctx); cause != nil && err != nil {
		err = cause
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", where, err)
	}
	return list, nil
}

func (c *Client) list(ctx context.Context, where string, wanted func(name string) bool) ([]transfer.Listed, error) {
	if host, ok := asHost(where); ok {
		repositories, err := c.catalog(ctx, host)
		if err != nil {
			return nil, err
		}
		var list []transfer.Listed
		for _, name := range slices.DeleteFunc(repositories, func(name string) bool { return !wanted(name) }) {
			tags, err := c.tagsOf(ctx, location{host: host, repository: name})
			if err != nil && !isNotFound(err) { // one whose last tag was deleted
				return nil, err
			}
			list = append(list, tags...)
		}
		return list, nil
	}
	l, err := locate(where, c.registries.Default)
	if err != nil {
		return nil, err
	}
	if l.tag != "" || l.digest != "" {
		return nil, errors.New("wanted a registry or a repository, without a tag")
	}
	return c.tagsOf(ctx, l)
}

// asHost says whether a text is a registry rather than a repository: it could be no
// directory.
func asHost(text string) (string, bool) {
	if _, err := image.ParseReference(text + "/x"); err != nil || strings.Contains(text, "/") {
		return "", false
	}
	return text, text == "localhost" || strings.ContainsAny(text, ".:") || strings.ToLower(text) != text
}

func (c *Client) tagsOf(ctx context.Context, l location) ([]transfer.Listed, error) {
	place := &lazySession{endpoint: newEndpoint(l.host, l.repository, c.registries)}
	defer place.close()
	s, err := place.open(ctx, c, transport.PullScope)
	if err != nil {
		return nil, err
	}
	tags, err := s.tags(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(tags, image.CompareTags)
	var list []transfer.Listed
	for _, tag := range tags {
		item := transfer.Listed{Place: l.host, Name: l.repository, Tag: tag}
		if _, err := image.ParseReference(item.Reference()); err == nil { // else it is no tag, whatever the registry says
			list = append(list, item)
		}
	}
	return list, nil
}

const maxRepositories = 10_000

// catalog lists the repositories of a registry: docker's HTTP API, "Listing Repositories".
func (c *Client) catalog(ctx context.Context, host string) ([]string, error) {
	place := &lazySession{endpoint: newEndpoint(host, "", c.registries)}
	defer place.close()
	s, err := place.openFor(ctx, c, "registry:catalog:*")
	if err != nil {
		return nil, err
	}
	first := s.root()
	first.Path, first.RawQuery = first.Path+"_catalog", "n=1000"
	var all []string
	err = s.pages(ctx, first.String(), func(body *json.Decoder) (more bool, err error) {
		var page struct {
			Repositories []string `json:"repositories"`
		}
		if err := body.Decode(&page); err != nil {
			return false, fmt.Errorf("list of repositories: %w", short(err))
		}
		for _, name := range page.Repositories {
			if _, err := image.ParseReference(host + "/" + name + ":x"); err == nil {
				all = append(all, name)
			}
		}
		return len(all) <= maxRepositories, nil
	})
	if status := statusOf(err); status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusNotFound {
		err = fmt.Errorf("%w; the registry may not tell what it has: name one repository, %s/NAME, to see its tags", err, host)
	}
	if err != nil {
		return nil, err
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
