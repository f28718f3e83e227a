package netsetup

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// question is what the kernel is asked about a table.
type question struct {
	table *nftables.Table
	kind  uint16 // NFT_MSG_GET...
	dump  bool   // all that there are
	add   func(*netlink.AttributeEncoder)
}

// answer is what it says: the attributes of each message, or an error.
type answer struct {
	messages [][]byte
	err      error
}

// Of struct nlmsghdr (linux/netlink.h) and struct nfgenmsg (linux/netfilter/nfnetlink.h).
const (
	messageHeader = unix.SizeofNlMsghdr
	netfilterHead = 4
)

// ask sends all questions in one message to the kernel, which answers them one after the
// other (netlink_rcv_skb of net/netlink/af_netlink.c) before the call that sends returns,
// but for the rest of a long list.
func (g getter) ask(questions ...question) ([]answer, error) {
	var packet []byte
	var err error
	for i, q := range questions {
		if packet, err = q.append(packet, uint32(i+1)); err != nil {
			return nil, err
		}
	}
	if err := retry(func() error { return unix.Sendto(g.socket, packet, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) }); err != nil {
		return nil, fmt.Errorf("ask nftables: %w", err)
	}
	answers := make([]answer, len(questions))
	buffer := make([]byte, 32<<10) // the most that the kernel makes of a list's part (netlink_dump)
	for left := len(questions); left > 0; {
		n, err := g.receive(buffer)
		if err != nil {
			return nil, err
		}
		done, err := take(append([]byte(nil), buffer[:n]...), questions, answers)
		if err != nil {
			return nil, err
		}
		left -= done
	}
	return answers, nil
}

// receive waits for nothing: what is not there now would never come.
func (g getter) receive(buffer []byte) (n int, err error) {
	var from unix.Sockaddr
	err = retry(func() (err error) {
		n, from, err = unix.Recvfrom(g.socket, buffer, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("hear from nftables: %w", err)
	}
	sender, ok := from.(*unix.SockaddrNetlink)
	if !ok || sender.Pid != 0 || n > len(buffer) {
		return 0, fmt.Errorf("hear from nftables: %d bytes of %v", n, from)
	}
	return n, nil
}

func retry(do func() error) error {
	for {
		if err := do(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// append adds the question, under a number, to a packet.
func (q question) append(packet []byte, number uint32) ([]byte, error) {
	attributes := netlink.NewAttributeEncoder()
	q.add(attributes)
	payload, err := attributes.Encode() // aligned
	if err != nil {
		return nil, err
	}
	flags := uint16(unix.NLM_F_REQUEST)
	if q.dump {
		flags |= unix.NLM_F_DUMP
	}
	packet = binary.NativeEndian.AppendUint32(packet, uint32(messageHeader+netfilterHead+len(payload)))
	packet = binary.NativeEndian.AppendUint16(packet, unix.NFNL_SUBSYS_NFTABLES<<8|q.kind)
	packet = binary.NativeEndian.AppendUint16(packet, flags)
	packet = binary.NativeEndian.AppendUint32(packet, number)
	packet = append(packet, 0, 0, 0, 0, byte(q.table.Family), unix.NFNETLINK_V0, 0, 0)
	return append(packet, payload...), nil
}

// take adds a packet's messages to the answers, and counts the questions that are
// answered with it: a list has an end of its own, and what is no list is one message.
func take(packet []byte, questions []question, answers []answer) (done int, err error) {
	for len(packet) >= messageHeader {
		length := int(binary.NativeEndian.Uint32(packet))
		kind, number := binary.NativeEndian.Uint16(packet[4:]), int(binary.NativeEndian.Uint32(packet[8:]))
		if length < messageHeader+netfilterHead || length > len(packet) || number < 1 || number > len(answers) {
			return done, fmt.Errorf("hear from nftables: message %d of %d bytes for question %d", kind, length, number)
		}
		body, to := packet[messageHeader:length], &answers[number-1]
		switch kind {
		case unix.NLMSG_ERROR, unix.NLMSG_DONE: // both begin with an errno, 0 after a list
			if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
				to.err = unix.Errno(-code)
			}
			done++
		default:
			to.messages = append(to.messages, body[netfilterHead:])
			if !questions[number-1].dump {
				done++
			}
		}
		packet = packet[min((length+3)&^3, len(packet)):]
	}
	return done, nil
}
