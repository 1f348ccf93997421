package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// What lies between the node and its neighbours.

func checkPorts(_ context.Context, p *patient) []finding {
	var out []finding
	for _, at := range p.cfg.Links.Listen {
		for _, network := range []string{"udp", "tcp"} {
			out = append(out, checkPort(p, network, at))
		}
	}
	return out
}

func checkPort(p *patient, network string, at netip.AddrPort) finding {
	looked := fmt.Sprintf("%s port %s", network, at)
	ours := p.status != nil && slices.ContainsFunc(p.status.Listen, func(l netip.AddrPort) bool { return l.Port() == at.Port() })
	err := p.bind(network, at)
	switch {
	case err == nil && p.status != nil:
		return found(warn, looked, "free, although the daemon runs: it was started with another configuration").remedy("systemctl restart x0t")
	case err == nil:
		return found(good, looked, "free")
	case errors.Is(err, syscall.EADDRINUSE) && ours:
		return found(good, looked, "held by the daemon, process %d", p.status.PID)
	case errors.Is(err, syscall.EADDRINUSE):
		return found(bad, looked, "another program holds it").remedy("ss -lnp --%s 'sport = :%d' names it; end it, or choose another port in links.listen", network, at.Port())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return found(bad, looked, "this machine does not have the address").remedy("ip address; correct links.listen")
	case errors.Is(err, syscall.EACCES):
		return found(bad, looked, "%v", err).remedy("choose a port above 1023 in links.listen, or run as root")
	}
	return found(bad, looked, "%v", err).remedy("correct links.listen")
}

// leastMTU is what the underlay must carry: the least link MTU of the protocol in UDP over IPv6.
const leastMTU = wire.MinLinkMTU + 48

func checkNeighbours(ctx context.Context, p *patient) []finding {
	var out []finding
	addrs := slices.Clone(p.cfg.Links.Neighbours)
	for _, n := range p.cfg.Links.Names {
		looked := "neighbour " + n.String()
		if td := trustDomain(p); !td.IsZero() && n.InZone(td) {
			out = append(out, found(bad, looked, "the name lies in the mesh's own zone: nobody can look it up before the mesh is up").
				remedy("write the machine's address or a name outside of %s in links.neighbours", td.Name()))
			continue
		}
		found, f := resolve(ctx, p, looked, n.Host)
		out = append(out, f)
		for _, a := range found {
			addrs = append(addrs, netip.AddrPortFrom(a, n.Port))
		}
	}
	if p.member != nil {
		for _, s := range p.member.Neighbours {
			if a, err := netip.ParseAddrPort(s); err == nil && !slices.Contains(addrs, a) {
				addrs = append(addrs, a)
			}
		}
	}
	for _, a := range addrs {
		out = append(out, checkRoute(p, a))
	}
	if len(out) == 0 {
		return one(found(good, "links.neighbours", "none: this node waits for others to find it"))
	}
	return out
}

func resolve(ctx context.Context, p *patient, looked, host string) ([]netip.Addr, finding) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	addrs, err := p.lookup(ctx, host)
	if err != nil || len(addrs) == 0 {
		return nil, found(bad, looked, "the name has no address here: %v", err).remedy("getent ahosts %s; correct links.neighbours or the resolver (/etc/resolv.conf)", host)
	}
	return addrs, found(good, looked, "resolves to %s", list(addrs))
}

func checkRoute(p *patient, to netip.AddrPort) finding {
	looked := "way to " + to.String()
	mtu, dev, err := p.route(to.Addr().Unmap())
	switch {
	case err != nil:
		return found(bad, looked, "the kernel knows no way: %v", err).remedy("ip route get %s", to.Addr().Unmap().WithZone(""))
	case mtu < leastMTU:
		return found(bad, looked, "%s carries %d bytes, links need %d", dev, mtu, leastMTU).remedy("ip link set dev %s mtu %d, if the network below can", dev, leastMTU)
	}
	return found(good, looked, "by %s, MTU %d", dev, mtu)
}

func trustDomain(p *patient) spiffeid.TrustDomain {
	if p.member != nil {
		return p.member.SVID.ID.TrustDomain()
	}
	return p.cfg.Identity.TrustDomain
}

// checkNames asks the system's resolver for the node's own name.
func checkNames(ctx context.Context, p *patient) []finding {
	if p.member == nil {
		return nil // nothing to ask for
	}
	node, td := p.member.SVID.Node, p.member.SVID.ID.TrustDomain()
	name, own := node.String()+"."+td.Name(), mesh.Addr(td, node)
	looked := "name " + name
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	addrs, err := p.lookup(ctx, name)
	switch {
	case err != nil || len(addrs) == 0:
		return one(nobodyKnows(p, looked))
	case !slices.Contains(addrs, own):
		return one(found(warn, looked, "resolves to %s, not to %s of the mesh: somebody else answers for the zone", list(addrs), own).
			remedy("resolvectl query %s; getent ahosts %s", name, name))
	}
	out := one(found(good, looked, "resolves to %s", own))
	if st := p.status; st != nil && st.Names.Resolver != "" && st.Names.Resolver != api.ResolverOff && !st.Names.Server.IsValid() {
		out = append(out, found(warn, "DNS on "+own.String(), "the daemon does not answer there").remedy("ss -lnp 'sport = :53' names who holds the port; x0t status says more"))
	}
	return out
}

// nobodyKnows judges a resolver that does not know the node's own name. That is as it should be while no daemon runs, or
// one that is to make no names known.
func nobodyKnows(p *patient, looked string) finding {
	st := p.status
	switch {
	case st == nil:
		return found(good, looked, "the system's resolver does not know it; a daemon that runs makes it known")
	case st.Names.Resolver == "" || st.Names.Resolver == api.ResolverOff:
		return found(good, looked, "the system's resolver does not know it, as dns.mode is off; members are reached by address (x0t peers)")
	case st.Names.Resolver == api.ResolverNone:
		f := found(warn, looked, "the system's resolver does not know it, and the daemon found no way to tell it: %s", st.Names.Note)
		return f.remedy("have the resolver ask [%s]:53 about %s, or choose a dns.mode that this machine has; members are reached by address (x0t peers)",
			mesh.Addr(p.member.SVID.ID.TrustDomain(), p.member.SVID.Node), st.Names.Zone)
	}
	return found(warn, looked, "the system's resolver does not know it, although the daemon told it (%s)", st.Names.Resolver).
		remedy("%s", resolverRemedy[st.Names.Resolver])
}

// resolverRemedy is where to look when a resolver was told and does not know.
var resolverRemedy = map[string]string{
	api.ResolverResolved:   "resolvectl status x0t0; see that the hosts line of /etc/nsswitch.conf has resolve or dns",
	api.ResolverResolvconf: "resolvconf -l x0t0.x0t; see that the local resolver runs and reads what openresolv writes",
	api.ResolverHosts:      "grep x0t /etc/hosts; see that the hosts line of /etc/nsswitch.conf begins with files",
	api.ResolverOther:      "getent ahosts shows what it says; systemctl restart x0t has the daemon tell it",
}
