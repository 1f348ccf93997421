package daemon

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/node"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/host/dns"
	"x0tta6bl4/host/resolver"
	"x0tta6bl4/mesh"
)

// Times of the names.
const (
	membersEvery  = time.Second      // members are counted, and who came or went is made known
	resolverEvery = 30 * time.Second // the machine's resolver is looked at, and set again if it forgot
	undoTime      = 5 * time.Second  // to take the names away at the end
	ownNameTime   = 3 * time.Second  // for the machine's resolver to know this node's name
	othersEvery   = 10 * time.Minute // it is asked again if nobody has told it: the question may go far
	ownNameAgain  = 6 * time.Second  // if it does not at once: what it has read of /etc/hosts may be five seconds old
)

const dnsPort = 53

// names makes members known by name: to whoever asks the node's own server, and to the machine's resolver.
type names struct {
	mode    config.DNSMode
	server  *nameserver.Server // nil = no names
	ways    []way              // that may be taken, the best first
	stale   []way              // that an earlier life may have left something by
	changed chan struct{}      // the server began or ceased to answer
	lookup  func(ctx context.Context, host string) ([]netip.Addr, error)

	members []mesh.NodeID // of the names loop, as the next three
	version uint64        // of the database that they are from; 0 = none
	serial  uint32
	looked  time.Time // when the resolver was last asked for the node's own name

	mu     sync.Mutex // guards what follows
	now    way        // that is taken; nil = none
	status api.Names
	misses int // looks in a row at which the resolver did not know the node's own name
}

// way makes names known to the machine's resolver (host/resolver).
type way interface {
	Name() string
	Asks() bool // the node's own server
	Fit(context.Context) error
	Set(context.Context, resolver.Names) error
	Undo(context.Context) error
}

// openNames prepares server and resolver. A domain that is no name for the DNS is used without names.
func (d *Daemon) openNames() {
	n := &d.names
	n.mode, n.changed = d.opt.Config.DNS.Mode, make(chan struct{}, 1)
	n.lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip6", host)
	}
	own := nameserver.Name(d.domain, d.self)
	hosts, conf := resolver.NewHosts(resolver.HostsFile, own), resolver.NewResolvconf(TunName)
	n.stale = []way{hosts, conf}
	n.status = api.Names{Name: own, Zone: d.domain.Name(), Mode: string(n.mode), Resolver: api.ResolverNone}
	if n.mode == config.DNSOff {
		n.status.Resolver = api.ResolverOff
		return
	}
	if _, err := nameserver.NewZones(d.domain, d.self, nil, 1); err != nil {
		n.status.Note = err.Error()
		d.log.Warn("members have no names", "error", err)
		return
	}
	n.ways = waysOf(n.mode, hosts, conf)
	n.server = nameserver.New(netip.AddrPortFrom(d.addr, dnsPort), d.namesAnswered)
}

func waysOf(m config.DNSMode, hosts, conf way) []way {
	switch m {
	case config.DNSResolved:
		return []way{resolver.NewResolved(TunName, true)}
	case config.DNSResolvconf:
		return []way{conf}
	case config.DNSHosts:
		return []way{hosts}
	}
	return []way{resolver.NewResolved(TunName, false), conf, hosts}
}

// namesAnswered hears that the server began or ceased to answer.
func (d *Daemon) namesAnswered(err error) {
	if err != nil {
		d.log.Warn("no DNS on the node's address", "error", err)
	} else {
		d.log.Info("DNS", "address", netip.AddrPortFrom(d.addr, dnsPort), "zone", d.domain.Name())
	}
	select {
	case d.names.changed <- struct{}{}:
	default:
	}
}

// namesServer answers questions until ctx ends.
func (d *Daemon) namesServer(ctx context.Context) {
	if d.names.server != nil {
		d.names.server.Run(ctx)
	}
}

// memberNames keeps server and resolver up to date until ctx ends, and then takes away what it made known.
func (d *Daemon) memberNames(ctx context.Context) {
	n := &d.names
	if n.server == nil {
		n.clean(ctx, d)
		return
	}
	t := time.NewTicker(membersEvery)
	defer t.Stop()
	var due time.Time // zero = the server has not said yet whether it answers
	for ctx.Err() == nil {
		changed := d.countMembers(ctx)
		if now := time.Now(); !due.IsZero() && (changed || !now.Before(due)) {
			n.keep(ctx, d)
			n.clean(ctx, d)
			due = now.Add(n.pause())
		}
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-n.changed:
			due = time.Now()
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	n.leave(last, d)
}

// countMembers publishes the names of the members if they are others than before. This node is always one of them.
func (d *Daemon) countMembers(ctx context.Context) (changed bool) {
	n := &d.names
	var members []mesh.NodeID
	version := n.version
	if err := d.ask(ctx, func(c *node.Control) {
		db := c.Database()
		if version = db.Version() + 1; version == n.version {
			return
		}
		for _, i := range db.Nodes() {
			members = append(members, i.ID)
		}
	}); err != nil || version == n.version {
		return false
	}
	first := n.version == 0
	n.version = version
	if !slices.Contains(members, d.self) {
		members = append(members, d.self)
		slices.SortFunc(members, mesh.NodeID.Compare)
	}
	if !first && slices.Equal(members, n.members) {
		return false
	}
	n.members = members
	if n.serial = max(n.serial+1, uint32(d.now().Unix())); n.serial == 0 { // #nosec G115 -- serial numbers wrap (RFC 1982)
		n.serial = 1
	}
	z, err := nameserver.NewZones(d.domain, d.self, members, n.serial)
	if err != nil { // openNames has tried
		d.log.Error("names", "error", err)
		return false
	}
	n.server.Publish(z)
	return true
}

// nameTable is what the resolver is to know.
func (d *Daemon) nameTable() (resolver.Names, error) {
	forward, reverse, err := nameserver.ZoneNames(d.domain)
	t := resolver.Names{Forward: forward, Reverse: reverse, Server: d.addr, Interface: TunName}
	for _, m := range d.names.members {
		t.Hosts = append(t.Hosts, resolver.Host{Name: nameserver.Name(d.domain, m), Addr: mesh.Addr(d.domain, m)})
	}
	return t, err
}

// nameStatus returns how members are known by name.
func (d *Daemon) nameStatus() api.Names {
	n := &d.names
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.status
	if n.server != nil && n.server.Serving() {
		s.Server = netip.AddrPortFrom(d.addr, dnsPort)
	}
	return s
}

// nameTroubles says what is wrong with names that were asked for. That a machine has no way to learn them is no trouble
// unless the configuration names one.
func (d *Daemon) nameTroubles() (ws []string) {
	n := &d.names
	if n.server == nil {
		return nil
	}
	if err := n.server.Err(); err != nil {
		ws = append(ws, "no DNS on the node's own address: "+err.Error())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.status.Note == "":
	case n.now == nil && n.mode != config.DNSAuto:
		ws = append(ws, fmt.Sprintf("this machine does not know members by name (dns.mode: %s): %s", n.mode, n.status.Note))
	case n.now != nil:
		ws = append(ws, n.status.Note)
	}
	return ws
}
