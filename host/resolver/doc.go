// Package resolver makes the names of a mesh known to the machine's resolver, and takes them away again. There are three
// ways, none of which touches what does not concern the mesh:
//
//	Resolved     systemd-resolved asks the node about its zones and nothing else (route-only domains of the mesh's interface)
//	Resolvconf   openresolv has a local resolver such as unbound or dnsmasq do the same (a private record)
//	Hosts        a marked block of /etc/hosts has a line for each member
//
// Each can be set again at any time, and what is as it should be is left alone. What a process that was killed left behind
// is where it was put and says whose it is: Undo of the next process finds it. Settings of systemd-resolved vanish with
// the interface.
package resolver

import (
	"errors"
	"net/netip"
	"strings"
)

// ErrUnfit means that this machine does not have a way, or not so that it would work; the error says why.
var ErrUnfit = errors.New("not on this machine")

// ErrForbidden means that the system does not let this process set its resolver.
var ErrForbidden = errors.New("not allowed")

// Names is what the resolver is to know.
type Names struct {
	Forward   string     // zone of the names, with the final dot
	Reverse   string     // zone of the addresses, with the final dot
	Server    netip.Addr // of this machine; answers for both zones on port 53
	Interface string     // of the mesh
	Hosts     []Host     // all members, this node included
}

// Host is one member.
type Host struct {
	Name string // without the final dot
	Addr netip.Addr
}

// Zones returns both zones as configuration files write them, without the final dot.
func (n Names) zones() []string {
	return []string{strings.TrimSuffix(n.Forward, "."), strings.TrimSuffix(n.Reverse, ".")}
}
