package netmon

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// message makes one of the kernel's: a header, and a body of which the index, the table or the flags are set.
func message(kind uint16, size int, set func(body []byte)) []byte {
	b := make([]byte, unix.SizeofNlMsghdr+size)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	set(b[unix.SizeofNlMsghdr:])
	return b
}

func route(kind uint16, table byte, flags uint32) []byte {
	return message(kind, unix.SizeofRtMsg, func(body []byte) {
		body[4] = table
		binary.NativeEndian.PutUint32(body[8:], flags)
	})
}

func iface(kind uint16, index, flags uint32) []byte {
	return message(kind, unix.SizeofIfInfomsg, func(body []byte) {
		binary.NativeEndian.PutUint32(body[4:], index)
		binary.NativeEndian.PutUint32(body[8:], flags)
	})
}

// seen is a monitor that has seen interface 3 with a carrier and interface 4 without.
func seen() *Monitor { return &Monitor{state: State{{Index: 3, Carrier: true}, {Index: 4}}} }

// Of the kernel's messages little is read. A route of the main table counts, a cached one and one of the local table do not.
// An interface that is down, or has no carrier, or is gone counts if it was fit before. Bytes that are no message say nothing.
func TestGist(t *testing.T) {
	const fine = unix.IFF_UP | unix.IFF_LOWER_UP
	for _, c := range []struct {
		name         string
		b            []byte
		routes, gone bool
	}{
		{"new", route(unix.RTM_NEWROUTE, unix.RT_TABLE_MAIN, 0), true, false},
		{"gone", route(unix.RTM_DELROUTE, unix.RT_TABLE_MAIN, 0), true, false},
		{"local", route(unix.RTM_NEWROUTE, unix.RT_TABLE_LOCAL, 0), false, false},
		{"cached", route(unix.RTM_NEWROUTE, unix.RT_TABLE_MAIN, unix.RTM_F_CLONED), false, false},
		{"address", route(unix.RTM_NEWADDR, unix.RT_TABLE_MAIN, 0), false, false},
		{"second", append(route(unix.RTM_NEWADDR, 0, 0), route(unix.RTM_NEWROUTE, unix.RT_TABLE_MAIN, 0)...), true, false},
		{"carrier stays", iface(unix.RTM_NEWLINK, 3, fine), false, false},
		{"carrier goes", iface(unix.RTM_NEWLINK, 3, unix.IFF_UP), false, true},
		{"set down", iface(unix.RTM_NEWLINK, 3, unix.IFF_LOWER_UP), false, true},
		{"interface goes", iface(unix.RTM_DELLINK, 3, fine), false, true},
		{"had none", iface(unix.RTM_NEWLINK, 4, 0), false, false},
		{"never seen", iface(unix.RTM_NEWLINK, 5, 0), false, false},
		{"both", append(iface(unix.RTM_NEWLINK, 3, 0), route(unix.RTM_DELROUTE, unix.RT_TABLE_MAIN, 0)...), true, true},
		{"nothing", nil, false, false},
	} {
		m := seen()
		if routes, gone := m.gist(c.b); routes != c.routes || gone != c.gone {
			t.Errorf("%s: routes %v, gone %v", c.name, routes, gone)
		}
		for n := range c.b {
			m.gist(c.b[:n])
		}
	}
}

func FuzzGist(f *testing.F) {
	f.Add(route(unix.RTM_NEWROUTE, unix.RT_TABLE_MAIN, 0))
	f.Add(iface(unix.RTM_NEWLINK, 3, 0))
	f.Fuzz(func(_ *testing.T, b []byte) { seen().gist(b) })
}
