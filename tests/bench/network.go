package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// The measurements of starts with a network, as rows of the report.
const (
	netStart    = "start, bridge and port"
	netAnswer   = "start, until the port answers"
	netAtOnce   = "many at once, bridge and port, each"
	netAnswers  = "many at once, until all ports answer, each"
	crowdStart  = "a crowd at once, until all answer, each"
	crowdFirst  = "a crowd in a row: the first 50, each"
	crowdLast   = "a crowd in a row: the last 50, each"
	crowdWindow = 50
)

// The addresses of the host, as others see it, and of one of those others: a network
// namespace behind a link of its own.
const (
	hostAddress  = "192.0.2.1" // eth0 of a test host
	otherHost    = "bench-other"
	otherAddress = "198.51.100.2"
	otherGateway = "198.51.100.1"
)

// prepareNetworks makes every engine's containers known, and the other host.
func (b *bench) prepareNetworks(ctx context.Context) error {
	script := fmt.Sprintf(`set -e
		echo 1 >/proc/sys/net/ipv4/ip_forward
		ip netns add %[1]s
		ip link add %[1]s type veth peer name eth0 netns %[1]s
		ip addr add %[3]s/24 dev %[1]s && ip link set %[1]s up
		ip -n %[1]s addr add %[2]s/24 dev eth0 && ip -n %[1]s link set eth0 up && ip -n %[1]s link set lo up
		ip -n %[1]s route add default via %[3]s
		echo nameserver %[2]s >/etc/resolv.conf
		for i in $(seq 0 %[4]d) %[5]d %[6]d; do cp -al %[7]s %[8]s/net-root-$i; done`,
		otherHost, otherAddress, otherGateway, max(b.many, b.crowd), here, sibling, benchRoot, benchDir)
	if err := call(ctx, "sh", "-c", script); err != nil {
		return err
	}
	if err := b.serveUpstream(ctx); err != nil {
		return err
	}
	long := fmt.Sprintf("[Service]\nTimeoutSec=%d\n", int(patient.Seconds()))
	if err := writeAll([]file{{"/etc/systemd/system/cocker@.service.d/bench-network.conf", long}}); err != nil {
		return err
	}
	for _, e := range engines() {
		for _, n := range append(numbers(0, max(b.many, b.crowd)), here, sibling) {
			if e.files == nil {
				break
			}
			if err := writeAll(e.files(n)); err != nil {
				return err
			}
		}
	}
	return call(ctx, "systemctl", "daemon-reload")
}

func numbers(first, last int) (all []int) {
	for n := first; n <= last; n++ {
		all = append(all, n)
	}
	return all
}

// startNetworks starts one container of each engine a round, and many of each a batch.
// Daemons are all there, and idle.
func (b *bench) startNetworks(ctx context.Context) (err error) {
	for _, e := range b.engines {
		if err := e.setUp(ctx); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		defer func() { err = errors.Join(err, e.tearDown(ctx)) }()
	}
	if err := inTurn(b.engines, b.rounds, func(e engine) error { return b.startOne(ctx, e) }); err != nil {
		return err
	}
	return inTurn(b.engines, b.batches, func(e engine) error { return b.startBatch(ctx, e) })
}

// tryNetworks leaves out the peers that do not run on this machine, and says so.
func (b *bench) tryNetworks(ctx context.Context) error {
	for _, e := range engines() {
		err := e.setUp(ctx)
		if err == nil {
			err = e.trial(ctx)
		}
		journal := ""
		if err != nil {
			journal, _ = output(ctx, "journalctl", "--no-pager", "--output=cat", "--lines=30") // to say more
		}
		err = errors.Join(err, e.tearDown(ctx))
		switch {
		case err == nil:
			b.engines = append(b.engines, e)
		case e.name == cockerBridge:
			return fmt.Errorf("%s: %w\n%s", e.name, err, journal)
		default:
			b.result.note(netStart, e.name, "does not run here")
			fmt.Fprintf(b.progress, "bench: %s does not run here: %v\n%s\n", e.name, err, journal)
		}
	}
	return nil
}

// trial starts and stops a container unmeasured, and makes sure that it is one.
func (e engine) trial(ctx context.Context) error {
	err := e.up(ctx, 0)
	if err == nil {
		err = e.answers(ctx, 0)
	}
	leader, leaderErr := e.leader(ctx, 0)
	if err = errors.Join(err, leaderErr); err == nil {
		err = checkIsolation(contender{ownRoot: true, ownNetwork: true, hostUsers: e.unit == nil || e.name == netavark}, leader)
	}
	return errors.Join(err, e.down(ctx, 0))
}

func (b *bench) startOne(ctx context.Context, e engine) error {
	began := time.Now()
	err := e.up(ctx, 0)
	started := since(began)
	if err == nil {
		err = e.answers(ctx, 0)
	}
	if err == nil {
		b.result.add(netStart, e.name, started)
		b.result.add(netAnswer, e.name, since(began))
	}
	return errors.Join(err, e.down(ctx, 0))
}

func (b *bench) startBatch(ctx context.Context, e engine) error {
	batch := numbers(1, b.many)
	began := time.Now()
	err := e.up(ctx, batch...)
	started := since(began)
	if err == nil {
		err = e.answers(ctx, batch...)
	}
	if err == nil {
		b.result.add(netAtOnce, e.name, started/float64(b.many))
		b.result.add(netAnswers, e.name, since(began)/float64(b.many))
	}
	return errors.Join(err, e.down(ctx, batch...))
}

func since(began time.Time) (milliseconds float64) {
	return float64(time.Since(began).Microseconds()) / 1000
}

// answerTime is for a server to listen after its container was started.
const answerTime = 30 * time.Second

// answers returns when each of the containers has said through its published port which
// one it is.
func (e engine) answers(ctx context.Context, numbers ...int) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: time.Second}).DialContext}, Timeout: 2 * time.Second}
	for _, n := range numbers {
		for {
			err := e.ask(ctx, client, n)
			if err == nil {
				break
			}
			time.Sleep(time.Millisecond / 2)
			if ctx.Err() != nil {
				return fmt.Errorf("container %d does not answer at its port: %w", n, err)
			}
		}
	}
	return nil
}

func (e engine) ask(ctx context.Context, client *http.Client, n int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d/", hostAddress, e.port(n)), nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 100))
	if err == nil && strings.TrimSpace(string(text)) != fmt.Sprint(n) {
		err = fmt.Errorf("the answer is %q", text)
	}
	return err
}

// startCrowds starts a crowd of each engine at once, and then one after the other while
// those before stay. Who needs longer than the patience is given up: the report says so.
func (b *bench) startCrowds(ctx context.Context) error {
	if b.crowd == 0 {
		return nil
	}
	for _, e := range b.engines {
		err := e.setUp(ctx)
		if err == nil {
			err = b.crowdAtOnce(ctx, e)
		}
		if err == nil {
			err = b.crowdInRow(ctx, e)
		}
		if err = errors.Join(err, e.tearDown(ctx)); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return nil
}

func (b *bench) crowdAtOnce(ctx context.Context, e engine) error {
	crowd := numbers(1, b.crowd)
	limited, cancel := context.WithTimeout(ctx, b.patience)
	defer cancel()
	began := time.Now()
	err := e.up(limited, crowd...)
	if err == nil {
		err = e.answers(limited, crowd...)
	}
	took := since(began)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		b.result.add(crowdStart, e.name, took/float64(b.crowd))
		return e.down(ctx, crowd...)
	case limited.Err() != nil:
		b.result.note(crowdStart, e.name, fmt.Sprintf("not in %v", b.patience))
	default:
		b.result.note(crowdStart, e.name, "failed")
		fmt.Fprintf(b.progress, "bench: %s: a crowd at once: %v\n", e.name, err)
	}
	// A daemon may still be at what it was asked for.
	return errors.Join(e.down(ctx, crowd...), e.tearDown(ctx), e.setUp(ctx), e.down(ctx, crowd...))
}

func (b *bench) crowdInRow(ctx context.Context, e engine) error {
	var took []float64
	var err error
	end := time.Now().Add(b.patience)
	for n := 1; n <= b.crowd && time.Now().Before(end) && err == nil; n++ {
		began := time.Now()
		if err = e.up(ctx, n); err == nil {
			err = e.answers(ctx, n)
		}
		took = append(took, since(began))
	}
	started := numbers(1, len(took))
	running := started
	switch {
	case err != nil && e.name != cockerBridge && ctx.Err() == nil: // as when a peer's network has no more addresses
		fmt.Fprintf(b.progress, "bench: %s: a crowd in a row: %v\n", e.name, err)
		took = took[:len(took)-1]
		running = numbers(1, len(took))
		b.result.note(crowdLast, e.name, fmt.Sprintf("%d, then it fails", len(took)))
		err = nil
	case len(took) < b.crowd:
		b.result.note(crowdLast, e.name, fmt.Sprintf("%d in %v", len(took), b.patience))
	}
	if err == nil {
		err = e.answers(ctx, running...)
	}
	window := min(crowdWindow, len(took)/2)
	for _, sample := range took[:window] {
		b.result.add(crowdFirst, e.name, sample)
	}
	for _, sample := range took[len(took)-window:] {
		b.result.add(crowdLast, e.name, sample)
	}
	return errors.Join(err, e.down(ctx, started...))
}

func (e engine) label() string { return e.name }
