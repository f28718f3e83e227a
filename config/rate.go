package config

import "strconv"

// minRate is a kilobyte in a second: below, a single packet takes longer than TCP
// waits for its answer.
const minRate = 8000

// ParseRate reads a number of bits in a second with a suffix: "10M" are 10 megabit/s.
// K, M, G and T are powers of 1000, as for all rates of networks.
func ParseRate(s string) (uint64, error) {
	n, problem := parseRate(s)
	if problem != "" {
		return 0, &Problem{File: "rate " + strconv.Quote(s), Text: problem}
	}
	return n, nil
}

func parseRate(s string) (n uint64, problem string) {
	const form = `is no rate; write bits in a second, with K, M or G for powers of 1000: "10M" are 10 megabit/s`
	n, problem = parseAmount(s, 1000, "rate")
	switch {
	case problem != "" || lastByte(s) == 'B':
		return 0, form
	case n < minRate:
		return 0, "is too little; use 8K (one kilobyte in a second) or more"
	case n > 1e13:
		return 0, "is too much; use 10T or less"
	}
	return n, ""
}

// FormatRate writes bits in a second so that ParseRate reads them.
func FormatRate(n uint64) string {
	suffix := ""
	for i := 0; i < len("KMGT") && n != 0 && n%1000 == 0; i++ {
		n /= 1000
		suffix = "KMGT"[i : i+1]
	}
	return strconv.FormatUint(n, 10) + suffix
}

func (b *builder) rate(e *entry) uint64 {
	if n, isNumber := e.value.(int64); isNumber {
		b.fail(e, nil, `must be a string with its unit: "%dM" are %d megabit/s`, n, n)
		return 0
	}
	s, ok := b.plain(e, e.value)
	if !ok {
		return 0
	}
	n, problem := parseRate(s)
	if problem != "" {
		b.fail(e, nil, "%q %s", s, problem)
	}
	return n
}
