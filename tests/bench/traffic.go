package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// The measurements of throughput, in gigabits in a second, as rows of the report.
const (
	toHost      = "container to host"
	toSibling   = "container to sibling"
	fromHost    = "host to a published port"
	fromOutside = "other host to a published port"
)

// path is one way that a stream goes: from a client to a server.
type path struct {
	measure        string
	server, client func(c, s process) []string // what enters their networks, "": the host's
	address        string                      // "": the server's own
	published      bool                        // its port is the host's
}

func paths() []path {
	host := func(process, process) []string { return nil }
	first := func(c, _ process) []string { return c.inNetwork() }
	second := func(_, s process) []string { return s.inNetwork() }
	other := func(process, process) []string { return []string{"ip", "netns", "exec", otherHost} }
	return []path{
		{measure: toHost, server: host, client: first, address: hostAddress},
		{measure: toSibling, server: second, client: first},
		{measure: fromHost, server: second, client: host, address: hostAddress, published: true},
		{measure: fromOutside, server: second, client: other, address: otherGateway, published: true},
	}
}

// measureTraffic measures each engine by itself: the rules of others would be in the
// way of its packets.
func (b *bench) measureTraffic(ctx context.Context) error {
	return b.alone(ctx, b.trafficRounds, func(e engine, c, s process) error {
		server, err := s.address(ctx)
		if err != nil {
			return err
		}
		for _, p := range paths() {
			address, port := p.address, 80
			if address == "" {
				address = server.String()
			}
			if p.published {
				port = e.port(sibling)
			}
			gigabits, err := b.stream(ctx, p.server(c, s), p.client(c, s), address, port)
			if err != nil {
				return fmt.Errorf("%s: %w", p.measure, err)
			}
			b.result.add(p.measure, e.name, gigabits)
		}
		return nil
	})
}

// alone starts two containers of an engine, while no other one has anything on the host.
func (b *bench) alone(ctx context.Context, rounds int, do func(e engine, here, sibling process) error) error {
	return inTurn(b.engines, rounds, func(e engine) error {
		err := e.setUp(ctx)
		if err == nil {
			err = e.up(ctx, here, sibling)
		}
		if err == nil {
			err = e.withLeaders(ctx, do)
		}
		return errors.Join(err, e.down(ctx, here, sibling), e.tearDown(ctx))
	})
}

func (e engine) withLeaders(ctx context.Context, do func(e engine, here, sibling process) error) error {
	c, err := e.leader(ctx, here)
	s, siblingErr := e.leader(ctx, sibling)
	if err := errors.Join(err, siblingErr); err != nil {
		return err
	}
	// Both have an address, and reach each other, before anything is measured.
	address, err := s.address(ctx)
	if _, ownErr := c.address(ctx); err == nil {
		err = ownErr
	}
	if err == nil {
		words := c.inNetwork("ping", "-q", "-c", "1", "-w", "5", address.String())
		err = call(ctx, words[0], words[1:]...)
	}
	if err != nil {
		return err
	}
	return do(e, c, s)
}

// stream lets iperf3 send for a while, after a second that does not count, and returns what
// has arrived. Its server is in the same network namespace as the container, with the
// host's limits, for each engine.
func (b *bench) stream(ctx context.Context, server, client []string, address string, port int) (gigabits float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	// Not --one-off: a client that comes by a proxy before anybody listens would be that one.
	words := append(server, "iperf3", "--server", "--port", fmt.Sprint(servedPort(port, server)))
	serving := exec.CommandContext(ctx, words[0], words[1:]...)
	if err := serving.Start(); err != nil {
		return 0, err
	}
	defer serving.Wait()
	defer serving.Process.Kill()
	words = append(client, "iperf3", "--client", address, "--port", fmt.Sprint(port), "--json", "--omit", "1", "--time", fmt.Sprint(b.seconds))
	var out []byte
	for end := time.Now().Add(answerTime); ; { // the server may not listen yet
		out, err = exec.CommandContext(ctx, words[0], words[1:]...).Output()
		if err == nil || time.Now().After(end) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return 0, fmt.Errorf("iperf3: %w\n%s", err, out)
	}
	return received(out)
}

// servedPort is where the server listens: in a container at the port that is published.
func servedPort(port int, server []string) int {
	if len(server) > 0 {
		return 80
	}
	return port
}

// received reads what iperf3 reports.
func received(report []byte) (gigabits float64, err error) {
	var r struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal(report, &r); err != nil {
		return 0, fmt.Errorf("read the report of iperf3: %w", err)
	}
	if r.End.Received.Rate == 0 {
		return 0, fmt.Errorf("nothing has arrived:\n%s", report)
	}
	return r.End.Received.Rate / 1e9, nil
}
