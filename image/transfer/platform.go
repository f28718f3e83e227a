package transfer

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/cocker/cocker/image"
)

// Platform is what an image is to run on.
type Platform struct {
	OS, Architecture, Variant string

	asked bool // by the user; else it is the host's
}

// HostPlatform is this machine's.
func HostPlatform() Platform { return Platform{OS: "linux", Architecture: runtime.GOARCH} }

// ParsePlatform reads "[linux/]ARCHITECTURE[/VARIANT]"; "" is the host's.
func ParsePlatform(text string) (Platform, error) {
	if text == "" {
		return HostPlatform(), nil
	}
	parts := strings.Split(text, "/")
	if len(parts) == 1 {
		parts = append([]string{"linux"}, parts...)
	}
	p := Platform{OS: parts[0], Architecture: parts[1], asked: true}
	if len(parts) > 2 {
		p.Variant = parts[2]
	}
	if len(parts) > 3 || p.OS != "linux" || p.Architecture == "" || len(parts) == 3 && p.Variant == "" {
		return Platform{}, fmt.Errorf("platform %q: write linux/ARCHITECTURE or linux/ARCHITECTURE/VARIANT, as linux/arm64 or linux/arm/v7", text)
	}
	p.Architecture, p.Variant = normalize(p.Architecture, p.Variant)
	return p, nil
}

// normalize knows other names of architectures: uname's, and the variants that are
// all there is of one.
func normalize(arch, variant string) (string, string) {
	switch arch {
	case "x86_64":
		arch = "amd64"
	case "aarch64":
		arch = "arm64"
	case "i386", "i686":
		arch = "386"
	}
	if arch == "arm64" && variant == "v8" {
		variant = ""
	}
	return arch, variant
}

func (p Platform) String() string {
	text := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		text += "/" + p.Variant
	}
	return text
}

// choose returns the first image of an index for the platform: the order is the
// author's preference. A variant that was not asked for is as good as another.
func (p Platform) choose(all []image.Descriptor) (image.Descriptor, error) {
	var others []string
	for _, d := range all {
		if d.Platform == nil {
			continue
		}
		have := platformOf(d.Platform.OS, d.Platform.Architecture, d.Platform.Variant)
		if p.takes(have) {
			return d, nil
		}
		if have.OS != "unknown" { // attestations
			others = append(others, have.String())
		}
	}
	slices.Sort(others)
	return image.Descriptor{}, fmt.Errorf("it has no image for %s, only for %s", p, strings.Join(slices.Compact(others), ", "))
}

func platformOf(os, arch, variant string) Platform {
	arch, variant = normalize(arch, variant)
	return Platform{OS: os, Architecture: arch, Variant: variant}
}

func (p Platform) takes(have Platform) bool {
	return p.OS == have.OS && p.Architecture == have.Architecture && (p.Variant == "" || p.Variant == have.Variant)
}

// check looks at what an image without an index says of itself. The host can run
// one for another processor with an emulator, so that is refused only if the user
// asked for something else.
func (p Platform) check(file image.ConfigFile) error {
	have := platformOf(file.OS, file.Architecture, file.Variant)
	switch {
	case have.OS != "" && have.OS != "linux":
		return fmt.Errorf("it is for %s, not for Linux", have.OS)
	case p.asked && have.Architecture != "" && !p.takes(have):
		return fmt.Errorf("it is for %s, not for %s", have, p)
	}
	return nil
}
