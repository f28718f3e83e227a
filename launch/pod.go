package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/netsetup"
)

// PodState is what is known of a pod that is up. It lies beside the namespaces, which are
// files of the pod's directory: a mount of its own keeps each alive (namespaces(7)), so
// that a pod needs no process.
type PodState struct {
	Name     string `json:"name"`
	Hostname string `json:"hostname"`
	Connection
}

// podKinds are the namespaces that the containers of a pod share.
var podKinds = [...]struct { //nolint:gochecknoglobals // a table, never written
	name string // in /proc/PID/ns, and in the pod's directory
	kind int
}{
	{"net", unix.CLONE_NEWNET},
	{"uts", unix.CLONE_NEWUTS},
	{"ipc", unix.CLONE_NEWIPC},
}

// Names in the directory of a pod.
const (
	podShm   = "shm" // what its containers see as /dev/shm
	podState = "state.json"
)

func podPath(pod, name string) string { return filepath.Join(paths.Pods, pod, name) }

// podOwner is whose the leases, links and ports of a pod are. No container has such a name.
func podOwner(pod string) string { return pod + "+pod" }

// readPodState returns the state of a pod; fs.ErrNotExist tells that it is not up.
func readPodState(pod string) (*PodState, error) {
	data, err := os.ReadFile(podPath(pod, podState))
	if err != nil {
		return nil, err
	}
	state := new(PodState)
	if err := json.Unmarshal(data, state); err != nil {
		return nil, fmt.Errorf("read %q: %w", podPath(pod, podState), err)
	}
	return state, nil
}

// podStates returns the states of all pods that are up.
func podStates() (states []*PodState, err error) {
	files, err := filepath.Glob(podPath("*", podState))
	for _, file := range files {
		state, readErr := readPodState(filepath.Base(filepath.Dir(file)))
		if errors.Is(readErr, fs.ErrNotExist) {
			continue
		}
		if err = errors.Join(err, readErr); readErr == nil {
			states = append(states, state)
		}
	}
	return states, err
}

// write writes the state, whole or not at all.
func (s *PodState) write() error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write state of pod %s: %w", s.Name, err)
	}
	path := podPath(s.Name, podState)
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write state of pod %s: %w", s.Name, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write state of pod %s: %w", s.Name, err)
	}
	return nil
}

// podUp makes the namespaces of a pod, connects its network and publishes its ports. The
// namespaces belong to the host's user namespace and not to one of the containers', which
// have ids of their own each: so none of them can change what the others rely on.
func podUp(name string) (err error) {
	pod, err := config.LoadPod(paths.ConfigDirs(), name)
	if err != nil {
		return err
	}
	if err := podDown(name); err != nil { // what one has left that was killed
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, podDown(name))
		}
	}()
	if err := errors.Join(os.MkdirAll(paths.Runtime, 0o755), os.MkdirAll(podPath(name, podShm), 0o700)); err != nil {
		return fmt.Errorf("pod %s: %w", name, err)
	}
	state := &PodState{Name: name, Hostname: pod.Hostname}
	if err := state.write(); err != nil {
		return err
	}
	network := connector{owner: podOwner(name), joins: pod.Network.Joins, ports: pod.Network.Ports, rates: ratesOf(pod.Network), state: &state.Connection, write: state.write,
		namespace: func() (string, error) { return podPath(name, "net"), nil }}
	if err := pinNamespaces(pod); err != nil {
		return fmt.Errorf("pod %s: %w", name, err)
	}
	if pod.Network.Mode == config.NetworkBridge {
		if err := network.lend(); err != nil {
			return err
		}
	}
	return connectPod(pod, &network)
}

// pinNamespaces makes the namespaces, each a file, and the memory that the containers share.
func pinNamespaces(pod *config.Pod) error {
	if err := linux.Mount("cocker", podPath(pod.Name, podShm), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return err
	}
	return onNewThread(func() error { return makeNamespaces(pod) })
}

// onNewThread does something on a thread that ends with its goroutine, and its namespaces
// with it.
func onNewThread(do func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		result <- do()
	}()
	return <-result
}

func makeNamespaces(pod *config.Pod) error {
	flags := 0
	for _, k := range podKinds {
		flags |= k.kind
	}
	if err := unix.Unshare(flags); err != nil {
		return linux.CloneError(err)
	}
	if err := errors.Join(os.NewSyscallError("sethostname", unix.Sethostname([]byte(pod.Hostname))), configureNetwork()); err != nil {
		return err
	}
	for _, k := range podKinds {
		if err := pinNamespace(k.name, podPath(pod.Name, k.name)); err != nil {
			return err
		}
	}
	return nil
}

// configureNetwork sets in a network namespace that belongs to the host's user namespace
// what every container may in a network of its own: see configureNamespaces of package pid1.
func configureNetwork() error {
	return errors.Join(
		setSysctl("net/ipv4/ip_unprivileged_port_start", "0"),
		setSysctl("net/ipv4/ping_group_range", everyGroup),
	)
}

// pinNamespace makes a file of a namespace of the calling thread.
func pinNamespace(kind, path string) error {
	if err := os.WriteFile(path, nil, 0o400); err != nil {
		return err
	}
	return linux.Mount("/proc/thread-self/ns/"+kind, path, "", unix.MS_BIND, "")
}

func connectPod(pod *config.Pod, network *connector) error {
	netns, err := linux.Open(podPath(pod.Name, "net"), unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(netns)
	if pod.Network.Mode != config.NetworkBridge {
		return netsetup.Loopback(netns)
	}
	_, err = network.attach(netns)
	return err
}

// podDown takes back what podUp has made, all of it or a part. It may be repeated, and goes
// on after an error. Processes that are still in the namespaces stay there, cut off.
func podDown(name string) error {
	if err := config.ValidPod(name); err != nil {
		return err
	}
	state, err := readPodState(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		state = &PodState{}
	case err != nil: // see cleanUp
		state = &PodState{Connection: anyConnection()}
	}
	errs := []error{state.Connection.disconnect(podOwner(name))}
	for _, k := range podKinds {
		errs = append(errs, unpin(podPath(name, k.name)))
	}
	errs = append(errs, unpin(podPath(name, podShm)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("pod %s: %w", name, err) // the state stays: it tells what is left
	}
	return errors.Join(
		ignoreMissing(os.Remove(podPath(name, podState)+".new")),
		ignoreMissing(os.Remove(podPath(name, podState))),
		ignoreMissing(os.Remove(filepath.Dir(podPath(name, podState)))),
	)
}

// unpin removes a mount and what it is on. There is more than one only if a launcher was
// killed and started again meanwhile.
func unpin(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // nothing is mounted, or there is nothing
			return ignoreMissing(os.Remove(path))
		}
		if err != nil {
			return fmt.Errorf("umount %q: %w", path, err)
		}
	}
}

// openPod opens the namespaces of the container's pod, and takes over its name and network.
func (l *launcher) openPod() error {
	pod := l.container.Pod
	state, err := readPodState(pod)
	if err != nil {
		return notUp(pod, err)
	}
	for _, k := range podKinds {
		fd, err := linux.Open(podPath(pod, k.name), unix.O_RDONLY)
		if err != nil {
			return notUp(pod, err)
		}
		l.shared = append(l.shared, shared{k.kind, fd})
		if err := linux.CheckNamespace(fd, k.kind); err != nil {
			return notUp(pod, fmt.Errorf("%q: %w", podPath(pod, k.name), err))
		}
	}
	l.container.Hostname, l.state.Connection = state.Hostname, state.Connection
	return nil
}

// notUp says why a container finds its pod's namespaces missing: the file may be bad.
func notUp(pod string, err error) error {
	if _, loadErr := config.LoadPod(paths.ConfigDirs(), pod); loadErr != nil {
		return loadErr
	}
	return fmt.Errorf("pod %s is not up (%w); the reason is in: systemctl status cocker-pod@%[1]s", pod, err)
}

// sharedMemory is the directory that the container sees as /dev/shm; "": one of its own.
func (l *launcher) sharedMemory() string {
	if l.container.Pod == "" {
		return ""
	}
	return podPath(l.container.Pod, podShm)
}

// Owner is whose the leases, links and ports of a container are: its own, or its pod's.
func (s *State) Owner() string {
	if s.Pod != "" {
		return podOwner(s.Pod)
	}
	return s.Name
}
