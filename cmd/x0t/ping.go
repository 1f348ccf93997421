package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
)

func (a *app) pingCmd() *cobra.Command {
	req := api.PingRequest{}
	cmd := &cobra.Command{
		Use:   "ping NODE",
		Short: "round trips to a node, end to end",
		Long: "ping sends encrypted probes from daemon to daemon and prints their round trips and the path they took.\n" +
			"It fails if no probe came back.",
		Args: needs("NODE"),
	}
	cmd.Flags().IntVarP(&req.Count, "count", "c", 4, "probes to send; 0 = until Ctrl-C")
	cmd.Flags().DurationVarP(&req.Interval, "interval", "i", time.Second, "time between probes")
	cmd.RunE = a.ask(func(ctx context.Context, c *api.Client, args []string) error {
		node, err := memberArg(ctx, c, args[0])
		if err != nil {
			return err
		}
		req.Node = node
		return a.ping(ctx, c, req)
	})
	return cmd
}

func (a *app) ping(ctx context.Context, c *api.Client, req api.PingRequest) error {
	if req.Count < 0 {
		return usagef("--count %d is negative; 0 pings until Ctrl-C", req.Count)
	}
	if req.Interval <= 0 {
		return usagef("--interval %s is not a time to wait between probes", req.Interval)
	}
	sum, err := c.Ping(ctx, req, a.pingReply)
	if err != nil && ctx.Err() == nil {
		return err
	}
	if a.json {
		err = writeJSON(a.out, map[string]api.PingSummary{"summary": sum})
	} else {
		a.pingSummary(sum)
		err = nil
	}
	if err == nil && sum.Received == 0 {
		err = errQuiet
	}
	return err
}

func (a *app) pingReply(r api.PingReply) error {
	if a.json {
		return writeJSON(a.out, r)
	}
	fate := ms(r.RTT)
	if r.Lost {
		fate = lost(r.Error)
	}
	line := fmt.Sprintf("seq %d  %s", r.Seq, a.paint(fate))
	if len(r.Path) > 0 {
		line += "  " + way(r.Path)
	}
	_, err := fmt.Fprintln(a.out, line)
	return err
}

func lost(why string) cell {
	if why != "" {
		why = ": " + why
	}
	return cell{"lost" + why, red}
}

func (a *app) pingSummary(s api.PingSummary) {
	fmt.Fprintf(a.out, "%s: %d sent, %d received, %s lost", s.Node, s.Sent, s.Received, percent(s.Loss))
	if s.Received > 0 {
		fmt.Fprintf(a.out, ", round trip %s / %s / %s (least, mean, most)", ms(s.Min).text, ms(s.Avg).text, ms(s.Max).text)
	}
	fmt.Fprintln(a.out)
}

func (a *app) traceCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "trace NODE",
		Short: "probe every hop on the way to a node",
		Args:  needs("NODE"),
		RunE: a.ask(func(ctx context.Context, c *api.Client, args []string) error {
			node, err := memberArg(ctx, c, args[0])
			if err != nil {
				return err
			}
			last := api.TraceHop{Lost: true}
			err = c.Trace(ctx, node, func(h api.TraceHop) error {
				last = h
				return a.traceHop(h)
			})
			if err == nil && last.Lost {
				err = errQuiet
			}
			if err == nil && last.Node != node {
				err = errors.New("the trace ended before it reached " + node.String())
			}
			return err
		}),
	}
}

func (a *app) traceHop(h api.TraceHop) error {
	if a.json {
		return writeJSON(a.out, h)
	}
	rtt := ms(h.RTT)
	if h.Lost {
		rtt = lost(h.Error)
	}
	_, err := fmt.Fprintf(a.out, "%2d  %-16s  %-39s  %s  link %s\n", h.Hop, h.Node, h.Address, a.paint(rtt), h.Quality)
	return err
}
