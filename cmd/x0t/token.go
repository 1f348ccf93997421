package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
)

func (a *app) tokenCmd() *cobra.Command {
	cmd := a.group(&cobra.Command{Use: "token", Short: "join tokens"})
	cmd.AddCommand(a.tokenCreateCmd())
	return cmd
}

func (a *app) tokenCreateCmd() *cobra.Command {
	var node string
	var ttl time.Duration
	var replace bool
	var addresses []string
	cmd := &cobra.Command{
		Use:   "create --node NAME",
		Short: "print the one line that makes a machine join",
		Long: "create prints the command to run on the machine that is to join. It works once, until the token expires, and\n" +
			"only an authority can make it. Whoever has the line can join: treat it as a password.",
		Args: needs(),
	}
	f := cmd.Flags()
	f.StringVar(&node, "node", "", "name of the node that is to join")
	f.DurationVar(&ttl, "ttl", 0, "how long the token is good for (default 10m)")
	f.BoolVar(&replace, "replace", false, "allow the name of a node that exists; that node is turned out")
	f.StringArrayVar(&addresses, "address", nil, "ADDRESS:PORT where the machine finds a member (default: this node's own); repeatable")
	cmd.RunE = a.ask(func(ctx context.Context, c *api.Client, _ []string) error {
		req := api.TokenRequest{TTL: api.Millis(ttl), Replace: replace}
		var err error
		if node == "" {
			return usagef("--node is missing: name the node that is to join")
		}
		if req.Node, err = nodeArg(node); err != nil {
			return err
		}
		if ttl < 0 {
			return usagef("--ttl %s is negative", ttl)
		}
		if req.Addresses, err = addrPorts("--address", addresses); err != nil {
			return err
		}
		t, err := c.CreateToken(ctx, req)
		if err != nil {
			return err
		}
		return a.show(struct {
			Token   string    `json:"token"`
			Join    string    `json:"join"`
			Expires time.Time `json:"expires"`
		}{t.Token, t.Join, t.Expires}, func() { a.printToken(t) })
	})
	return cmd
}

// printToken keeps stdout to the one line that is to be copied.
func (a *app) printToken(t api.Token) {
	fmt.Fprintln(a.out, t.Join)
	fmt.Fprintf(a.err, "run this as root on %s; it works once and expires %s (%s)\n", t.Node, a.when(t.Expires), t.Expires.Format(time.RFC3339))
}

func addrPorts(flag string, in []string) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, s := range in {
		ap, err := netip.ParseAddrPort(s)
		if err != nil || ap.Port() == 0 || ap.Addr().IsUnspecified() {
			return nil, usagef("%s %q is not ADDRESS:PORT, for instance 192.0.2.1:7420 or [2001:db8::1]:7420", flag, s)
		}
		out = append(out, ap)
	}
	return out, nil
}
