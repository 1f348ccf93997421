package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/mesh"
)

// How host names of neighbours are looked up: while no link leads to one of its addresses, and when the network
// changed. A name that was never found is asked for sooner at first.
const (
	namesFirst = time.Second
	namesEvery = 30 * time.Second
	nameTry    = 10 * time.Second
)

// namesLoop keeps the addresses of neighbours' host names up to date until ctx ends.
func (d *Daemon) namesLoop(ctx context.Context) {
	names := d.opt.Config.Links.Names
	if len(names) == 0 {
		return
	}
	pause := namesFirst
	timer := time.NewTimer(0)
	defer timer.Stop()
	for force := true; ; {
		asked := time.Now()
		if d.lookUpAll(ctx, names, force) {
			pause = namesEvery
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return
		case <-d.roaming.lookUp:
			force, pause = true, namesFirst
			timer.Reset(max(0, time.Until(asked.Add(namesFirst)))) // an interface may come and go many times a second
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
		case <-timer.C:
			force, pause = false, min(2*pause, namesEvery)
		}
	}
}

// lookUpAll looks names up, those only that no link leads to unless all are wanted. It reports whether all were found.
func (d *Daemon) lookUpAll(ctx context.Context, names []config.HostPort, all bool) bool {
	met := map[string]bool{}
	if err := d.ask(ctx, func(c *node.Control) {
		for _, n := range names {
			met[n.String()] = c.NameMet(n.String())
		}
	}); err != nil {
		return true // going down
	}
	var wg sync.WaitGroup
	for _, n := range names {
		if all || !met[n.String()] {
			wg.Go(func() { d.lookUpName(ctx, n) })
		}
	}
	wg.Wait()
	d.roaming.mu.Lock()
	defer d.roaming.mu.Unlock()
	return len(d.roaming.names) == 0
}

// lookUpName asks the system for a name's addresses. What cannot be asked now leaves the addresses as they are.
func (d *Daemon) lookUpName(ctx context.Context, n config.HostPort) {
	try, cancel := context.WithTimeout(ctx, nameTry)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(try, "ip", n.Host)
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		ips, err = d.belowMesh(ips)
	}
	d.noteName(n.String(), err)
	if err != nil {
		return
	}
	var as []netip.AddrPort
	for _, ip := range ips {
		if a := netip.AddrPortFrom(ip.Unmap(), n.Port); !slices.Contains(as, a) {
			as = append(as, a)
		}
	}
	slices.SortFunc(as, netip.AddrPort.Compare)
	d.post(node.Resolved{Name: n.String(), Addresses: d.byEachWay(as)})
}

// noteName remembers how the last look at a name went, and tells when that is another way than before.
func (d *Daemon) noteName(name string, err error) {
	why := ""
	if err != nil {
		why = err.Error()
		if e := (*net.DNSError)(nil); errors.As(err, &e) {
			why = e.Err
		}
	}
	d.roaming.mu.Lock()
	defer d.roaming.mu.Unlock()
	was, had := d.roaming.names[name]
	switch {
	case why == "" && had:
		delete(d.roaming.names, name)
		d.log.Info("the neighbour's name was found", "name", name)
	case why != "" && why != was:
		d.roaming.names[name] = why
		d.log.Warn("the neighbour's name was not found", "name", name, "error", why)
	}
}

// belowMesh leaves out addresses of the mesh itself. Search lists and aliases can lead a name of any zone into ours, which
// this node answers for: a link over the mesh would need a link to begin with.
func (d *Daemon) belowMesh(ips []netip.Addr) ([]netip.Addr, error) {
	below := slices.DeleteFunc(slices.Clone(ips), func(ip netip.Addr) bool { return mesh.Prefix(d.domain).Contains(ip.WithZone("")) })
	if len(below) == 0 && len(ips) > 0 {
		return nil, fmt.Errorf("%w: %s", errOwnAddress, ips[0])
	}
	return below, nil
}

// errOwnAddress means that a neighbour was to be reached at an address of the mesh, which only links make reachable.
var errOwnAddress = errors.New("an address of the mesh itself is no way to a neighbour; take one of the network below")

// noMeshNames refuses neighbours whose name only the mesh itself knows, or whose address is one of the mesh.
func (d *Daemon) noMeshNames() error {
	for _, a := range d.opt.Config.Links.Neighbours {
		if mesh.Prefix(d.domain).Contains(a.Addr()) {
			return fmt.Errorf("links.neighbours: %s: %w", a, errOwnAddress)
		}
	}
	for _, h := range d.opt.Config.Links.Names {
		if h.InZone(d.domain) {
			return fmt.Errorf("links.neighbours: %s is a name of the mesh itself, which nobody can look up before links are up: "+
				"write an address, or a name of the network below", h)
		}
	}
	return nil
}

// unresolved says which host names of neighbours were not found, sorted.
func (d *Daemon) unresolved() (ws []string) {
	d.roaming.mu.Lock()
	defer d.roaming.mu.Unlock()
	for name, why := range d.roaming.names {
		ws = append(ws, "the neighbour "+name+" was not found: "+why)
	}
	slices.SortFunc(ws, cmp.Compare[string])
	return ws
}
