package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/manifest"
	"github.com/cocker/cocker/image/transfer"
)

// Manifest implements transfer.Source.
func (s *session) Manifest(ctx context.Context, identifier string) (*manifest.Document, error) {
	accept := []types.MediaType{types.OCIImageIndex, types.DockerManifestList, types.OCIManifestSchema1, types.DockerManifestSchema2}
	header := http.Header{}
	for _, kind := range accept {
		header.Add("Accept", string(kind))
	}
	resp, err := s.get(ctx, s.url("manifests", identifier), header, http.StatusOK)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, manifest.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", short(err))
	}
	if len(raw) > manifest.MaxSize {
		return nil, fmt.Errorf("its manifest is longer than %d bytes", manifest.MaxSize)
	}
	d, err := manifest.Parse(raw, resp.Header.Get("Content-Type"))
	if err == nil && strings.HasPrefix(identifier, "sha256:") && d.Digest != identifier {
		err = fmt.Errorf("%w: its manifest has the digest %s, not %s", transfer.ErrDigest, d.Digest, identifier)
	}
	return d, err
}

// Document implements transfer.Source.
func (s *session) Document(ctx context.Context, d image.Descriptor) ([]byte, error) {
	resp, err := s.get(ctx, s.url("blobs", d.Digest), nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, manifest.MaxSize+1))
	if err != nil {
		return nil, short(err)
	}
	if image.DigestOf(raw) != d.Digest {
		return nil, fmt.Errorf("%w: wanted %s", transfer.ErrDigest, d.Digest)
	}
	return raw, nil
}

// tags lists the tags of the repository.
func (s *session) tags(ctx context.Context) (all []string, err error) {
	address := s.url("tags", "list")
	err = s.pages(ctx, address+pageSize(address), func(body *json.Decoder) (more bool, err error) {
		var page struct {
			Tags []string `json:"tags"`
		}
		if err := body.Decode(&page); err != nil {
			return false, fmt.Errorf("list of tags: %w", short(err))
		}
		all = append(all, page.Tags...)
		return len(all) <= maxTags, nil
	})
	return all, err
}

const (
	maxTags  = 100_000
	maxPages = 1000 // so that one that links its pages in a circle, or empty ones, comes to an end
)

// pages reads a list that a registry may cut into pages.
func (s *session) pages(ctx context.Context, address string, read func(body *json.Decoder) (more bool, err error)) error {
	for range maxPages {
		resp, err := s.get(ctx, address, nil, http.StatusOK)
		if err != nil {
			return err
		}
		more, err := read(json.NewDecoder(resp.Body))
		_ = resp.Body.Close()
		if address = nextPage(resp); err != nil || !more || address == "" {
			return err
		}
	}
	return fmt.Errorf("its list has more than %d pages", maxPages)
}

func pageSize(address string) string {
	if strings.Contains(address, "?") {
		return "&n=1000"
	}
	return "?n=1000"
}

// nextPage reads the header Link: <ADDRESS>; rel="next". Another host is no next page.
func nextPage(resp *http.Response) string {
	link, _, found := strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
	if !found {
		return ""
	}
	next, err := resp.Request.URL.Parse(link)
	if err != nil || next.Host != resp.Request.URL.Host {
		return ""
	}
	return next.String()
}

// isNotFound says whether an endpoint knows nothing of what was asked for.
func isNotFound(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}
