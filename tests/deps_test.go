// Package tests holds the tests that see cocker as a whole: its dependencies here,
// its behaviour on a real systemd in the files named after features.
package tests

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cocker/cocker"

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath string
	Imports    []string // direct
	Deps       []string // all
}

// listPackages returns the packages of this module by their path within it.
func listPackages(t *testing.T) map[string]goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := map[string]goPackage{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages[strings.TrimPrefix(p.ImportPath, module+"/")] = p
	}
}

// TestPackagesSeeOnlyWhatIsBelow pins the direction of imports between our packages.
func TestPackagesSeeOnlyWhatIsBelow(t *testing.T) {
	rules := []struct {
		name string
		may  []string // the packages of cocker it may import
		why  string
	}{
		{"config", nil, "the schema is data; everything else is built on it"},
		{"internal/paths", nil, "everything may name a path"},
		{"internal/linux", nil, "system calls know nothing of containers"},
		{"internal/quota", []string{"internal/linux"}, "it limits directories, whatever they hold"},
		{"volume", []string{"config", "image/unpack", "internal/inode", "internal/linux", "internal/quota"}, "it keeps trees of files; who uses them is others' to tell"},
		{"units", []string{"config"}, "the mapping from keys to directives is pure"},
		{"generator", []string{"config", "units", "internal/paths"}, "it runs at every boot before anything else, and must not be able to fail in new ways"},
		{"scope", []string{"units"}, "it starts what others have decided on"},
		{"image/manifest", []string{"image"}, "what a manifest says is data, wherever it is from"},
		{"image/transfer", []string{"image", "image/importer", "image/manifest"}, "it gets images from anywhere"},
		{"image/archive", []string{"image", "image/importer", "image/internal/durable", "image/manifest", "image/pack", "image/unpack"}, "it reads and writes files, and knows nothing of containers"},
		{"image/registry", []string{"config", "image", "image/manifest", "image/transfer"}, "it moves images and knows nothing of containers"},
		{"image/sshrepo", []string{"config", "image", "image/manifest", "image/transfer"}, "as image/registry"},
		{"image/derive", []string{"image", "image/importer", "image/pack", "image/unpack"}, "it makes images of images and knows nothing of containers"},
		{"image/remote", []string{"config", "image", "image/registry", "image/sshrepo", "image/transfer"}, "it only picks who moves an image"},
		{"internal/confinement", nil, "it tells what the kernel says, whatever cocker believes"},
		{"internal/stats", nil, "it reads numbers of the kernel"},
		{"internal/agent", []string{"internal/linux"}, "what it starts has a hostile container's files in its hands"},
		{"internal/template", []string{"config"}, "text in, text out"},
		{"internal/render", []string{"internal/agent", "internal/linux", "internal/template", "rootfs"}, "half of it runs with a hostile container's files in its hands"},
		{"internal/sparse", nil, "it writes one file"},
		{"internal/oom", []string{"internal/linux"}, "it reads what the kernel says"},
		{"internal/journal", nil, "it writes to one socket"},
		{"internal/inode", nil, "it reads one file"},
		{"image/unpack", []string{"internal/sparse"}, "everything in a layer is hostile; what reads it must be looked through"},
		{"internal/treecopy", []string{"internal/agent", "internal/inode", "internal/linux", "internal/sparse", "image/unpack"}, "half of it runs with a hostile container's files in its hands"},
		{"internal/session", nil, "both ends of a session speak it, and one of them is in the container"},
		{"internal/seccomp", nil, "it is a table"},
		{"internal/seccomp/compile", []string{"internal/seccomp"}, "text in, a table out"},
		{"pid1/bus", []string{"internal/session"}, "it parses what a container's root sends"},
		{"pid1/login", nil, "it compares passwords, and nothing else"},
		{"pid1", []string{"internal/handoff", "internal/linux", "internal/seccomp", "internal/session", "pid1/bus", "pid1/login"}, "its memory is what each running container costs the host"},
		{"internal/names", []string{"internal/paths"}, "launcher and name server share it, and nothing else"},
		{"dns", []string{"internal/names", "internal/paths"}, "it parses what containers send"},
		{"cni", []string{"config"}, "it talks to programs of others, and knows containers by a name only"},
		{"machine", nil, "it talks to machined about any leader"},
		{"tests/host", []string{"tests/host/agent"}, "a test host uses cocker as a user does"},
		{"tests/host/agent", nil, "it is the same program on both ends of a wire, and knows nothing else"},
	}
	packages := listPackages(t)
	for _, rule := range rules {
		p, ok := packages[rule.name]
		if !ok {
			t.Errorf("package %s does not exist", rule.name)
		}
		for _, path := range p.Imports {
			name, ours := strings.CutPrefix(path, module+"/")
			if ours && !slices.Contains(rule.may, name) {
				t.Errorf("%s imports %s; it may see %v: %s", rule.name, name, rule.may, rule.why)
			}
		}
	}
}

func TestNobodyImportsCommands(t *testing.T) {
	for name, p := range listPackages(t) {
		for _, path := range p.Imports {
			if strings.HasPrefix(path, module+"/cmd/") {
				t.Errorf("%s imports %s: what two programs share belongs in a package of its own", name, path)
			}
		}
	}
}

// TestLibrariesHaveOneHome pins who may import a library directly.
func TestLibrariesHaveOneHome(t *testing.T) {
	rules := []struct {
		prefix string
		homes  []string
		why    string
	}{
		{"github.com/godbus/dbus", []string{"scope", "machine"}, "calls over D-Bus need a context and typed errors, written once"},
		{"github.com/coreos/go-systemd/v22/dbus", []string{"scope", "machine"}, "as godbus"},
		{"github.com/containerd/cgroups", []string{"internal/stats"}, "systemd makes and limits control groups; they are only read"},
		{"github.com/miekg/dns", []string{"dns", "tests/bench", "tests/dnstool"}, "one speaker of the DNS"},
		{"github.com/google/nftables", []string{"netsetup"}, "one owner of the nft table"},
		{"github.com/mdlayher/netlink", []string{"netsetup"}, "one owner of links and addresses"},
		{"github.com/vishvananda/netlink", []string{"netsetup"}, "as mdlayher/netlink"},
		{"github.com/BurntSushi/toml", []string{"config", "internal/cli"}, "one reader of the files, and their writer"},
		{"github.com/google/go-containerregistry", []string{"image/registry"}, "one speaker to registries"},
		{"github.com/docker/cli", []string{"image/registry"}, "one reader of credentials"},
		{"github.com/go-crypt/x", []string{"pid1/login"}, "one place that compares passwords"},
		{"github.com/spf13/cobra", []string{"internal/cli", "internal/cli/mangen"}, "one command line"},
	}
	packages := listPackages(t)
	for _, rule := range rules {
		for name, p := range packages {
			if slices.Contains(rule.homes, name) {
				continue
			}
			for _, path := range p.Imports {
				if strings.HasPrefix(path, rule.prefix) {
					t.Errorf("%s imports %s; only %v may: %s", name, path, rule.homes, rule.why)
				}
			}
		}
	}
}

// TestSmallProgramsStaySmall pins what the programs on the way of a start never load,
// directly or through others: each of these costs milliseconds or megabytes there.
func TestSmallProgramsStaySmall(t *testing.T) {
	never := []string{"net/http", "crypto/tls", "text/template", "html/template", "github.com/spf13/cobra",
		"github.com/google/go-containerregistry/pkg/name", "github.com/docker/cli/cli/config", "github.com/sirupsen/logrus", "github.com/klauspost/compress/zstd"}
	programs := []struct {
		name  string
		never []string
		why   string
	}{
		{"cmd/cocker-generator", []string{"net", "github.com/godbus/dbus/v5", "github.com/vishvananda/netlink"}, "it runs at every boot and every daemon-reload, before there is a bus or a network"},
		{"cmd/cocker-launch", []string{"github.com/miekg/dns"}, "it is most of the time that systemctl start takes"},
		{"cmd/cocker-init", []string{"net", "github.com/godbus/dbus/v5", "github.com/BurntSushi/toml"}, "its memory is what each running container costs the host"},
	}
	packages := listPackages(t)
	for _, program := range programs {
		for _, path := range append(slices.Clone(never), program.never...) {
			if slices.Contains(packages[program.name].Deps, path) {
				t.Errorf("%s depends on %s: %s", program.name, path, program.why)
			}
		}
	}
}
