package cli

import (
	"crypto/rand"
	"strings"
)

// maxStem leaves room for the letters that inventName adds.
const maxStem = 40

// inventName makes a name for a container of an image: "demo-x7k2" for
// registry.example.com/tools/demo:1.0. It is a valid host name.
func inventName(image string) string {
	stem := image[strings.LastIndexByte(image, '/')+1:]
	stem, _, _ = strings.Cut(stem, "@")
	stem, _, _ = strings.Cut(stem, ":")
	stem = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, stem)
	stem = strings.Trim(stem[:min(len(stem), maxStem)], "-")
	if stem == "" {
		stem = "container"
	}
	return stem + "-" + strings.ToLower(rand.Text()[:4])
}
