package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/node"
	"x0tta6bl4/host/dataplane"
	"x0tta6bl4/host/quic"
	"x0tta6bl4/host/udp"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// What is remembered of handshakes that were turned away, and how long one stands for others like it.
const (
	maxRefusals  = 32
	refusalPause = 10 * time.Second
	maxFailures  = 1024
)

// transport makes the connections over pc. ids makes their IDs; nil = they need not be known from others.
func (d *Daemon) transport(pc net.PacketConn, p wire.Purpose, ids func() []byte) (*quicconn.Transport, error) {
	var t *quicconn.Transport
	ready := make(chan struct{}) // callbacks need t
	cfg := quicconn.Config{
		Purpose: p, TrustDomain: d.domain, Identity: d.identity.Certificate, Verify: d.identity.Verify,
		NextConn: d.registry.allocate, Now: d.now, ConnectionID: ids,
		Callbacks: quicconn.Callbacks{
			Established: func(e quicconn.Established) {
				<-ready
				d.established(t, p, e)
			},
			Failed:  func(dial uint64, remote net.Addr, err error) { d.dialFailed(p, dial, remote, err) },
			Message: func(id mesh.ConnID, m wire.Message) { d.post(node.Received{Conn: id, Message: m}) },
			Closed: func(id mesh.ConnID, err error) {
				if c := d.registry.get(id); c != nil && errors.Is(err, quicconn.ErrRefused) {
					// With TLS 1.3 a dialler learns that it was refused only after its own handshake is complete.
					d.noteFailure(addrPort(c.remote), err)
				}
				d.post(node.ConnDown{Conn: id, Reason: fmt.Sprint(err)})
			},
			Refused: func(remote net.Addr, err error) { d.refuse(remote.String(), err) },
		},
	}
	if p == wire.PurposeLink {
		cfg.Callbacks.State = d.shared.came
	} else {
		cfg.KeepAlive = 10 * time.Second
		cfg.Networks = d.carrier.networks
	}
	var err error
	t, err = quicconn.New(pc, cfg)
	close(ready)
	return t, err
}

func (d *Daemon) established(t *quicconn.Transport, p wire.Purpose, e quicconn.Established) {
	d.registry.add(e.Conn, &connection{
		purpose: p, peer: e.Peer, remote: e.Remote, outbound: e.Dial != 0, secret: e.Secret, sender: t,
	})
	up := node.ConnUp{Conn: e.Conn, Dial: e.Dial, Purpose: p, Peer: e.Peer, NotAfter: e.NotAfter}
	if p == wire.PurposeLink {
		up.Remote = addrPort(e.Remote)
		up.MTU = d.linkMTU(up.Remote)
		up.Via = d.interfaceTo(up.Remote.Addr())
		d.expect(up.Remote.Addr())
	} else {
		d.carrier.established(e.Remote, e.Peer)
	}
	d.post(up)
}

// linkMTU returns how many bytes of UDP payload the way to a neighbour carries in one datagram.
func (d *Daemon) linkMTU(to netip.AddrPort) int {
	s := d.socketFor(to.Addr())
	if s < 0 {
		return wire.MaxFrame
	}
	mtu, err := d.sockets[s].PathMTU(to)
	if err != nil {
		d.log.Warn("path MTU unknown, taking the least that links must carry", "remote", to, "error", err)
		return wire.MinLinkMTU
	}
	return min(mtu, wire.MaxFrame)
}

func (d *Daemon) dialFailed(p wire.Purpose, dial uint64, remote net.Addr, err error) {
	if p == wire.PurposeE2E {
		d.carrier.end(remote)
	} else {
		d.log.Debug("no link", "remote", remote.String(), "error", err)
		d.noteFailure(addrPort(remote), err)
	}
	d.post(node.DialFailed{Dial: dial, Reason: err.Error(), Self: errors.Is(err, quicconn.ErrSelf)})
	if errors.Is(err, quicconn.ErrUnverified) {
		d.refuse(remote.String(), err)
	}
}

// refuse notes a handshake that was turned away. Strangers cause them as fast as they like, so a host that goes on for the
// same reason is noted now and then only, and of very many hosts so many as there is room for.
func (d *Daemon) refuse(remote string, err error) {
	now, reason := d.now(), err.Error()
	host, _, _ := net.SplitHostPort(remote)
	d.mu.Lock()
	defer d.mu.Unlock()
	full := len(d.refused) == maxRefusals && now.Sub(d.refused[maxRefusals-1].At) < refusalPause
	again := slices.ContainsFunc(d.refused, func(r api.Refusal) bool {
		h, _, _ := net.SplitHostPort(r.Remote)
		return h == host && r.Reason == reason && now.Sub(r.At) < refusalPause
	})
	if full || again {
		d.refusalsUntold.Add(1)
		return
	}
	d.log.Warn("handshake refused", "remote", remote, "error", err)
	d.refused = slices.Insert(d.refused, 0, api.Refusal{Remote: remote, Reason: reason, At: now})
	d.refused = d.refused[:min(len(d.refused), maxRefusals)]
}

// noteFailure remembers why no link to an address came about.
func (d *Daemon) noteFailure(a netip.AddrPort, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.failures[a]; !known && len(d.failures) >= maxFailures {
		clear(d.failures) // hints can be of anything; what is still tried fails again soon
	}
	d.failures[a] = err.Error()
}

func (d *Daemon) dialLink(e node.Dial) {
	if mesh.Prefix(d.domain).Contains(e.Addr.Addr()) { // a name, a record or a hint led there
		d.jobs.put(func() { d.dialFailed(wire.PurposeLink, e.ID, net.UDPAddrFromAddrPort(e.Addr), errOwnAddress) })
		return
	}
	s := d.socketFor(e.Addr.Addr())
	if s < 0 {
		d.jobs.put(func() {
			d.post(node.DialFailed{Dial: e.ID, Reason: fmt.Sprintf("no listening socket of the family of %s; add one to links.listen", e.Addr)})
		})
		return
	}
	if e.Addr.Addr().Zone() != "" {
		if _, err := d.sockets[s].PathMTU(e.Addr); err != nil { // known at once: no reason to wait for an answer
			d.jobs.put(func() { d.dialFailed(wire.PurposeLink, e.ID, net.UDPAddrFromAddrPort(e.Addr), err) })
			return
		}
	}
	d.links[s].Dial(e.ID, net.UDPAddrFromAddrPort(e.Addr), e.Want)
}

func (d *Daemon) dialPeer(e node.DialPeer) {
	a, err := d.carrier.begin(e.Peer)
	if err != nil {
		d.jobs.put(func() { d.post(node.DialFailed{Dial: e.ID, Reason: err.Error()}) })
		return
	}
	d.peers.Dial(e.ID, a, e.Peer)
}

// socketFor returns the index of the socket that reaches an address, -1 if there is none: the one bound to the address
// that the kernel would send from, else the first of the family.
func (d *Daemon) socketFor(to netip.Addr) int {
	first, several := -1, false
	for i, s := range d.sockets {
		l := s.LocalAddr().Addr()
		switch {
		case l.Is4() != to.Unmap().Is4() && !(l.IsUnspecified() && l.Is6()):
		case first < 0:
			first = i
		default:
			several = true
		}
	}
	if !several {
		return first
	}
	src := d.sources.of(to)
	for i, s := range d.sockets {
		if s.LocalAddr().Addr() == src {
			return i
		}
	}
	return first
}

// sources remembers from which of this machine's addresses the kernel sends to others. A machine with several sockets
// asks for every packet, and routes change.
type sources struct {
	socket *udp.Socket // any: it asks the kernel; set before the daemon runs
	mu     sync.Mutex
	known  map[netip.Addr]source
}

type source struct {
	addr netip.Addr
	at   time.Time
}

const (
	sourceLife = 5 * time.Second
	maxSources = 4096
)

func (s *sources) of(to netip.Addr) netip.Addr {
	now := time.Now()
	s.mu.Lock()
	known, ok := s.known[to]
	s.mu.Unlock()
	if ok && now.Sub(known.at) < sourceLife {
		return known.addr
	}
	known = source{at: now}
	if s.socket != nil {
		known.addr, _ = s.socket.Source(to) // without a route there is none
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= maxSources {
		s.known = map[netip.Addr]source{}
	}
	s.known[to] = known
	return known.addr
}

// forget has the kernel asked anew: routes or addresses have changed.
func (s *sources) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = nil
}

func (d *Daemon) sendDatagram(to netip.AddrPort, b []byte) error {
	s := d.socketFor(to.Addr())
	if s < 0 {
		return fmt.Errorf("no socket of the family of %s", to)
	}
	return d.sockets[s].Send(to, b)
}

func (d *Daemon) sendRun(to netip.AddrPort, run []byte, size int) error {
	s := d.socketFor(to.Addr())
	if s < 0 {
		return fmt.Errorf("no socket of the family of %s", to)
	}
	return d.sockets[s].SendRun(to, run, size)
}

func (d *Daemon) planeCallbacks() dataplane.Callbacks {
	return dataplane.Callbacks{
		Hello:     d.helloHeard,
		Challenge: d.challenged,
		Moved: func(l mesh.Label, conn mesh.ConnID, from netip.AddrPort) {
			d.tryPost(node.Moved{Label: l, Conn: conn, From: from})
		},
		Error: func(e wire.ErrorFrame, _ mesh.Label, _ time.Time, match *dataplane.SentMatch) {
			d.tell(node.PathError{Node: match.Node, Conn: match.Conn, Path: match.Path, Code: e.Code})
		},
		TooBig:     func(l mesh.Label, size int) { d.tell(node.TooBig{Label: l, Size: size}) },
		Need:       func(a netip.Addr) { d.need(a) },
		Sending:    func(n mesh.NodeID, protected bool) { d.tell(node.Sending{Node: n, Protected: protected}) },
		ProbeReply: d.probeAnswered,
		Sessions:   d.admit,
		Handshake:  func(h wire.Handshake, in mesh.Label, back []mesh.Label) { d.carrier.deliver(h, in, back) },
	}
}

// admit tells the sockets whose frames are wanted.
func (d *Daemon) admit(sessions []uint32) {
	for _, s := range d.sockets {
		if err := s.Admit(sessions); err != nil {
			d.log.Error("frames of new links may be dropped", "error", err)
		}
	}
}

// expect tells the sockets that a member has been at an address: when it comes again, a flood of strangers' handshakes is not
// to keep it out.
func (d *Daemon) expect(a netip.Addr) {
	for _, s := range d.sockets {
		if err := s.Expect(a); err != nil {
			d.log.Warn("neighbours are not known from strangers", "address", a, "error", err)
		}
	}
}

// need asks for a session; packets to the destination wait meanwhile.
func (d *Daemon) need(a netip.Addr) {
	select {
	case d.events <- node.Wanted{Addr: a}:
	default: // asked again with the next packet
	}
}

// listening returns the addresses of the link sockets.
func (d *Daemon) listening() []netip.AddrPort {
	var as []netip.AddrPort
	for _, s := range d.sockets {
		as = append(as, s.LocalAddr())
	}
	return as
}

// advertised returns where other machines find this one: what the configuration says, else the addresses of the
// interfaces (interfaceAddrs) with the listening port.
func (d *Daemon) advertised() []netip.AddrPort {
	c := d.opt.Config.Links
	if len(c.Advertise) > 0 {
		return c.Advertise
	}
	var as []netip.AddrPort
	for _, l := range c.Listen {
		if !l.Addr().IsUnspecified() {
			as = append(as, l)
			continue
		}
		as = append(as, d.interfaceAddrs(l)...)
	}
	slices.SortFunc(as, netip.AddrPort.Compare)
	return slices.Compact(as)
}

func addrPort(a net.Addr) netip.AddrPort {
	if u, ok := a.(*net.UDPAddr); ok {
		return mesh.PlainUnderlay(u.AddrPort())
	}
	return netip.AddrPort{}
}
