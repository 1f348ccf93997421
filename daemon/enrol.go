package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/node"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/host/authority"
	"x0tta6bl4/host/disk"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

// How joins and renewals find an authority.
const (
	joinPort       = config.DefaultPort // in the mesh, whatever port the links of a node have
	enrolDial      = 3 * time.Second    // one attempt to connect
	renewPause     = 5 * time.Second    // after a failed renewal, at first; a tenth of the remaining life if that is more
	maxRelaysTried = 8
	meshHeadStart  = time.Second            // before a renewal tries neighbours as well
	relayHeadStart = 200 * time.Millisecond // of each neighbour before the next
	renewTry       = 20 * time.Second       // one renewal, all ways to the authority together
)

// newJoinServer returns what answers joins and renewals.
func (d *Daemon) newJoinServer() *authority.Server {
	return &authority.Server{
		Self: d.self, Authority: d.identity.Authority, Source: d.identity.Source, Dial: d.dialAuthority,
		Neighbours: func() []string { return texts(d.advertised()) },
		Done:       d.enrolled,
		Clock:      d.now,
	}
}

// serveJoin answers joins and renewals on TCP, at the addresses of the link sockets: as the authority, or by
// carrying the bytes to the authority that is asked for.
func (d *Daemon) serveJoin(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, len(d.joins))
	for _, l := range d.joins {
		go func() { errs <- d.joinServer.Serve(ctx, l) }()
	}
	var first error
	for range d.joins {
		if err := <-errs; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	return first
}

// listenJoin opens the TCP side of every listening address and, where none of them has it, the address in the mesh,
// at which members that are no neighbours renew.
func (d *Daemon) listenJoin() error {
	inside := netip.AddrPortFrom(d.addr, joinPort)
	addrs := d.listening()
	if !slices.ContainsFunc(addrs, func(a netip.AddrPort) bool {
		return a.Addr().Is6() && a.Addr().IsUnspecified() && a.Port() == joinPort
	}) {
		addrs = append(addrs, inside)
	}
	for _, a := range addrs {
		network := "tcp"
		if a.Addr().Is4() {
			network = "tcp4" // package net takes 0.0.0.0 for every address of IPv6, too
		}
		l, err := net.Listen(network, a.String())
		if err != nil {
			return fmt.Errorf("listen for joins on TCP %s: %w", a, err)
		}
		d.joins = append(d.joins, l)
	}
	return nil
}

func (d *Daemon) enrolled(e authority.Exchange) {
	if e.Err != nil && e.Node.IsZero() {
		// A scanner, a stranger's noise, or bytes that were carried for another: nothing to do for who reads the log.
		d.log.Debug("join or renewal failed", "remote", e.Remote, "relayed", e.Relayed, "error", e.Err)
		return
	}
	if e.Err != nil {
		d.mu.Lock()
		omitted, ok := d.joinGate.pass(time.Now()) // the node is who it says it is only if it renews: strangers can cause this too
		d.mu.Unlock()
		if ok {
			d.log.Warn("join or renewal failed", "remote", e.Remote, "node", e.Node, "relayed", e.Relayed, "error", e.Err, "omitted", omitted)
		}
		return
	}
	d.log.Info("join or renewal served", "remote", e.Remote, "node", e.Node, "relayed", e.Relayed)
}

// dialAuthority connects to the join port of an authority across the mesh. Only to an authority's: strangers may ask
// a member to relay, and must not find out by it who else is there.
func (d *Daemon) dialAuthority(ctx context.Context, a mesh.NodeID) (net.Conn, error) {
	if _, ok := d.identity.Log().Authority(a); !ok {
		return nil, fmt.Errorf("%s is no authority of %s", a, d.domain.Name())
	}
	known := false
	if err := d.ask(ctx, func(c *node.Control) { known = len(c.PathsTo(a).Paths) > 0 }); err != nil {
		return nil, err
	}
	if !known {
		return nil, fmt.Errorf("no path leads to %s", a)
	}
	return dialTCP(ctx, netip.AddrPortFrom(mesh.Addr(d.domain, a), joinPort))
}

func dialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, enrolDial)
	defer cancel()
	return new(net.Dialer).DialContext(ctx, "tcp", to.String())
}

// dialForRenewal connects to an authority across the mesh or, where that does not lead there, such as when our
// SVID expired while the machine slept and nobody accepts us any more, to any neighbour, which relays.
func (d *Daemon) dialForRenewal(ctx context.Context, a mesh.NodeID) (net.Conn, error) {
	if a == d.self {
		return nil, errors.New("this node is that authority")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	neighbours := d.neighbourAddrs(ctx)
	// Another one comes first each time: of those that answer, some lie the wrong way and can only say so.
	if n := len(neighbours); n > 0 {
		first := int(d.renewals.Add(1) % uint64(n)) // #nosec G115 -- less than n
		neighbours = slices.Concat(neighbours[first:], neighbours[:first])[:min(n, maxRelaysTried)]
	}
	answers := make(chan dialled, 1+len(neighbours))
	begun := 1
	go func() {
		conn, err := d.dialAuthority(ctx, a)
		answers <- dialled{conn, err}
	}()
	// The others start when the mesh has had its chance, soon after each other: one that is dead must not hold up the
	// next.
	head := time.NewTimer(meshHeadStart)
	defer head.Stop()
	relays := func() {
		for k, n := range neighbours[begun-1:] {
			begun++
			go func() {
				waitUntil(ctx, time.Now().Add(time.Duration(k)*relayHeadStart), time.Now)
				conn, err := dialTCP(ctx, n)
				answers <- dialled{conn, err}
			}()
		}
	}
	var errs []error
	for len(errs) < begun {
		select {
		case <-head.C:
			relays()
		case r := <-answers:
			if r.err == nil {
				go closeLate(answers, begun-len(errs)-1)
				return r.conn, nil
			}
			errs = append(errs, r.err)
			relays()
		}
	}
	return nil, errors.Join(errs...)
}

type dialled struct {
	conn net.Conn
	err  error
}

// closeLate closes the connections that come about after the one that is used.
func closeLate(answers <-chan dialled, n int) {
	for range n {
		if late := <-answers; late.err == nil {
			_ = late.conn.Close()
		}
	}
}

func (d *Daemon) neighbourAddrs(ctx context.Context) (as []netip.AddrPort) {
	_ = d.ask(ctx, func(c *node.Control) { // no answer while going down: then there is nothing to renew either
		for _, l := range c.Links() {
			as = append(as, l.Remote)
		}
		as = append(as, c.Waiting()...)
	})
	return as
}

// renewLoop keeps the SVID alive: a new one at half of its life, then everything moves over to it.
func (d *Daemon) renewLoop(ctx context.Context) {
	for waitUntil(ctx, d.identity.Source.Current().RenewAt(), d.now) {
		for err := d.renew(ctx); err != nil; err = d.renew(ctx) {
			if ctx.Err() != nil {
				return
			}
			left := d.identity.Source.Current().NotAfter().Sub(d.now())
			pause := renewalPause(left)
			d.log.Error("the SVID was not renewed", "expires_in", left.Round(time.Second).String(), "next_try_in", pause.String(), "error", err)
			d.setRenewError(err)
			if !waitUntil(ctx, d.now().Add(pause), d.now) {
				return
			}
		}
		d.setRenewError(nil)
	}
}

// renewalPause is how long to wait after a renewal failed of an SVID that has so much of its life left.
func renewalPause(left time.Duration) time.Duration {
	if left < 2*time.Minute {
		return max(left/10, time.Second)
	}
	return max(min(left/10, time.Minute), renewPause)
}

// clockCheck is how soon a wait notices that the clock was set, or that the machine woke from sleep.
const clockCheck = 15 * time.Second

// waitUntil waits for a time of the wall clock, or of the monotonic one if at carries that, and reports false if ctx
// ended first. A single timer would not do: it stands still while the machine sleeps, when certificates age.
func waitUntil(ctx context.Context, at time.Time, now func() time.Time) bool {
	for {
		left := at.Sub(now())
		if left <= 0 {
			return ctx.Err() == nil
		}
		timer := time.NewTimer(min(left, clockCheck))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}

func (d *Daemon) setRenewError(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.renewError = ""
	if err != nil {
		d.renewError = err.Error()
	}
}

func (d *Daemon) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, renewTry)
	defer cancel()
	m := d.identity
	if m.Authority != nil {
		next, err := m.Authority.RenewSelf(d.now())
		if err != nil {
			return err
		}
		return d.rotate(next)
	}
	r, err := authority.Renew(ctx, authority.RenewOptions{Source: m.Source, Log: m.Log(), Dial: d.dialForRenewal, Clock: d.now})
	if err != nil {
		return err
	}
	if err := m.adopt(r.Log); err != nil {
		return err
	}
	return d.rotate(r.SVID)
}

func (d *Daemon) rotate(next *authority.SVID) error {
	if err := d.identity.Source.Rotate(next); err != nil {
		return err
	}
	d.log.Info("new SVID", "expires", next.NotAfter())
	d.post(d.identityEvent())
	return nil
}

// adopt keeps a newer log of authorities.
func (m *Membership) adopt(l *trust.Log) error {
	m.adopting.Lock()
	defer m.adopting.Unlock()
	if l.Head() == m.Log().Head() {
		return nil
	}
	err := m.Log().Follow(l)
	switch {
	case err != nil:
	case m.Authority != nil:
		err = m.Authority.AdoptLog(l)
	default:
		err = authority.SaveLog(m.Store, l)
	}
	if err != nil {
		return err
	}
	m.setLog(l)
	return nil
}

// CreateToken implements api.Backend.
func (d *Daemon) CreateToken(_ context.Context, req api.TokenRequest) (api.Token, error) {
	a := d.identity.Authority
	if a == nil {
		return api.Token{}, api.Errorf(api.CodeNotAuthority, "%s signs for nobody", d.self).
			With("make the token on an authority: %s", d.authorityNames())
	}
	addrs := []netip.AddrPort(req.Addresses)
	if len(addrs) == 0 {
		addrs = d.advertised()
	}
	if len(addrs) == 0 {
		return api.Token{}, api.Errorf(api.CodeBadRequest, "this machine has no address that another could reach").
			With("name one with --address, or links.advertise in the configuration")
	}
	t, err := a.CreateToken(authority.TokenOptions{
		Node: req.Node, TTL: req.TTL.Duration(), Addresses: texts(addrs[:min(len(addrs), trust.MaxAddresses)]), Replace: req.Replace,
	}, d.now())
	switch {
	case errors.Is(err, authority.ErrNameTaken), errors.Is(err, authority.ErrAddressTaken):
		return api.Token{}, api.Errorf(api.CodeConflict, "%v", err)
	case errors.Is(err, authority.ErrTTL):
		return api.Token{}, api.Errorf(api.CodeBadRequest, "%v", err)
	case errors.Is(err, disk.ErrUnwritable):
		return api.Token{}, api.Errorf(api.CodeUnavailable, "the token was not made: %v", err)
	case err != nil:
		return api.Token{}, err
	}
	return api.Token{Node: t.Node, Token: t.String(), Join: "x0t join " + t.String(), Expires: t.Expires}, nil
}

func (d *Daemon) authorityNames() string {
	s := ""
	for _, a := range d.identity.Log().Authorities() {
		s += " " + a.Node.String()
	}
	return s
}

func texts(as []netip.AddrPort) []string {
	ss := make([]string, len(as))
	for i, a := range as {
		ss[i] = a.String()
	}
	return ss
}
