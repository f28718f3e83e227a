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
type getter struct{ *netlink.Conn }

func openGetter() (getter, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return getter{}, fmt.Errorf("open nftables: %w", err)
	}
	return getter{conn}, nil
}

// owned is the part of an element that matters here.
type owned struct {
	key      []byte
	value    []byte
	owner    string // the comment
	expiring bool   // has a timeout: see expire
}

// one is the element with that key, zero if there is no such element, or no such map.
func (g getter) one(set *nftables.Set, key []byte) (owned, error) {
	found, err := g.request(set, 0, func(attributes *netlink.AttributeEncoder) {
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
	})
	if err != nil || len(found) == 0 {
		return owned{}, err
	}
	return found[0], nil
}

// all is every element of the map, none if there is no such map.
func (g getter) all(set *nftables.Set) ([]owned, error) {
	return g.request(set, netlink.Dump, func(*netlink.AttributeEncoder) {})
}

// uses counts the rules of each chain of the table and the jumps to it
// (NFTA_CHAIN_USE). To ask for all chains of the family at once is faster than for each.
func (g getter) uses(t *nftables.Table) (map[string]int, error) {
	reply, err := g.ask(t, unix.NFT_MSG_GETCHAIN, netlink.Dump, func(*netlink.AttributeEncoder) {})
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	uses := map[string]int{}
	for _, message := range reply {
		if len(message.Data) < 4 {
			continue
		}
		attributes, err := netlink.NewAttributeDecoder(message.Data[4:])
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

func (g getter) request(set *nftables.Set, flags netlink.HeaderFlags, add func(*netlink.AttributeEncoder)) ([]owned, error) {
	reply, err := g.ask(set.Table, unix.NFT_MSG_GETSETELEM, flags, func(attributes *netlink.AttributeEncoder) {
		attributes.String(unix.NFTA_SET_ELEM_LIST_TABLE, set.Table.Name)
		attributes.String(unix.NFTA_SET_ELEM_LIST_SET, set.Name)
		add(attributes)
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for elements of %s: %w", set.Name, err)
	}
	return decodeElements(reply)
}

func (g getter) ask(t *nftables.Table, kind netlink.HeaderType, flags netlink.HeaderFlags, add func(*netlink.AttributeEncoder)) ([]netlink.Message, error) {
	attributes := netlink.NewAttributeEncoder()
	add(attributes)
	payload, err := attributes.Encode()
	if err != nil {
		return nil, err
	}
	// struct nfgenmsg, linux/netfilter/nfnetlink.h: family, version, resource.
	header := []byte{byte(t.Family), unix.NFNETLINK_V0, 0, 0}
	return g.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | kind, Flags: netlink.Request | flags},
		Data:   append(header, payload...),
	})
}

func decodeElements(messages []netlink.Message) ([]owned, error) {
	var found []owned
	for _, message := range messages {
		if len(message.Data) < 4 {
			continue
		}
		attributes, err := netlink.NewAttributeDecoder(message.Data[4:])
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
