package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// The measurements of names, in thousands of answers in a second, as rows of the report.
const (
	askSibling = "name of a sibling"
	askOutside = "name from outside"
)

// outstanding is how many questions are asked before an answer has come. That is fewer
// than any of the servers takes from one container.
const outstanding = 32

// outsideAnswer is what the host's resolver says to every name.
const outsideAnswer = "203.0.113.7"

// serveUpstream starts the resolver of the host, on the other one.
func (b *bench) serveUpstream(ctx context.Context) error {
	return call(ctx, "systemd-run", "--quiet", "--unit=bench-upstream", "ip", "netns", "exec", otherHost, program, "upstream", otherAddress+":53")
}

// upstream answers every question for an address at once. Nobody may keep the answers.
func upstream(address string) error {
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		answer := new(dns.Msg)
		answer.SetReply(query)
		if query.Question[0].Qtype == dns.TypeA {
			answer.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: query.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 0},
				A:   net.ParseIP(outsideAnswer),
			}}
		}
		_ = w.WriteMsg(answer) // who asked is gone
	})
	return (&dns.Server{Addr: address, Net: "udp", Handler: handler, UDPSize: dns.DefaultMsgSize}).ListenAndServe()
}

// measureNames asks the name server that each engine gives to its containers, from a
// container. nspawn gives none.
func (b *bench) measureNames(ctx context.Context) error {
	const lists = "/run/bench-names"
	if err := os.MkdirAll(lists, 0o755); err != nil {
		return err
	}
	var outside strings.Builder
	for n := range 10000 {
		fmt.Fprintf(&outside, "h%d.example.test A\n", n)
	}
	return b.alone(ctx, b.trafficRounds, func(e engine, c, s process) error {
		if e.named == nil {
			return nil
		}
		err := writeAll([]file{{lists + "/outside", outside.String()}, {lists + "/sibling", e.named(sibling) + " A\n"}})
		if err != nil {
			return err
		}
		server, err := c.nameServer()
		if err != nil {
			return err
		}
		address, err := s.address(ctx)
		if err == nil {
			err = errors.Join(c.checkName(ctx, server, e.named(sibling), address.String()), c.checkName(ctx, server, "h1.example.test", outsideAnswer))
		}
		if err != nil {
			return err
		}
		for _, list := range []struct{ measure, path string }{{askSibling, lists + "/sibling"}, {askOutside, lists + "/outside"}} {
			answers, err := b.askMany(ctx, c, server, list.path)
			if err != nil {
				return fmt.Errorf("%s: %w", list.measure, err)
			}
			b.result.add(list.measure, e.name, answers)
		}
		return nil
	})
}

// checkName asks for one name. A server may come up a moment after the container.
func (p process) checkName(ctx context.Context, server, name, want string) (err error) {
	words := p.inNetwork("busybox", "nslookup", "-type=a", name, server)
	var text string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		text, err = output(ctx, words[0], words[1:]...)
		if err == nil && strings.Contains(text, want) {
			return nil
		}
	}
	return fmt.Errorf("%s: the answer has no %s: %q, %w", name, want, text, err)
}

// askMany asks in a loop, for a second that does not count, and then for a while.
func (b *bench) askMany(ctx context.Context, p process, server, list string) (thousands float64, err error) {
	for _, seconds := range []int{1, b.seconds} {
		words := p.inNetwork("dnsperf", "-s", server, "-d", list, "-q", fmt.Sprint(outstanding), "-l", fmt.Sprint(seconds))
		text, err := output(ctx, words[0], words[1:]...)
		if err == nil {
			thousands, err = answered(text)
		}
		if err != nil {
			return 0, err
		}
	}
	return thousands, nil
}

var (
	perSecond = regexp.MustCompile(`Queries per second:\s+([0-9.]+)`)
	completed = regexp.MustCompile(`Queries completed:\s+[0-9]+ \(([0-9.]+)%\)`)
	noError   = regexp.MustCompile(`Response codes:\s+NOERROR [0-9]+ \(([0-9.]+)%\)`)
)

// answered reads what dnsperf reports. Fast refusals are no answers, nor are questions
// that got lost.
func answered(report string) (thousands float64, err error) {
	var figures [3]float64
	for i, pattern := range []*regexp.Regexp{perSecond, completed, noError} {
		match := pattern.FindStringSubmatch(report)
		if match == nil {
			return 0, fmt.Errorf("dnsperf has not reported %q:\n%s", pattern, report)
		}
		if figures[i], err = strconv.ParseFloat(match[1], 64); err != nil {
			return 0, err
		}
	}
	if figures[1] < 99 || figures[2] < 99 {
		return 0, fmt.Errorf("%.2f %% of the questions were answered, %.2f %% of the answers are good:\n%s", figures[1], figures[2], report)
	}
	return figures[0] / 1000, nil
}
