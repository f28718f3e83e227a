package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/transfer"
)

// helperEnv makes the test binary pull into the store that it names, instead of
// running tests: for a process of its own to kill or to measure.
const helperEnv = "COCKER_TEST_PULL_INTO"

func TestMain(m *testing.M) {
	if root := os.Getenv(helperEnv); root != "" {
		os.Exit(helper(root, os.Args[1]))
	}
	os.Exit(m.Run())
}

func helper(root, ref string) int {
	c := New(Config{AuthFiles: []string{}, Version: "test"})
	if _, err := c.Pull(context.Background(), image.Open(root), ref, transfer.HostPlatform()); err != nil {
		_, _ = io.WriteString(os.Stderr, err.Error()+"\n")
		return 1
	}
	// Not the resource usage of wait4(2): that has the parent's, from before the exec.
	status, _ := os.ReadFile("/proc/self/status")
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	_, _ = io.WriteString(os.Stdout, strings.Fields(peak)[0])
	return 0
}

func helperCommand(t *testing.T, root, ref string, wrapper ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := append(wrapper, self, ref)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), helperEnv+"="+root)
	return cmd
}

// Killed at each step of a pull that replaces an image: the store then has the old
// image or the new one, whole, once the next transaction has begun.
func TestKilledAtEveryStep(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("needs strace: apt-get install strace")
	}
	s := newServer(t)
	base := layerOf(t, map[string]string{"base": "x"}, image.MediaTypeLayerGzip)
	s.putImage(t, "a", "old", false, "", base, layerOf(t, map[string]string{"own": "old"}, image.MediaTypeLayerGzip))
	s.putImage(t, "a", "new", false, "", base, layerOf(t, map[string]string{"own": "new"}, image.MediaTypeLayerZstd))
	killed := 0
	for _, call := range []string{"flock", "mkdirat", "syncfs", "fsync", "renameat", "unlinkat"} {
		for step := 1; killAt(t, s, call, step); step++ {
			killed++
		}
	}
	if killed < 10 {
		t.Skipf("killed at %d steps only: strace cannot inject signals here", killed)
	}
	t.Logf("killed at %d steps", killed)
}

// killAt kills a pull at a thread's Nth call; false if no thread made so many.
func killAt(t *testing.T, s *server, call string, step int) bool {
	t.Helper()
	root := needRoot(t)
	store := image.Open(root)
	c, _ := newClient(t, nil)
	var current atomic.Value
	current.Store("old")
	s.misbehave(func(_ http.ResponseWriter, r *http.Request) bool { // the tag moves on
		r.URL.Path = strings.Replace(r.URL.Path, "/manifests/1", "/manifests/"+current.Load().(string), 1)
		return false
	})
	ref := s.host() + "/a:1"
	if _, err := c.Pull(t.Context(), store, ref, transfer.HostPlatform()); err != nil {
		t.Fatal(err)
	}
	current.Store("new")
	inject := fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, step)
	cmd := helperCommand(t, root, ref, "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace="+call, "-e", inject)
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1", "GOGC=off")
	err := cmd.Run()
	wantOldOrNew(t, store, ref, call+" "+strconv.Itoa(step))
	return err != nil
}

func wantOldOrNew(t *testing.T, store *image.Store, ref, step string) {
	t.Helper()
	wantRepairable(t, store)
	tx, err := store.Begin()
	if err == nil {
		err = tx.Close()
	}
	if err != nil {
		t.Fatalf("%s: %v", step, err)
	}
	img, err := store.Resolve(ref)
	if err != nil {
		t.Fatalf("%s: %v", step, err)
	}
	data, err := os.ReadFile(img.Layers[1] + "/own")
	if err != nil || string(data) != "old" && string(data) != "new" {
		t.Errorf("%s: %q, %v", step, data, err)
	}
	list, err := store.List()
	for _, i := range list { // the old one stays without a name: containers may run on it
		err = errors.Join(err, i.Problem, store.Remove(i.Digest, nil))
	}
	if err != nil {
		t.Errorf("%s: %v", step, err)
	}
	wantClean(t, store, 0)
}

// A small tmpfs in a mount namespace of its own fills up, at the blob or at what is
// unpacked of it.
func TestDiskFull(t *testing.T) {
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip("needs unshare: apt-get install util-linux")
	}
	s := newServer(t)
	s.putImage(t, "full", "blob", false, "", layerOf(t, map[string]string{"f": noise(6 << 20)}, image.MediaTypeLayerZstd))
	s.putImage(t, "full", "layer", false, "", layerOf(t, map[string]string{"f": strings.Repeat("zip bomb", 2<<20)}, image.MediaTypeLayerZstd))
	for _, tag := range []string{"blob", "layer"} {
		root := needRoot(t)
		script := `mount -t tmpfs -o size=4m none "$0" && { "$@"; code=$?; find "$0" -name ".staging*" -o -path "*/sha256/*"; exit $code; }`
		cmd := helperCommand(t, root+"/store", s.host()+"/full:"+tag, "unshare", "-m", "sh", "-c", script, root)
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		text := errs.String()
		if err == nil || !strings.Contains(text, "no space left on device") && !strings.Contains(text, "more than") {
			t.Errorf("%s: %v, %s", tag, err, text)
		}
		if out.String() != "" {
			t.Errorf("%s: left over:\n%s", tag, out.String())
		}
	}
}

// However large the layers, a pull takes little memory.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("100 MB of layers")
	}
	root, s := needRoot(t), newServer(t)
	var layers []testLayer
	for i, mediaType := range []string{image.MediaTypeLayerZstd, image.MediaTypeLayerGzip, image.MediaTypeLayer, image.MediaTypeLayerZstd} {
		layers = append(layers, layerOf(t, map[string]string{strconv.Itoa(i): noise(24 << 20)}, mediaType))
	}
	s.putImage(t, "big", "1", false, "", layers...)
	cmd := helperCommand(t, root, s.host()+"/big:1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	const most = 100 << 10 // kB
	used, err := strconv.Atoi(string(out))
	if err != nil || used > most {
		t.Errorf("the pull took %s kB at its peak, %v", out, err)
	}
	t.Logf("%d kB", used)
	wantClean(t, image.Open(root), 1)
}
