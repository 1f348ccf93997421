package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/api"
	"x0tta6bl4/core/node"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/host/dns"
	"x0tta6bl4/host/resolver"
	"x0tta6bl4/mesh"
)

// fakeWay is a way that fails as it is told, and remembers what it was asked to do.
type fakeWay struct {
	name       string
	asks       bool
	unfit, err error
	has        []resolver.Host
	undone     int
}

func (w *fakeWay) Name() string              { return w.name }
func (w *fakeWay) Asks() bool                { return w.asks }
func (w *fakeWay) Fit(context.Context) error { return w.unfit }
func (w *fakeWay) Set(_ context.Context, n resolver.Names) error {
	if w.err == nil {
		w.has = n.Hosts
	}
	return w.err
}
func (w *fakeWay) Undo(context.Context) error {
	w.has = nil
	w.undone++
	return nil
}

// named returns a daemon with names in these ways. Its machine's resolver knows the daemon's own name while known is true.
func named(m config.DNSMode, known *bool, ways ...way) (*Daemon, *names) {
	d := bareDaemon()
	d.addr = mesh.Addr(d.domain, d.self)
	n := &d.names
	n.mode, n.ways, n.server = m, ways, nameserver.New(netip.AddrPortFrom(d.addr, dnsPort), nil)
	n.members = []mesh.NodeID{testAlpha, testBeta}
	n.status = api.Names{Name: nameserver.Name(d.domain, d.self), Resolver: api.ResolverNone}
	n.lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
		if *known && host == n.status.Name+"." {
			return []netip.Addr{d.addr}, nil
		}
		return nil, errors.New("no such host")
	}
	return d, n
}

// The best way that works is taken; when a better one appears or the present one fails, names move there and are gone
// from where they were.
func TestBestWayIsTaken(t *testing.T) {
	known := true
	resolved := &fakeWay{name: "resolved", asks: true, unfit: resolver.ErrUnfit}
	conf, hosts := &fakeWay{name: "resolvconf", unfit: resolver.ErrUnfit}, &fakeWay{name: "hosts"}
	d, n := named(config.DNSAuto, &known, resolved, conf, hosts)
	is := func(what, want string, warnings int) {
		t.Helper()
		n.keep(t.Context(), d)
		s := d.nameStatus()
		if s.Resolver != want || s.Resolves != known || len(d.nameTroubles()) != warnings {
			t.Errorf("%s: %+v, warnings %q", what, s, d.nameTroubles())
		}
		for _, w := range []*fakeWay{resolved, conf, hosts} {
			if (w.has != nil) != (w.name == want) {
				t.Errorf("%s: %s has %v", what, w.name, w.has)
			}
		}
	}
	is("the last one", "hosts", 0)
	if want := []resolver.Host{{Name: "alpha.example.mesh", Addr: d.addr}, {Name: "beta.example.mesh", Addr: mesh.Addr(d.domain, testBeta)}}; !slices.Equal(hosts.has, want) {
		t.Errorf("%v, want %v", hosts.has, want)
	}
	conf.unfit = nil
	is("a better one", "resolvconf", 0)
	conf.err = errors.New("no lock")
	is("it fails", "hosts", 0)
	resolved.unfit = nil // fit, but the node's server does not answer
	is("nobody to ask", "hosts", 0)
	hosts.unfit = fmt.Errorf("%w: it is read-only", resolver.ErrUnfit)
	is("none, but another tells the resolver", api.ResolverOther, 0)
	known = false
	n.keep(t.Context(), d)
	if s := d.nameStatus(); s.Resolver != api.ResolverOther {
		t.Errorf("a resolver that nobody has told was asked again at once: %+v", s)
	}
	n.looked = n.looked.Add(-othersEvery)
	is("none", api.ResolverNone, 0)
	if note := d.nameStatus().Note; !strings.Contains(note, "read-only") || !strings.Contains(note, "no lock") || !strings.Contains(note, "the node's own DNS does not answer") || !strings.Contains(note, "run systemd-resolved") {
		t.Errorf("note %q", note)
	}
	hosts.unfit, known = nil, true
	is("again", "hosts", 0)
	n.leave(t.Context(), d)
	if hosts.has != nil {
		t.Error("left behind at the end")
	}
}

// A way that the configuration names is the only one, and it is a warning if it does not work.
func TestWayOfTheConfiguration(t *testing.T) {
	known := false
	forbidden := fmt.Errorf("systemd-resolved: %w: Access denied", resolver.ErrForbidden)
	w := &fakeWay{name: "resolved", err: forbidden}
	d, n := named(config.DNSResolved, &known, w)
	n.keep(t.Context(), d)
	if ws := d.nameTroubles(); len(ws) != 1 || !strings.Contains(ws[0], "dns.mode: resolved") || !strings.Contains(ws[0], "polkit") {
		t.Errorf("warnings %q", ws)
	}
	w.err, known = nil, true
	n.keep(t.Context(), d)
	if ws := d.nameTroubles(); len(ws) != 0 || d.nameStatus().Resolver != "resolved" {
		t.Errorf("warnings %q, %+v", ws, d.nameStatus())
	}
}

// A resolver that was told and does not know the names is a warning when it still does not at the second look.
func TestResolverThatDoesNotKnow(t *testing.T) {
	known := false
	d, n := named(config.DNSAuto, &known, &fakeWay{name: "hosts"})
	n.keep(t.Context(), d)
	if ws := d.nameTroubles(); len(ws) != 0 || n.pause() != ownNameAgain || d.nameStatus().Resolves {
		t.Errorf("at the first look: %q, %s", ws, n.pause())
	}
	n.keep(t.Context(), d)
	if ws := d.nameTroubles(); len(ws) != 1 || !strings.Contains(ws[0], "getent hosts alpha.example.mesh") || n.pause() != resolverEvery {
		t.Errorf("at the second look: %q, %s", ws, n.pause())
	}
	known = true
	n.keep(t.Context(), d)
	if ws := d.nameTroubles(); len(ws) != 0 || !d.nameStatus().Resolves {
		t.Errorf("when it knows: %q", ws)
	}
}

// What an earlier life left is removed, but for what has been set again.
func TestLeftBehind(t *testing.T) {
	known := true
	hosts, conf := &fakeWay{name: "hosts"}, &fakeWay{name: "resolvconf"}
	d, n := named(config.DNSAuto, &known, hosts)
	n.stale = []way{hosts, conf}
	n.keep(t.Context(), d)
	n.clean(t.Context(), d)
	n.clean(t.Context(), d)
	if hosts.undone != 0 || hosts.has == nil || conf.undone != 1 {
		t.Errorf("hosts %+v, resolvconf %+v", hosts, conf)
	}
}

// Members are published when they are others than before, and this node is always among them.
func TestMembersArePublished(t *testing.T) {
	known := true
	d, n := named(config.DNSAuto, &known)
	n.members = nil
	d.done, d.asks = make(chan struct{}), make(chan func(*node.Control))
	c := node.NewControl(node.Config{Self: testAlpha, Domain: testDomain, Incarnation: 1, Boot: 1, Rand: newRand()}, time.Now())
	go func() {
		for ask := range d.asks {
			ask(c)
		}
	}()
	defer close(d.asks)
	if !d.countMembers(t.Context()) || !slices.Equal(n.members, []mesh.NodeID{testAlpha}) || n.serial == 0 {
		t.Errorf("alone: %v, serial %d", n.members, n.serial)
	}
	serial := n.serial
	if d.countMembers(t.Context()) || n.serial != serial {
		t.Error("nothing changed, and it was published again")
	}
}

// A trust domain that is no name for the DNS costs the names and nothing else, and so does the mode off.
func TestNoNamesForADomain(t *testing.T) {
	d := bareDaemon()
	d.domain = spiffeid.RequireTrustDomainFromString("a..b")
	d.opt.Config = config.Default()
	d.openNames()
	if s := d.nameStatus(); d.names.server != nil || s.Resolver != api.ResolverNone || !strings.Contains(s.Note, "no name for the DNS") || len(d.nameTroubles()) != 0 {
		t.Errorf("%+v", s)
	}
	d = bareDaemon()
	d.opt.Config.DNS.Mode = config.DNSOff
	d.openNames()
	if s := d.nameStatus(); d.names.server != nil || s.Resolver != api.ResolverOff || s.Server.IsValid() {
		t.Errorf("%+v", s)
	}
	for m, want := range map[config.DNSMode][]string{
		config.DNSAuto: {"resolved", "resolvconf", "hosts"}, config.DNSResolved: {"resolved"}, config.DNSResolvconf: {"resolvconf"}, config.DNSHosts: {"hosts"},
	} {
		d = bareDaemon()
		d.opt.Config.DNS.Mode = m
		d.openNames()
		var got []string
		for _, w := range d.names.ways {
			got = append(got, w.Name())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v", m, got)
		}
	}
}

// However a neighbour's address was come by, one of the mesh itself is not dialled: it would take a link to reach it.
func TestNoLinkOverTheMesh(t *testing.T) {
	d := bareDaemon()
	inside, outside := mesh.Addr(testDomain, testBeta), netip.MustParseAddr("2001:db8::1")
	if as, err := d.belowMesh([]netip.Addr{inside, outside}); err != nil || !slices.Equal(as, []netip.Addr{outside}) {
		t.Errorf("%v, %v", as, err)
	}
	if as, err := d.belowMesh([]netip.Addr{inside, inside.WithZone("eth0")}); !errors.Is(err, errOwnAddress) || len(as) != 0 {
		t.Errorf("%v, %v", as, err)
	}
	for a, good := range map[netip.Addr]bool{inside: false, outside: true} {
		d.opt.Config.Links.Neighbours = []netip.AddrPort{netip.AddrPortFrom(a, 7420)}
		if err := d.noMeshNames(); (err == nil) != good {
			t.Errorf("%s: %v", a, err)
		}
	}
	d.jobs, d.events, d.done, d.failures = newMailbox[func()](), make(chan node.ControlEvent, 1), make(chan struct{}), map[netip.AddrPort]string{}
	d.dialLink(node.Dial{ID: 7, Addr: netip.AddrPortFrom(inside, 7420)})
	for _, job := range d.jobs.take() {
		job()
	}
	if ev, ok := (<-d.events).(node.DialFailed); !ok || ev.Dial != 7 || ev.Reason != errOwnAddress.Error() {
		t.Errorf("%+v", ev)
	}
}
