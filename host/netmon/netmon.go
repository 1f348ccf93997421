// Package netmon watches the machine's network: its interfaces, their addresses, and whether routes change. It
// subscribes to the kernel's route messages (rtnetlink(7)) and takes them as a sign to look, never as news by
// themselves: what it reports is what a fresh look shows, so a message that was lost or misread cannot mislead it.
//
// A change that comes as many messages is reported once, when none has come for 50 ms, or after 250 ms in any case. An
// interface that packets cannot leave any more is worth a look at once: those who send by it wait for nothing else.
package netmon

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// How messages are joined to changes.
const (
	quiet   = 50 * time.Millisecond  // a change is complete when nothing has come for this
	longest = 250 * time.Millisecond // and is reported after this at the latest
	pause   = 25 * time.Millisecond  // between two looks, however many carriers go
)

// Interface is one network interface as of one look.
type Interface struct {
	Index     int
	Name      string
	Master    int    // the bridge or bond that it is a port of; 0 = none
	Kind      string // of a virtual one: "bridge", "veth", "tun" …; empty or "device" = another
	Up        bool   // an operator wants it up
	Carrier   bool   // and packets can leave it
	Loopback  bool
	Multicast bool
	Addresses []netip.Prefix // ascending; none that is deprecated, or still under test whether it is unique
}

// State is the machine's network as of one look: the interfaces, ascending by index.
type State []Interface

// Find returns the interface of a name.
func (s State) Find(name string) (Interface, bool) {
	i := slices.IndexFunc(s, func(i Interface) bool { return i.Name == name })
	if i < 0 {
		return Interface{}, false
	}
	return s[i], true
}

// Owner returns the interface that has an address.
func (s State) Owner(a netip.Addr) (Interface, bool) {
	a = a.Unmap().WithZone("")
	i := slices.IndexFunc(s, func(i Interface) bool {
		return slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Addr() == a })
	})
	if i < 0 {
		return Interface{}, false
	}
	return s[i], true
}

// Bridged reports whether a bridge has a port that leads out of this machine: neither a container nor a virtual machine.
func (s State) Bridged(bridge int) bool {
	return slices.ContainsFunc(s, func(i Interface) bool {
		return i.Master == bridge && i.Carrier && i.Kind != "veth" && i.Kind != "tun"
	})
}

func (s State) equal(o State) bool {
	return slices.EqualFunc(s, o, func(a, b Interface) bool {
		same := slices.Equal(a.Addresses, b.Addresses)
		a.Addresses, b.Addresses = nil, nil
		return same && a.Index == b.Index && a.Name == b.Name && a.Kind == b.Kind && a.Up == b.Up && a.Carrier == b.Carrier
	})
}

// Change is what a look found to be different from the look before.
type Change struct {
	State  State
	Lost   []string // interfaces that packets cannot leave any more
	Routes bool     // routes of the main table changed
}

// Monitor watches the network namespace of the thread that opened it.
type Monitor struct {
	events *os.File
	look   *netlink.Handle
	state  State
	looked time.Time // when state was read

	mu      sync.Mutex // guards what follows
	running bool       // Run uses look, and closes it
	closed  bool
}

// Open begins to watch. Close the monitor.
func Open() (*Monitor, error) {
	events, err := subscribe()
	if err != nil {
		return nil, fmt.Errorf("netmon: watch the network: %w", err)
	}
	look, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netmon: ask for interfaces: %w", err), events.Close())
	}
	m := &Monitor{events: events, look: look}
	if m.state, err = m.Look(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// subscribe opens a socket on which the kernel tells of interfaces, addresses and routes.
func subscribe() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return os.NewFile(uintptr(fd), "rtnetlink"), nil
}

// State returns what the last look showed. It is for the goroutine of Run, or for before Run.
func (m *Monitor) State() State { return m.state }

// Run calls changed for every change until the monitor is closed, when it returns nil. changed must not wait for
// whoever calls Close.
func (m *Monitor) Run(changed func(Change)) error {
	if !m.begin() {
		return nil
	}
	defer m.look.Close()
	b := make([]byte, 64<<10)
	for {
		routes, err := m.burst(b)
		if m.isClosed() {
			return nil
		}
		if err != nil {
			return fmt.Errorf("netmon: read the kernel's messages: %w", err)
		}
		next, err := m.Look()
		if err != nil {
			continue // the interface that went while we looked: a message about it is on its way
		}
		ch := Change{State: next, Lost: lost(m.state, next), Routes: routes}
		same := m.state.equal(next)
		m.state, m.looked = next, time.Now()
		if !same || routes {
			changed(ch)
		}
	}
}

// burst waits for messages and for the end of those that come together, or for the first one by which a carrier is gone. It
// reports whether one was about a route.
func (m *Monitor) burst(b []byte) (routes bool, err error) {
	if err := m.events.SetReadDeadline(time.Time{}); err != nil {
		return false, err
	}
	gone := false
	for end := (time.Time{}); ; {
		n, err := m.events.Read(b)
		switch {
		case err == nil:
			r, g := m.gist(b[:n])
			routes, gone = routes || r, gone || g
		case errors.Is(err, os.ErrDeadlineExceeded):
			return routes, nil
		case errors.Is(err, unix.ENOBUFS):
			routes = true // more came than the socket holds: whatever it was, look
		default:
			return routes, err
		}
		now := time.Now()
		if end.IsZero() {
			end = now.Add(longest)
		}
		at := sooner(now.Add(quiet), end)
		if gone {
			at = sooner(at, m.looked.Add(pause))
		}
		if !now.Before(at) {
			return routes, nil
		}
		if err := m.events.SetReadDeadline(at); err != nil {
			return routes, err
		}
	}
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// lost returns the interfaces that had a carrier and have none now.
func lost(old, next State) (names []string) {
	for _, i := range old {
		if now, ok := next.Find(i.Name); i.Carrier && !(ok && now.Carrier) {
			names = append(names, i.Name)
		}
	}
	return names
}

// begin reports whether Run may go on.
func (m *Monitor) begin() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running = !m.closed
	return m.running
}

func (m *Monitor) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

// Close ends Run. To close twice is no error.
func (m *Monitor) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	if !m.running {
		m.look.Close()
	}
	return m.events.Close()
}
