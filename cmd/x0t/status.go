package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
)

func (a *app) statusCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "how this node is",
		Args:  needs(),
		RunE: a.ask(func(ctx context.Context, c *api.Client, _ []string) error {
			s, err := c.Status(ctx)
			if err != nil {
				return err
			}
			return a.show(s, func() { a.printStatus(s) })
		}),
	}
}

func (a *app) printStatus(s api.Status) {
	var t table
	line := func(name string, c cell) { t.row(cell{name, bold}, c) }
	line("node", text(s.Node.String()))
	line("identity", text(s.SPIFFEID))
	line("address", text(s.Address.String()))
	line("health", healthCell(s.Health))
	for _, r := range s.Reasons {
		line("", cell{r, yellow})
	}
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
	line("daemon", textf("%s, pid %d, up %s", s.Version, s.PID, span(s.Uptime.Duration())))
	t.print(a)
	for _, w := range s.Warnings {
		fmt.Fprintln(a.out, a.paint(cell{"warning: " + w, yellow}))
	}
	for _, r := range s.Refused {
		fmt.Fprintln(a.out, a.paint(cell{fmt.Sprintf("refused: %s %s: %s", r.Remote, a.when(r.At), r.Reason), yellow}))
	}
}

func (a *app) peersCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "peers",
		Short: "the other members, and how they are reached",
		Args:  needs(),
		RunE: a.ask(func(ctx context.Context, c *api.Client, _ []string) error {
			ps, err := c.Peers(ctx)
			if err != nil {
				return err
			}
			return a.show(ps, func() { a.printPeers(ps) })
		}),
	}
}

func (a *app) printPeers(ps []api.Peer) {
	if len(ps) == 0 {
		fmt.Fprintln(a.out, "no other members known; admit one with: x0t token create --node NAME")
		return
	}
	var t table
	t.head("NODE", "ADDRESS", "SESSION", "RTT", "SEEN", "LINKED TO", "PATH")
	for _, p := range ps {
		path := cell{way(p.Path), plain}
		if len(p.Path) == 0 {
			path = cell{"unreachable", red}
		}
		t.row(text(p.Node.String()), text(p.Address.String()), sessionCell(p.Session), ms(p.RTT), text(a.when(p.LastSeen)),
			text(names(p.ObservedBy)), path)
	}
	t.print(a)
}

func (a *app) linksCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "links",
		Short: "this node's links and what was measured on them",
		Args:  needs(),
		RunE: a.ask(func(ctx context.Context, c *api.Client, _ []string) error {
			ls, err := c.Links(ctx)
			if err != nil {
				return err
			}
			return a.show(ls, func() { a.printLinks(ls) })
		}),
	}
}

func (a *app) printLinks(ls []api.Link) {
	if len(ls) == 0 {
		fmt.Fprintln(a.out, "no links; name neighbours in the configuration under links.neighbours")
		return
	}
	var t table
	t.head("LABEL", "NEIGHBOUR", "STATE", "SINCE", "RTT", "JITTER", "LOSS IN/OUT", "QUALITY", "COST", "MTU", "RX", "TX", "REMOTE")
	for _, l := range ls {
		loss := strings.TrimSuffix(percent(l.LossIn), " %") + "/" + percent(l.LossOut)
		remote := l.Remote.String()
		if l.Error != "" {
			remote += "  " + l.Error
		}
		t.row(textf("%d", l.Label), text(l.Neighbour.String()), linkStateCell(l.State), text(a.when(l.Since)), ms(l.RTT), ms(l.Jitter),
			text(loss), text(l.Quality.String()), text(cost(l.Cost)), textf("%d", l.MTU), text(size(l.RxBytes)), text(size(l.TxBytes)), text(remote))
	}
	t.print(a)
}

func (a *app) pathsCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "paths NODE",
		Short: "the ways to a node",
		Args:  needs("NODE"),
		RunE: a.ask(func(ctx context.Context, c *api.Client, args []string) error {
			node, err := nodeArg(args[0])
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
	var t table
	t.head("STATE", "COST", "MTU", "PATH")
	for _, path := range p.Paths {
		t.row(pathStateCell(path.State), text(cost(path.Cost)), textf("%d", path.MTU), text(way(path.Nodes)))
	}
	t.print(a)
}
