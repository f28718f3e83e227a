// Command dnstool is both ends of the tests of names: a name server somewhere outside,
// and somebody who asks.
//
//	dnstool serve ADDRESS:PORT
//	dnstool ask udp|tcp ADDRESS:PORT NAME TYPE [COUNT]
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

func main() {
	var err error
	switch arguments := os.Args[1:]; {
	case len(arguments) == 2 && arguments[0] == "serve":
		err = serve(arguments[1])
	case len(arguments) >= 5 && arguments[0] == "ask":
		err = ask(arguments[1], arguments[2], arguments[3], arguments[4], arguments[5:])
	default:
		err = fmt.Errorf("usage: %v", arguments)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve knows outside.example, an alias of the same server's, and many.example, which
// does not fit into a packet.
func serve(address string) error {
	zone := map[string][]string{
		"outside.example.": {"outside.example. 60 IN CNAME real.example.", "real.example. 60 IN A 198.51.100.7"},
	}
	for i := range 200 {
		zone["many.example."] = append(zone["many.example."], fmt.Sprintf("many.example. 60 IN A 198.51.100.%d", i))
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		answer := new(dns.Msg).SetReply(query)
		answer.Rcode = dns.RcodeNameError
		for _, text := range zone[strings.ToLower(query.Question[0].Name)] {
			record, err := dns.NewRR(text)
			if err != nil {
				panic(err)
			}
			answer.Rcode, answer.Answer = dns.RcodeSuccess, append(answer.Answer, record)
		}
		if w.LocalAddr().Network() == "udp" {
			answer.Truncate(512)
		}
		_ = w.WriteMsg(answer)
	})
	ended := make(chan error)
	for _, network := range []string{"udp", "tcp"} {
		go func() { ended <- dns.ListenAndServe(address, network, handler) }()
	}
	return <-ended
}

// ask prints the answer in one line: its code, its mark if it is cut, and what the
// records have. With a count it asks as often, and again like any resolver where nobody
// answers, and prints how many answers were not like the first.
func ask(network, server, name, kind string, count []string) error {
	query := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.StringToType[kind])
	client := dns.Client{Net: network, Timeout: 5 * time.Second} // as resolvers do: resolv.conf(5)
	if len(count) == 0 {
		answer, _, err := client.Exchange(query, server)
		if err != nil {
			fmt.Println("nothing")
			return nil
		}
		fmt.Println(says(answer))
		return nil
	}
	times, err := strconv.Atoi(count[0])
	if err != nil {
		return err
	}
	first, others, again := "", 0, 0
	start := time.Now()
	for range times {
		answer, _, err := client.Exchange(query, server)
		for try := 0; err != nil && try < 10; try++ {
			again++
			answer, _, err = client.Exchange(query, server)
		}
		if err != nil {
			return err
		}
		if first == "" {
			first = says(answer)
		}
		if says(answer) != first {
			others++
		}
	}
	fmt.Printf("%s; %d others\n", first, others)
	fmt.Fprintf(os.Stderr, "%.0f a second, %d asked again\n", float64(times)/time.Since(start).Seconds(), again)
	return nil
}

func says(answer *dns.Msg) string {
	text := dns.RcodeToString[answer.Rcode]
	if answer.Truncated {
		text += " cut"
	}
	if len(answer.Answer) > 10 {
		return fmt.Sprintf("%s %d records", text, len(answer.Answer))
	}
	for _, record := range answer.Answer {
		fields := strings.Fields(record.String())
		text += " " + fields[3] + " " + fields[4]
	}
	return text
}
