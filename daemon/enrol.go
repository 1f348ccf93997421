package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/node"
	"x0tta6bl4/host/authority"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

// How joins and renewals find an authority.
const (
	enrolDial  = 3 * time.Second  // one attempt to connect
	renewPause = 5 * time.Second  // after a failed renewal, at first; a tenth of the remaining life if that is more
	renewTry   = 20 * time.Second // one renewal, all ways to the authority together
)

// serveJoin answers joins and renewals on TCP, at the addresses of the link sockets: as the authority, or by
// carrying the bytes to the authority that is asked for.
func (d *Daemon) serveJoin(ctx context.Context) error {
	srv := &authority.Server{
		Self: d.self, Authority: d.identity.Authority, Source: d.identity.Source, Dial: d.dialAuthority,
		Neighbours: func() []string { return texts(d.advertised()) },
		Done:       d.enrolled,
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, len(d.joins))
	for _, l := range d.joins {
		go func() { errs <- srv.Serve(ctx, l) }()
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

// listenJoin opens the TCP side of every listening address.
func (d *Daemon) listenJoin() error {
	for _, s := range d.sockets {
		l, err := net.Listen("tcp", s.LocalAddr().String())
		if err != nil {
			return fmt.Errorf("listen for joins on TCP %s: %w", s.LocalAddr(), err)
		}
		d.joins = append(d.joins, l)
	}
	return nil
}

func (d *Daemon) enrolled(e authority.Exchange) {
	if e.Err != nil {
		d.log.Warn("join or renewal failed", "remote", e.Remote, "node", e.Node, "relayed", e.Relayed, "error", e.Err)
		return
	}
	d.log.Info("join or renewal served", "remote", e.Remote, "node", e.Node, "relayed", e.Relayed)
}

// dialAuthority connects to the join port of an authority across the mesh.
func (d *Daemon) dialAuthority(ctx context.Context, a mesh.NodeID) (net.Conn, error) {
	to := netip.AddrPortFrom(mesh.Addr(d.domain, a), d.joinPort())
	return dialTCP(ctx, to)
}

func dialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, enrolDial)
	defer cancel()
	return new(net.Dialer).DialContext(ctx, "tcp", to.String())
}

// joinPort is the TCP port that members answer joins on: the same for all, by default that of the links.
func (d *Daemon) joinPort() uint16 {
	if len(d.sockets) > 0 {
		return d.sockets[0].LocalAddr().Port()
	}
	return 7420
}

// dialForRenewal connects to an authority across the mesh or, where that does not lead there, such as when our
// SVID expired while the machine slept and nobody accepts us any more, to any neighbour, which relays.
func (d *Daemon) dialForRenewal(ctx context.Context, a mesh.NodeID) (net.Conn, error) {
	if a == d.self {
		return nil, errors.New("this node is that authority")
	}
	conn, err := d.dialAuthority(ctx, a)
	if err == nil {
		return conn, nil
	}
	errs := []error{err}
	for _, n := range d.neighbourAddrs(ctx) {
		if conn, err = dialTCP(ctx, n); err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
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
	timer := time.NewTimer(time.Until(d.identity.Source.Current().RenewAt()))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := d.renew(ctx); err != nil && ctx.Err() == nil {
			left := time.Until(d.identity.Source.Current().NotAfter())
			pause := max(min(left/10, time.Minute), renewPause)
			if left < 2*time.Minute {
				pause = max(left/10, time.Second)
			}
			d.log.Error("the SVID was not renewed", "expires in", left.Round(time.Second), "next try in", pause, "error", err)
			d.setRenewError(err)
			timer.Reset(pause)
			continue
		}
		d.setRenewError(nil)
		timer.Reset(time.Until(d.identity.Source.Current().RenewAt()))
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
		next, err := m.Authority.RenewSelf(time.Now())
		if err != nil {
			return err
		}
		return d.rotate(next)
	}
	r, err := authority.Renew(ctx, authority.RenewOptions{Source: m.Source, Log: m.Log(), Dial: d.dialForRenewal})
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
	if l.Head() == m.Log().Head() {
		return nil
	}
	if err := m.Log().Follow(l); err != nil {
		return err
	}
	if err := authority.SaveLog(m.Store, l); err != nil {
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
	}, time.Now())
	switch {
	case errors.Is(err, authority.ErrNameTaken), errors.Is(err, authority.ErrAddressTaken):
		return api.Token{}, api.Errorf(api.CodeConflict, "%v", err)
	case errors.Is(err, authority.ErrTTL):
		return api.Token{}, api.Errorf(api.CodeBadRequest, "%v", err)
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
