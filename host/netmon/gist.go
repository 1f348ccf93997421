package netmon

import (
	"encoding/binary"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// gist reports whether one of the messages in b is about a route of the main table, and whether one says that an interface has
// lost its carrier since the last look. What cannot be read says nothing.
func (m *Monitor) gist(b []byte) (routes, gone bool) {
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return false, false
	}
	for _, msg := range msgs {
		switch msg.Header.Type {
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			routes = routes || ofMain(msg.Data)
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			gone = gone || m.loses(msg.Header.Type, msg.Data)
		}
	}
	return routes, gone
}

// ofMain reports whether a route belongs to the main table and is no entry of a cache.
func ofMain(data []byte) bool {
	const table, flags = 4, 8 // offsets in struct rtmsg
	return len(data) >= unix.SizeofRtMsg && data[table] == unix.RT_TABLE_MAIN && binary.NativeEndian.Uint32(data[flags:])&unix.RTM_F_CLONED == 0
}

// loses reports whether a message about an interface says that nothing can leave it, when at the last look something could.
func (m *Monitor) loses(kind uint16, data []byte) bool {
	const index, flags = 4, 8 // offsets in struct ifinfomsg
	if len(data) < unix.SizeofIfInfomsg {
		return false
	}
	i := slices.IndexFunc(m.state, func(i Interface) bool { return uint32(i.Index) == binary.NativeEndian.Uint32(data[index:]) })
	f := binary.NativeEndian.Uint32(data[flags:])
	return i >= 0 && m.state[i].Carrier && (kind == unix.RTM_DELLINK || f&unix.IFF_UP == 0 || f&unix.IFF_LOWER_UP == 0)
}
