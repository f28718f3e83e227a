package compile

import "golang.org/x/sys/unix"

// span is all system calls from a number up to the next span's.
type span struct {
	first uint32
	rules *decision
}

// search finds the span of the number in the accumulator by bisection: a system call costs
// the logarithm of how many spans there are. What is to be done follows behind, once for
// each decision.
func (a *assembler) search(spans []span, decisions *places) {
	if len(spans) == 1 {
		if action, constant := spans[0].rules.constant(); constant {
			a.result(action)
		} else {
			a.always(decisions.of(a, spans[0].rules))
		}
		return
	}
	half := len(spans) / 2
	upper := a.label()
	if searchSize(spans[:half]) <= maxShortJump {
		a.jump(unix.BPF_JGE, spans[half].first, upper, next)
	} else {
		a.jump(unix.BPF_JGE, spans[half].first, next, skip)
		a.always(upper)
	}
	a.search(spans[:half], decisions)
	a.here(upper)
	a.search(spans[half:], decisions)
}

// searchSize is how many instructions search makes.
func searchSize(spans []span) int {
	if len(spans) == 1 {
		return 1
	}
	half := len(spans) / 2
	lower := searchSize(spans[:half])
	size := lower + searchSize(spans[half:]) + 1
	if lower > maxShortJump {
		size++
	}
	return size
}

// places are the decisions that searches have jumped to, in the order of their first use.
type places struct {
	decisions []*decision
	labels    []label
}

func (p *places) of(a *assembler, d *decision) label {
	for i, known := range p.decisions {
		if known == d {
			return p.labels[i]
		}
	}
	p.decisions = append(p.decisions, d)
	p.labels = append(p.labels, a.label())
	return p.labels[len(p.labels)-1]
}
