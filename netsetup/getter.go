package netsetup

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// getter asks for elements of a map. The library can only list a whole map, which
// grows with the number of containers, and hides why it failed.
//
// It is on the path of every start, so it has a plain socket: in one that the runtime polls
// each question wakes up a thread or two, which takes longer than the answer.
type getter struct{ socket int }

func openGetter() (getter, error) {
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return getter{}, fmt.Errorf("open nftables: %w", err)
	}
	return getter{socket}, nil
}

func (g getter) Close() error { return unix.Close(g.socket) }

// owned is the part of an element that matters here.
type owned struct {
	key      []byte
	value    []byte
	owner    string // the comment
	expiring bool   // has a timeout: see expire
}

// one is the element with that key, zero if there is no such element, or no such map.
func (g getter) one(set *nftables.Set, key []byte) (owned, error) {
	answers, err := g.ask(elementQuestion(set, key))
	if err != nil {
		return owned{}, err
	}
	return answers[0].element(set)
}

// all is every element of the map, none if there is no such map.
func (g getter) all(set *nftables.Set) ([]owned, error) {
	answers, err := g.ask(question{table: set.Table, kind: unix.NFT_MSG_GETSETELEM, dump: true, add: func(attributes *netlink.AttributeEncoder) {
		nameSet(set, attributes)
	}})
	if err != nil {
		return nil, err
	}
	return answers[0].elements(set)
}

// chainQuestion asks for all chains of the family: that is faster than to ask for each.
func chainQuestion(t *nftables.Table) question {
	return question{table: t, kind: unix.NFT_MSG_GETCHAIN, dump: true, add: func(*netlink.AttributeEncoder) {}}
}

// elementQuestion asks for the element of a set that has the key.
func elementQuestion(set *nftables.Set, key []byte) question {
	return question{table: set.Table, kind: unix.NFT_MSG_GETSETELEM, add: func(attributes *netlink.AttributeEncoder) {
		nameSet(set, attributes)
		attributes.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(list *netlink.AttributeEncoder) error {
			list.Nested(unix.NFTA_LIST_ELEM, func(element *netlink.AttributeEncoder) error {
				element.Nested(unix.NFTA_SET_ELEM_KEY, func(value *netlink.AttributeEncoder) error {
					value.Bytes(unix.NFTA_DATA_VALUE, key)
					return nil
				})
				return nil
			})
			return nil
		})
	}}
}

func nameSet(set *nftables.Set, attributes *netlink.AttributeEncoder) {
	attributes.String(unix.NFTA_SET_ELEM_LIST_TABLE, set.Table.Name)
	attributes.String(unix.NFTA_SET_ELEM_LIST_SET, set.Name)
}

// uses counts the rules of each chain of the table and the jumps to it
// (NFTA_CHAIN_USE).
func (a answer) uses(t *nftables.Table) (map[string]int, error) {
	if a.err != nil {
		return nil, fmt.Errorf("list chains: %w", a.err)
	}
	uses := map[string]int{}
	for _, message := range a.messages {
		attributes, err := netlink.NewAttributeDecoder(message)
		if err != nil {
			return nil, fmt.Errorf("decode chains: %w", err)
		}
		attributes.ByteOrder = binary.BigEndian
		var table, name string
		var count int
		for attributes.Next() {
			switch attributes.Type() {
			case unix.NFTA_CHAIN_TABLE:
				table = attributes.String()
			case unix.NFTA_CHAIN_NAME:
				name = attributes.String()
			case unix.NFTA_CHAIN_USE:
				count = int(attributes.Uint32())
			}
		}
		if table == t.Name {
			uses[name] = count
		}
	}
	return uses, nil
}

// element is the one that was asked for.
func (a answer) element(set *nftables.Set) (owned, error) {
	found, err := a.elements(set)
	if err != nil || len(found) == 0 {
		return owned{}, err
	}
	return found[0], nil
}

func (a answer) elements(set *nftables.Set) ([]owned, error) {
	if errors.Is(a.err, unix.ENOENT) {
		return nil, nil
	}
	if a.err != nil {
		return nil, fmt.Errorf("ask for elements of %s: %w", set.Name, a.err)
	}
	return decodeElements(a.messages)
}

func decodeElements(messages [][]byte) ([]owned, error) {
	var found []owned
	for _, message := range messages {
		attributes, err := netlink.NewAttributeDecoder(message)
		if err != nil {
			return nil, fmt.Errorf("decode elements: %w", err)
		}
		for attributes.Next() {
			if attributes.Type() == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				attributes.Nested(func(list *netlink.AttributeDecoder) error {
					for list.Next() {
						var element owned
						list.Nested(element.decode)
						found = append(found, element)
					}
					return nil
				})
			}
		}
		if err := attributes.Err(); err != nil {
			return nil, fmt.Errorf("decode elements: %w", err)
		}
	}
	return found, nil
}

func (o *owned) decode(element *netlink.AttributeDecoder) error {
	element.ByteOrder = binary.BigEndian
	for element.Next() {
		switch element.Type() {
		case unix.NFTA_SET_ELEM_KEY:
			element.Nested(dataValue(&o.key))
		case unix.NFTA_SET_ELEM_DATA:
			element.Nested(dataValue(&o.value))
		case unix.NFTA_SET_ELEM_TIMEOUT:
			o.expiring = true
		case unix.NFTA_SET_ELEM_USERDATA:
			o.owner, _ = userdata.GetString(element.Bytes(), userdata.NFTNL_UDATA_SET_ELEM_COMMENT)
		}
	}
	return nil
}

func dataValue(into *[]byte) func(*netlink.AttributeDecoder) error {
	return func(data *netlink.AttributeDecoder) error {
		for data.Next() {
			if data.Type() == unix.NFTA_DATA_VALUE {
				*into = data.Bytes()
			}
		}
		return nil
	}
}
