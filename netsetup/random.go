package netsetup

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"

	"github.com/cocker/cocker/config"
)

// attempts to publish, should another one be faster with a port that was free.
const attempts = 32

func anyRandom(ports []config.Port) bool {
	return slices.ContainsFunc(ports, func(p config.Port) bool { return p.HostPort == 0 })
}

// choose fills in a free port for each that is 0: one of those that the kernel, too,
// gives to whoever asks for none (ip_local_port_range, ip-sysctl.rst).
func (e *elements) choose(container string, lease Lease, ports []config.Port) ([]config.Port, error) {
	if !anyRandom(ports) {
		return ports, nil
	}
	first, last, err := ephemeralPorts()
	if err != nil {
		return nil, err
	}
	filled := slices.Clone(ports)
	for i := range filled {
		if filled[i].HostPort != 0 {
			continue
		}
		if err := e.chooseOne(container, lease, filled, i, first, last); err != nil {
			return nil, err
		}
	}
	return filled, nil
}

// chooseOne tries the ports of the range from a random one on.
func (e *elements) chooseOne(container string, lease Lease, filled []config.Port, i int, first, last uint16) error {
	port, count := filled[i], int(last-first)+1
	start := rand.IntN(count)
	for step := range count {
		port.HostPort = first + uint16((start+step)%count)
		if slices.ContainsFunc(filled, func(p config.Port) bool { return p.HostPort == port.HostPort && p.Protocol == port.Protocol }) {
			continue
		}
		all := e.bindings(lease, []config.Port{port})
		err := errors.Join(freeOnHost(all), e.free(container, all))
		if err == nil {
			filled[i] = port
			return nil
		}
		if !errors.Is(err, ErrPortTaken) {
			return err
		}
	}
	return fmt.Errorf("publish port %d/%s: %w: all from %d to %d", port.ContainerPort, port.Protocol, ErrPortTaken, first, last)
}

func ephemeralPorts() (first, last uint16, err error) {
	const key = "/proc/sys/net/ipv4/ip_local_port_range"
	text, err := os.ReadFile(key)
	if err == nil {
		_, err = fmt.Fscan(bytes.NewReader(text), &first, &last)
	}
	if err == nil && (first == 0 || last < first) {
		err = fmt.Errorf("%q is no range", bytes.TrimSpace(text))
	}
	if err != nil {
		return 0, 0, fmt.Errorf("choose a port: read %s: %w", key, err)
	}
	return first, last, nil
}

// chosen are the ports, with each that is 0 replaced by all those of the host that lead
// to that port of the container.
func (e *elements) chosen(container string, ports []config.Port) (found []config.Port, err error) {
	for _, port := range ports {
		if port.HostPort != 0 {
			found = append(found, port)
			continue
		}
		for _, b := range e.bindings(Lease{}, []config.Port{port}) {
			set, _ := b.place()
			published, listErr := e.all(set)
			err = errors.Join(err, listErr)
			for _, element := range published {
				if element.owner == container && bytes.HasSuffix(element.value, padded(port.ContainerPort)) {
					if candidate, ok := b.withKey(element.key); ok {
						found = append(found, candidate)
					}
				}
			}
		}
	}
	return found, err
}

// withKey is the port with the host's port of the key, if that is of the same address
// and protocol.
func (b binding) withKey(key []byte) (config.Port, bool) {
	port := b.Port
	if len(key) < 4 {
		return port, false
	}
	port.HostPort = uint16(key[len(key)-4])<<8 | uint16(key[len(key)-3])
	b.Port = port
	_, own := b.place()
	return port, bytes.Equal(own, key)
}
