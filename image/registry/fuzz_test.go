package registry

import (
	"net/http"
	"net/url"
	"testing"
	"time"
)

// FuzzHeaders: what a registry says of its next page does not lead to another host, and it
// cannot make a pull wait for longer than a month, whose bound is elsewhere.
func FuzzHeaders(f *testing.F) {
	f.Add(`</v2/_catalog?last=x&n=1000>; rel="next"`, "120")
	f.Add(`<https://elsewhere.example.com/>; rel="next"`, "Wed, 21 Oct 2099 07:28:00 GMT")
	f.Add(`<//elsewhere>`, "-1")
	f.Fuzz(func(t *testing.T, link, after string) {
		address := &url.URL{Scheme: "https", Host: "registry.example.com", Path: "/v2/web/tags/list"}
		resp := &http.Response{Header: http.Header{"Link": {link}}, Request: &http.Request{URL: address}}
		if next := nextPage(resp); next != "" {
			if u, err := url.Parse(next); err != nil || u.Host != address.Host {
				t.Errorf("%q leads to %q (%v)", link, next, err)
			}
		}
		if wait := retryAfter(after, time.Unix(0, 0)); wait < 0 {
			t.Errorf("%q: %v", after, wait)
		}
	})
}
