package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
)

// Request is an interface that plugins are to make.
type Request struct {
	Owner     string // a container, or a pod; see containerID
	Index     int    // of the owner's interfaces, which are undone last one first
	Interface string // in the container
	Namespace string // a file that is the network namespace, for as long as there is the attachment
	Addresses []netip.Addr
	MAC       string
	Aliases   []string
	Ports     []config.Port // with a port of the host each
}

// attachment is what is written down of a request.
type attachment struct {
	List      *List           `json:"list"`
	Container string          `json:"container"`
	Index     int             `json:"index"`
	Interface string          `json:"interface"`
	Namespace string          `json:"namespace"`
	Arguments string          `json:"arguments,omitempty"`
	Values    map[string]any  `json:"values,omitempty"` // of capabilities
	Result    json.RawMessage `json:"result,omitempty"` // of the last plugin's ADD
}

// containerID is CNI_CONTAINERID: that of another program which uses the same networks
// is a number, mostly. An owner's name has no "_", and the specification allows no "+".
func containerID(owner string) string { return "cocker-" + strings.ReplaceAll(owner, "+", "_") }

// Time that plugins have: for all of an ADD, in which one may ask a DHCP server, and for
// one in a DEL, which is to be over before systemd's patience with ExecStopPost=.
const (
	addTimeout = 60 * time.Second
	delTimeout = 10 * time.Second
)

// Add has the plugins of the list make an interface in a network namespace. Whatever the
// result is, Del is to follow some time.
func (h Host) Add(ctx context.Context, list *List, r Request) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, addTimeout)
	defer cancel()
	if err := r.check(list); err != nil {
		return Result{}, err
	}
	a := &attachment{List: list, Container: containerID(r.Owner), Index: r.Index, Interface: r.Interface, Namespace: r.Namespace,
		Arguments: r.arguments(list), Values: r.values(list)}
	lock, err := h.lock(ctx, r.Owner)
	if err != nil {
		return Result{}, err
	}
	defer lock.Close()
	if err := h.write(r.Owner, a); err != nil {
		return Result{}, err
	}
	for _, p := range list.Plugins {
		if a.Result, err = h.call(ctx, a, "ADD", p, a.previous(chainVersion), lock); err != nil {
			return Result{}, err
		}
	}
	if err := h.write(r.Owner, a); err != nil {
		return Result{}, err
	}
	result, err := parseResult(a.Result, r.Interface)
	if err == nil {
		err = r.satisfied(result)
	}
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", list.File, err)
	}
	return result, nil
}

// check refuses what the plugins would not do and not say.
func (r Request) check(list *List) error {
	if len(r.Ports) > 0 && !list.Has("portMappings") {
		return fmt.Errorf(`publish %s: no plugin of %s has the capability "portMappings"; add {"type": "portmap", "capabilities": {"portMappings": true}} to its plugins, or leave out the ports`,
			r.Ports[0], list.File)
	}
	return nil
}

// arguments are CNI_ARGS, by which host-local is asked for an address, and most that make
// an interface for its MAC address ("CNI_ARGS" of CONVENTIONS.md), where the configuration
// has not the capabilities that are for it. Others are told not to mind.
func (r Request) arguments(list *List) string {
	var pairs []string
	if len(r.Addresses) > 0 && !list.Has("ips") {
		pairs = append(pairs, "IP="+r.Addresses[0].String())
	}
	if r.MAC != "" && !list.Has("mac") {
		pairs = append(pairs, "MAC="+r.MAC)
	}
	if len(pairs) == 0 {
		return ""
	}
	return strings.Join(append([]string{"IgnoreUnknown=1"}, pairs...), ";")
}

// portMapping is one as CONVENTIONS.md has it.
type portMapping struct {
	HostPort      uint16          `json:"hostPort"`
	ContainerPort uint16          `json:"containerPort"`
	Protocol      config.Protocol `json:"protocol"`
	HostIP        string          `json:"hostIP,omitempty"`
}

// values are those of the capabilities of CONVENTIONS.md, "Dynamic plugin specific
// fields", as far as there are any.
func (r Request) values(list *List) map[string]any {
	values := map[string]any{}
	if len(r.Ports) > 0 {
		var mappings []portMapping
		for _, p := range r.Ports {
			m := portMapping{HostPort: p.HostPort, ContainerPort: p.ContainerPort, Protocol: p.Protocol}
			if p.HostAddress.IsValid() {
				m.HostIP = p.HostAddress.String()
			}
			mappings = append(mappings, m)
		}
		values["portMappings"] = mappings
	}
	if len(r.Addresses) > 0 {
		values["ips"] = r.Addresses
	}
	if r.MAC != "" {
		values["mac"] = r.MAC
	}
	if len(r.Aliases) > 0 {
		values["aliases"] = map[string][]string{list.Name: r.Aliases}
	}
	return values
}

// satisfied tells whether the result is what was asked for: a plugin may not know how.
func (r Request) satisfied(result Result) error {
	for _, a := range r.Addresses {
		if a != result.V4.Addr() && a != result.V6.Addr() {
			return fmt.Errorf(`the plugins have not given the address %s that was asked for; the ipam "host-local" does, from a range that has it, and others if the plugin has the capability "ips"`, a)
		}
	}
	if r.MAC != "" && r.MAC != result.MAC {
		return fmt.Errorf(`the plugins have not given the MAC address %s that was asked for; let the plugin have the capability "mac", or leave out mac`, r.MAC)
	}
	return nil
}

// Del undoes all of an owner's attachments. It goes on after an error; what fails stays
// written down, so that the next call tries again. There being nothing is success.
func (h Host) Del(ctx context.Context, owner string) error {
	all, err := h.attachments(owner)
	if len(all) == 0 && err == nil {
		return nil
	}
	lock, lockErr := h.lock(ctx, owner)
	errs := []error{err, lockErr}
	if lockErr == nil {
		defer lock.Close()
	}
	for _, a := range slices.Backward(all) {
		if err := h.undo(ctx, a, lock); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, remove(h.file(owner, a.Interface)))
	}
	return errors.Join(errs...)
}

// undo has all plugins undo, the last one first. Each is called, whatever the others say:
// one that is missing is no reason to keep what another holds.
func (h Host) undo(ctx context.Context, a *attachment, lock *os.File) error {
	var errs []error
	if _, err := os.Stat(a.Namespace); err != nil {
		a.Namespace = "" // "CNI_NETNS ... may be empty": what was in it is gone
	}
	for _, p := range slices.Backward(a.List.Plugins) {
		one, cancel := context.WithTimeout(ctx, delTimeout)
		_, err := h.call(one, a, "DEL", p, a.previous(checkVersion), lock)
		errs = append(errs, err)
		cancel()
	}
	return errors.Join(errs...)
}

// Check asks the plugins whether an interface is as they have made it. Before 0.4.0 there
// is no such question.
func (h Host) Check(ctx context.Context, owner, interfaceName string) error {
	all, err := h.attachments(owner)
	for _, a := range all {
		if a.Interface != interfaceName || a.List.DisableCheck || !a.List.speaks(checkVersion) {
			continue
		}
		for _, p := range a.List.Plugins {
			if _, checkErr := h.call(ctx, a, "CHECK", p, a.previous(checkVersion), nil); !isPortmapsMistake(checkErr) {
				err = errors.Join(err, checkErr)
			}
		}
	}
	return err
}

// isPortmapsMistake: portmap 1.1.1, that of Debian 12 and 13, looks for each port in the
// tables of both families, IPv4 first, where ADD has made it in one (checkPorts of its
// portmap.go).
func isPortmapsMistake(err error) bool {
	said := new(Error)
	return errors.As(err, &said) && strings.HasPrefix(said.Msg, "could not check ipv6 dnat: ")
}

// Tidy removes an owner's directory, unless there is something in it that Del is to try
// again.
func (h Host) Tidy(owner string) error {
	left, err := h.attachments(owner)
	if len(left) > 0 || err != nil {
		return nil
	}
	return h.Forget(owner)
}

// Forget removes what is written down of an owner that is no more.
func (h Host) Forget(owner string) error { return os.RemoveAll(filepath.Join(h.State, owner)) }

// previous is the result that plugins are given since a version.
func (a *attachment) previous(since version) json.RawMessage {
	if !a.List.speaks(since) {
		return nil
	}
	return a.Result
}

func (h Host) call(ctx context.Context, a *attachment, command string, p Plugin, previous json.RawMessage, lock *os.File) (json.RawMessage, error) {
	stdin, err := a.List.config(p, previous, a.Values)
	if err != nil {
		return nil, err
	}
	env := []string{"CNI_CONTAINERID=" + a.Container, "CNI_NETNS=" + a.Namespace, "CNI_IFNAME=" + a.Interface, "CNI_ARGS=" + a.Arguments}
	out, err := h.run(ctx, a.List, p.Type(), call{command: command, env: env, stdin: stdin, lock: lock})
	if err == nil && command == "ADD" && !json.Valid(out) {
		err = fmt.Errorf("%s: plugin %s, ADD: its result is no JSON: %q", a.List.File, p.Type(), oneLine(string(out)))
	}
	return out, err
}

// The file of an attachment, and the one that whoever works on an owner's locks.
const (
	extension = ".json"
	lockName  = "lock"
)

func (h Host) file(owner, interfaceName string) string {
	return filepath.Join(h.State, owner, interfaceName+extension)
}

// write writes an attachment down, whole or not at all.
func (h Host) write(owner string, a *attachment) error {
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	path := h.file(owner, a.Interface)
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// attachments are an owner's, in the order in which they were made.
func (h Host) attachments(owner string) (all []*attachment, err error) {
	entries, err := os.ReadDir(filepath.Join(h.State, owner))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, entry := range entries {
		name, ours := strings.CutSuffix(entry.Name(), extension)
		if !ours {
			continue
		}
		a, readErr := h.load(owner, name)
		if err = errors.Join(err, readErr); readErr == nil {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b *attachment) int { return a.Index - b.Index })
	return all, err
}

func (h Host) load(owner, name string) (*attachment, error) {
	data, err := os.ReadFile(h.file(owner, name))
	if err != nil {
		return nil, err
	}
	a := &attachment{}
	if err := json.Unmarshal(data, a); err != nil || a.List == nil {
		return nil, fmt.Errorf("read %q: %w", h.file(owner, name), err)
	}
	return a, nil
}

// lock waits until no plugin works for the owner. A launcher that was killed may have
// left one at work: it has the file open, as what it starts has, until it ends. One that
// stays for good is waited for no longer than a plugin may take.
func (h Host) lock(ctx context.Context, owner string) (*os.File, error) {
	dir := filepath.Join(h.State, owner)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	locked := make(chan struct{})
	go func() {
		defer close(locked)
		for errors.Is(unix.Flock(int(file.Fd()), unix.LOCK_EX), unix.EINTR) {
		}
	}()
	select {
	case <-locked:
	case <-time.After(delTimeout):
	case <-ctx.Done():
	}
	return file, nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
