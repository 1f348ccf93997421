package daemon

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/host/netmon"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

const (
	routesPause  = 2 * time.Second        // a machine whose routes change all the time says hello no oftener because of it
	routesOfLoss = 250 * time.Millisecond // routes that change so soon after a carrier went are those that led there
	longStop     = 2 * time.Second        // the loop is due at least every second: later by this, the process stood still
)

// roaming is what the daemon knows of the machine's place in the network.
type roaming struct {
	monitor *netmon.Monitor
	state   atomic.Pointer[netmon.State]
	watch   []func(netmon.Change) // called for every change, in turn; set before the daemon runs
	routed  time.Time             // when routes alone last were news; of the monitor's goroutine, as is
	lost    time.Time             // when a carrier last went

	lookUp chan struct{}     // asks for host names to be looked up now
	mu     sync.Mutex        // guards what follows
	names  map[string]string // host names of neighbours that were not found, and why
}

// watchNetwork opens the network monitor.
func (d *Daemon) watchNetwork() error {
	m, err := netmon.Open()
	if err != nil {
		return err
	}
	d.roaming.monitor = m
	s := m.State()
	d.roaming.state.Store(&s)
	return nil
}

// network returns the machine's interfaces as of the last change.
func (d *Daemon) network() netmon.State {
	if s := d.roaming.state.Load(); s != nil {
		return *s
	}
	return nil
}

// networkLoop follows the machine's network until ctx ends.
func (d *Daemon) networkLoop(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = d.roaming.monitor.Close() })()
	return d.roaming.monitor.Run(d.networkChanged)
}

func (d *Daemon) networkChanged(ch netmon.Change) {
	was := d.network()
	d.roaming.state.Store(&ch.State)
	d.sources.forget()
	for _, name := range ch.Lost { // before all else: packets wait for it
		d.post(node.CarrierLost{Via: name})
	}
	for _, f := range d.roaming.watch {
		f(ch)
	}
	moved, now := !slices.EqualFunc(d.ways(was), d.ways(ch.State), sameWays), time.Now()
	if len(ch.Lost) > 0 {
		d.roaming.lost = now
	}
	if !moved && ch.Routes && now.Sub(d.roaming.routed) >= routesPause && now.Sub(d.roaming.lost) >= routesOfLoss {
		d.roaming.routed = now
		moved = true
	}
	if !moved {
		return // containers come and go
	}
	addrs := texts(d.advertised())
	d.log.Info("the network changed", "reached_at", addrs, "lost", ch.Lost)
	d.post(node.LocalAddresses{Addresses: addrs})
	select {
	case d.roaming.lookUp <- struct{}{}:
	default:
	}
}

// ways are the interfaces that lead anywhere: those with a carrier and an address of more than local meaning.
func (d *Daemon) ways(s netmon.State) (ws []netmon.Interface) {
	for _, i := range s {
		i.Addresses = slices.DeleteFunc(slices.Clone(i.Addresses), func(p netip.Prefix) bool { return !d.reachable(p.Addr()) })
		if i.Carrier && !i.Loopback && len(i.Addresses) > 0 {
			ws = append(ws, i)
		}
	}
	return ws
}

func sameWays(a, b netmon.Interface) bool {
	return a.Name == b.Name && slices.Equal(a.Addresses, b.Addresses)
}

// reachable reports whether an address may mean this machine to others: it is neither local nor the mesh's own.
func (d *Daemon) reachable(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !mesh.Prefix(d.domain).Contains(a)
}

// interfaceAddrs returns the addresses by which others may reach a wildcard socket. Interfaces that are down or have no
// carrier are left out, and so are the mesh's own device and bridges to which nothing but containers is attached.
func (d *Daemon) interfaceAddrs(l netip.AddrPort) (as []netip.AddrPort) {
	s := d.network()
	for _, i := range d.ways(s) {
		if i.Name == TunName || i.Kind == "bridge" && !s.Bridged(i.Index) {
			continue
		}
		for _, p := range i.Addresses {
			if ip := p.Addr(); ip.Is4() || !l.Addr().Is4() {
				as = append(as, netip.AddrPortFrom(ip, l.Port()))
			}
		}
	}
	return as
}

// interfaceTo names the interface that leads to an address, empty if that is not known.
func (d *Daemon) interfaceTo(a netip.Addr) string {
	s := d.network()
	if zone := a.Zone(); zone != "" {
		if i, ok := s.Find(zone); ok {
			return i.Name
		}
		return ""
	}
	i, ok := s.Owner(d.sources.of(a))
	if !ok || i.Loopback {
		return ""
	}
	return i.Name
}

// tryPost hands an event to the slow loop unless that is behind: it comes again if it matters.
func (d *Daemon) tryPost(ev node.ControlEvent) {
	select {
	case d.events <- ev:
	default:
		d.framesDropped.Add(1)
	}
}

// challenged answers a neighbour's challenge where it came from, or hands its reply to ours on. The plane lets few pass.
func (d *Daemon) challenged(l mesh.Label, from netip.AddrPort, reply bool, c wire.Challenge) {
	from = mesh.PlainUnderlay(from)
	if reply {
		d.tryPost(node.Echoed{Label: l, From: from, Challenge: c})
		return
	}
	_ = d.plane.SendChallenge(l, from, true, c) // not answered, it is asked again
}

// standstill tells the slow loop if this process or the machine stood still until now. It belongs to the fast loop.
func (d *Daemon) standstill(late time.Duration) {
	slept := d.alarm.Slept()
	if slept = max(slept, late); slept < longStop {
		return
	}
	d.reports.put(node.Woke{Slept: slept})
	d.jobs.put(func() { // neither the log nor an interface may hold the fast loop up
		d.log.Warn("this process stood still", "for", slept.Round(time.Millisecond))
		d.discovery.Hurry()
	})
}
