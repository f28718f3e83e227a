// Package machine registers running containers with systemd-machined, so that
// machinectl and nss-mymachines know them, and looks registered machines up.
//
// The launcher calls Register on its way to exec, so the package makes single
// calls over a connection of its own instead of keeping a bus client. It
// imports no other package of cocker.
package machine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// Errors that callers branch on.
var (
	// ErrUnavailable means that there is no machined to talk to: it is not
	// installed or masked, or there is no system bus.
	ErrUnavailable = errors.New("systemd-machined is not available")
	// ErrExists means that a machine of that name is registered already.
	ErrExists = errors.New("machine exists")
	// ErrNotFound means that no machine of that name is registered.
	ErrNotFound = errors.New("no such machine")
)

// What machined shows in its columns SERVICE and CLASS.
const (
	service = "cocker"
	class   = "container"
)

const (
	machinedName = "org.freedesktop.machine1"
	managerPath  = dbus.ObjectPath("/org/freedesktop/machine1")
	managerIface = machinedName + ".Manager"
	machineIface = machinedName + ".Machine"
	propsIface   = "org.freedesktop.DBus.Properties"
)

// Registration is what machined is told of a container.
type Registration struct {
	Name       string   // a valid host name
	ID         [16]byte // the container's machine ID
	Leader     int      // PID 1 of the container, as the host numbers it
	Root       string   // its root directory on the host, absolute; "": none
	Interfaces []int    // indexes of the host's ends of its network links
}

// Register makes the container known to machined. The machine belongs to the
// unit that the leader runs in; it disappears by itself when the leader dies.
//
// It fails with ErrExists when the name is taken, and with ErrUnavailable when
// nothing answers for machined: a container runs as well without.
func Register(ctx context.Context, r Registration) error {
	return client{busSocket}.register(ctx, r)
}

// Machine is a registered machine.
type Machine struct {
	Name    string
	Class   string // "container", "vm" or "host"
	Service string // who registered it: "cocker" for ours
	Unit    string // the systemd unit it belongs to
	Leader  int    // its PID 1, as the host numbers it
	Root    string // "": not told
}

// Get looks one machine up. It fails with ErrNotFound when there is none of
// that name.
func Get(ctx context.Context, name string) (Machine, error) {
	return client{busSocket}.get(ctx, name)
}

// List returns the names of the machines that cocker registered.
func List(ctx context.Context) ([]string, error) {
	return client{busSocket}.list(ctx)
}

// Addresses returns the addresses that a machine's own network namespace has,
// loopback left out.
func Addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	return client{busSocket}.addresses(ctx, name)
}

// client calls machined through the bus at socket.
type client struct{ socket string }

// machined forgets a dead machine when it has nothing else to do (machine_add_to_gc_queue,
// SD_EVENT_PRIORITY_IDLE), and no call waits for that. So the pauses grow: many
// containers that start at once must not keep it from getting there.
const (
	registerPatience = 20 * time.Second
	firstPause       = 2 * time.Millisecond
	longestPause     = time.Second
)

// register also takes the place of a machine whose leader has died: machined
// forgets it a moment after systemd has started the container's next run.
func (c client) register(ctx context.Context, r Registration) error {
	giveUp := time.Now().Add(registerPatience)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := c.registerOnce(ctx, r)
		if !errors.Is(err, ErrExists) || c.lives(ctx, r.Name) {
			return err
		}
		// Nobody has the name: no reason for the caller not to run.
		stale := fmt.Errorf("register machine %q: systemd-machined has not forgotten the one before, whose processes are gone", r.Name)
		if time.Now().After(giveUp) {
			return stale
		}
		select {
		case <-ctx.Done():
			return stale
		case <-time.After(pause):
		}
	}
}

// lives tells whether the machine of that name has a living leader, and makes
// machined forget it if not. When machined cannot say, because the machine went
// between two calls, it does not live.
func (c client) lives(ctx context.Context, name string) bool {
	old, err := c.get(ctx, name)
	if err != nil {
		return false
	}
	// machined shows leader 0 once the process is gone.
	if old.Leader > 0 && !errors.Is(unix.Kill(old.Leader, 0), unix.ESRCH) {
		return true
	}
	_, _ = c.manager(ctx, "UnregisterMachine", name) // if that fails, the next try to register does
	return false
}

func (c client) registerOnce(ctx context.Context, r Registration) error {
	_, err := c.manager(ctx, "RegisterMachineWithNetwork",
		r.Name, r.ID[:], service, class, uint32(r.Leader), r.Root, indexes(r.Interfaces))
	if err != nil {
		return fmt.Errorf("register machine %q: %w", r.Name, err)
	}
	return nil
}

func indexes(interfaces []int) []int32 {
	out := make([]int32, len(interfaces))
	for i, index := range interfaces {
		out[i] = int32(index)
	}
	return out
}

func (c client) get(ctx context.Context, name string) (Machine, error) {
	var path dbus.ObjectPath
	body, err := c.manager(ctx, "GetMachine", name)
	if err == nil {
		err = store(body, &path)
	}
	if err != nil {
		return Machine{}, fmt.Errorf("look up machine %q: %w", name, err)
	}
	var p map[string]dbus.Variant
	body, err = call(ctx, c.socket, request{machinedName, path, propsIface, "GetAll", []any{machineIface}})
	if err == nil {
		err = store(body, &p)
	}
	if err != nil {
		return Machine{}, fmt.Errorf("read properties of machine %q: %w", name, err)
	}
	leader, _ := p["Leader"].Value().(uint32)
	return Machine{Name: text(p, "Name"), Class: text(p, "Class"), Service: text(p, "Service"),
		Unit: text(p, "Unit"), Leader: int(leader), Root: text(p, "RootDirectory")}, nil
}

func text(properties map[string]dbus.Variant, key string) string {
	s, _ := properties[key].Value().(string)
	return s
}

func (c client) list(ctx context.Context) ([]string, error) {
	var all []struct {
		Name, Class, Service string
		Path                 dbus.ObjectPath
	}
	body, err := c.manager(ctx, "ListMachines")
	if err == nil {
		err = store(body, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	var names []string
	for _, m := range all {
		if m.Service == service {
			names = append(names, m.Name)
		}
	}
	return names, nil
}

func (c client) addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	var all []struct {
		Family  int32
		Address []byte
	}
	body, err := c.manager(ctx, "GetMachineAddresses", name)
	if err == nil {
		err = store(body, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("read addresses of machine %q: %w", name, err)
	}
	var addresses []netip.Addr
	for _, a := range all {
		if ip, ok := netip.AddrFromSlice(a.Address); ok {
			addresses = append(addresses, ip)
		}
	}
	return addresses, nil
}

func (c client) manager(ctx context.Context, method string, args ...any) ([]any, error) {
	return call(ctx, c.socket, request{machinedName, managerPath, managerIface, method, args})
}
