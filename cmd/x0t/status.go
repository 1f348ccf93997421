package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
)

func (a *app) statusCmd() *cobra.Command {
	return a.watchable("status", "how this node is", func(ctx context.Context, c *api.Client) (any, func(), error) {
		s, err := c.Status(ctx)
		return s, func() { a.printStatus(s) }, err
	})
}

func (a *app) printStatus(s api.Status) {
	var t table
	line := func(name string, c cell) { t.row(cell{name, bold}, c) }
	line("node", text(s.Node.String()))
	line("identity", text(s.SPIFFEID))
	line("address", text(s.Address.String()))
	health := healthCell(s.Health)
	if !s.HealthSince.IsZero() {
		health.text += " for " + span(a.now().Sub(s.HealthSince))
	}
	line("health", health)
	for _, r := range s.Reasons {
		line("", cell{r, health.colour})
	}
	line("seen by", a.seenBy(s.SeenBy))
	line("policy", text(s.Policy))
	line("members", textf("%d known, topology of %d (digest %.12s)", s.Members, s.LSDBNodes, s.LSDBDigest))
	line("links", textf("%d up of %d", s.LinksUp, s.LinksTotal))
	line("sessions", textf("%d", s.Sessions))
	line("svid", textf("expires %s, renewal %s", a.when(s.SVID.NotAfter), a.when(s.SVID.RenewAt)))
	if s.Authority {
		line("authority", textf("yes, keys %s", s.Sealing))
	} else {
		line("authority", textf("no; own keys %s", s.Sealing))
	}
	if s.TUN == "" {
		line("tun", text("none"))
	} else {
		line("tun", textf("%s, MTU %d", s.TUN, s.MTU))
	}
	line("listens", text(list(s.Listen)))
	if s.Names.Resolver != "" { // not of a daemon from before there were names
		line("names", namesCell(s.Names))
	}
	if s.Names.Note != "" {
		line("", cell{s.Names.Note, yellow})
	}
	if len(s.Overridden) > 0 {
		line("config", cell{"the file overrides what nodes share: " + strings.Join(s.Overridden, ", ") + "; see x0t config show", yellow})
	}
	if len(s.Protect) > 0 {
		line("protects", text(strings.Join(s.Protect, ", ")))
	}
	if len(s.OnePath) > 0 {
		line("", cell{"protected traffic has only one path to " + strings.ReplaceAll(list(s.OnePath), " ", ", "), yellow})
	}
	line("daemon", textf("%s, pid %d, up %s", s.Version, s.PID, span(s.Uptime.Duration())))
	t.print(a)
	for _, w := range s.Warnings {
		fmt.Fprintln(a.out, a.paint(cell{"warning: " + w, yellow}))
	}
	for _, r := range s.Refused {
		fmt.Fprintln(a.out, a.paint(cell{fmt.Sprintf("refused: %s %s: %s", r.Remote, a.when(r.At), r.Reason), yellow}))
	}
}

// namesCell says under which name members know the node, and how this machine's resolver learns such names.
func namesCell(n api.Names) cell {
	how := map[string]string{
		api.ResolverResolved: "systemd-resolved", api.ResolverResolvconf: "told by openresolv", api.ResolverHosts: "/etc/hosts",
		api.ResolverOther: "knows the names, not by x0t", api.ResolverNone: "does not know the names",
	}[n.Resolver]
	if how == "" {
		return cell{"none (dns.mode: off)", plain}
	}
	c := cell{n.Name + ", resolver: " + how, plain}
	if !n.Resolves {
		c.colour = yellow
	}
	if !n.Server.IsValid() {
		c.text, c.colour = c.text+", no DNS", yellow
	}
	return c
}

func (a *app) peersCmd() *cobra.Command {
	return a.watchable("peers", "the other members, how they are reached and who sees them", func(ctx context.Context, c *api.Client) (any, func(), error) {
		ps, err := c.Peers(ctx)
		return ps, func() { a.printPeers(ps) }, err
	})
}

func (a *app) printPeers(ps []api.Peer) {
	if len(ps) == 0 {
		fmt.Fprintln(a.out, "no other members known; admit one with: x0t token create --node NAME")
		return
	}
	var t table
	t.head("NODE", "ADDRESS", "STATE", "SINCE", "RTT", "LAST RX", "SEEN BY", "PATH")
	for _, p := range ps {
		path := cell{way(p.Path), plain}
		if len(p.Path) == 0 {
			path = cell{"no path", red}
		}
		t.row(text(p.Node.String()), text(p.Address.String()), peerStateCell(p.State), text(a.when(p.StateSince)), ms(p.RTT),
			text(a.when(p.LastRx)), a.seenBy(p.Observers), path)
	}
	t.print(a)
}

// seenBy says who announces a link with a node, since when, and how good it is; the colour is that of the best.
func (a *app) seenBy(os []api.Observer) cell {
	if len(os) == 0 {
		return cell{"nobody", red}
	}
	c := cell{"", red}
	parts := make([]string, len(os))
	for i, o := range os {
		how := o.Quality.String()
		switch {
		case !o.Mutual:
			how = "one-sided"
		case o.Suspect:
			how = "suspect"
			if c.colour == red {
				c.colour = yellow
			}
		default:
			c.colour = plain
		}
		if !o.Since.IsZero() {
			how = span(a.now().Sub(o.Since)) + ", " + how
		}
		parts[i] = fmt.Sprintf("%s (%s)", o.Node, how)
	}
	c.text = strings.Join(parts, ", ")
	return c
}

func (a *app) linksCmd() *cobra.Command {
	return a.watchable("links", "this node's links and what was measured on them", func(ctx context.Context, c *api.Client) (any, func(), error) {
		ls, err := c.Links(ctx)
		return ls, func() { a.printLinks(ls) }, err
	})
}

func (a *app) printLinks(ls []api.Link) {
	if len(ls) == 0 {
		fmt.Fprintln(a.out, "no links; name neighbours in the configuration under links.neighbours, or interfaces to find them on under links.interfaces")
		return
	}
	var t table
	t.head("LABEL", "NEIGHBOUR", "STATE", "SINCE", "FLAPS", "RTT", "JITTER", "LOSS IN/OUT", "QUALITY", "COST", "MTU", "RX", "TX", "REMOTE")
	for _, l := range ls {
		loss := strings.TrimSuffix(percent(l.LossIn), " %") + "/" + percent(l.LossOut)
		remote := underlay(l.Remote)
		if l.Error != "" {
			remote += "  " + l.Error
		}
		t.row(textf("%d", l.Label), text(l.Neighbour.String()), linkStateCell(l.State), text(a.when(l.Since)), textf("%d", l.Flaps), ms(l.RTT), ms(l.Jitter),
			text(loss), text(l.Quality.String()), text(cost(l.Cost)), textf("%d", l.MTU), text(size(l.RxBytes)), text(size(l.TxBytes)), text(remote))
	}
	t.print(a)
}

// underlay writes an underlay address for people: IPv4 with the interface that it is reached by as 192.0.2.1%wlan0, where
// netip shows the v4-mapped form that it needs for the zone.
func underlay(a netip.AddrPort) string {
	if ip := a.Addr(); ip.Is4In6() && ip.Zone() != "" {
		return fmt.Sprintf("%s%%%s:%d", ip.Unmap(), ip.Zone(), a.Port())
	}
	return a.String()
}

func (a *app) pathsCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "paths NODE",
		Short: "the ways to a node",
		Args:  needs("NODE"),
		RunE: a.ask(func(ctx context.Context, c *api.Client, args []string) error {
			node, err := memberArg(ctx, c, args[0])
			if err != nil {
				return err
			}
			p, err := c.Paths(ctx, node)
			if err != nil {
				return err
			}
			return a.show(p, func() { a.printPaths(p) })
		}),
	}
}

func (a *app) printPaths(p api.Paths) {
	if len(p.Paths) == 0 {
		fmt.Fprintf(a.out, "%s is unreachable now\n", p.Node)
		return
	}
	shared := map[api.Disjointness]string{
		api.DisjointNode:    "share no node and no link",
		api.DisjointLink:    "share no link",
		api.DisjointMaximal: "share as little as the topology allows",
	}
	said := "only one path"
	if s, ok := shared[p.Disjoint]; ok {
		said = fmt.Sprintf("%d paths, which %s", len(p.Paths), s)
	}
	fmt.Fprintf(a.out, "%s (%s): %s\n", p.Node, p.Address, said)
	if risk := sharedRisk(p); risk != "" {
		fmt.Fprintln(a.out, risk)
	}
	if p.Protect && carriers(p) == 1 {
		fmt.Fprintln(a.out, a.paint(cell{"protected traffic has only one path", yellow}))
	}
	var t table
	t.head("STATE", "COST", "MTU", "LOSS", "CARRIES", "PATH")
	for _, path := range p.Paths {
		loss := "-"
		if path.Loss != nil {
			loss = percent(*path.Loss)
		}
		t.row(pathStateCell(path.State), text(cost(path.Cost)), textf("%d", path.MTU), text(loss), text(carried(path)), text(way(path.Nodes)))
	}
	t.print(a)
}

// carriers counts the paths that protected packets go by.
func carriers(p api.Paths) (n int) {
	for _, path := range p.Paths {
		if path.Protected {
			n++
		}
	}
	return n
}

// carried says what goes by a path: its share of the flows, copies, protected packets; "-" if nothing does.
func carried(p api.Path) string {
	var what []string
	if p.Share > 0 {
		what = append(what, percent(p.Share))
	}
	if p.Copies {
		what = append(what, "copies")
	}
	if p.Protected {
		what = append(what, "protected")
	}
	return cmp.Or(strings.Join(what, ", "), "-")
}

// sharedRisk says which shared-risk groups more than one path uses, "" if none.
func sharedRisk(p api.Paths) string {
	var avoidable []string
	for _, g := range p.SharedGroups {
		if !slices.Contains(p.EndGroups, g) {
			avoidable = append(avoidable, g)
		}
	}
	var said []string
	if len(avoidable) > 0 {
		said = append(said, "they share the risk of "+strings.Join(avoidable, ", "))
	}
	if len(p.EndGroups) > 0 {
		said = append(said, "every link of one end is in "+strings.Join(p.EndGroups, ", "))
	}
	return strings.Join(said, "; ")
}
