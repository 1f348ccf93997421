package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
)

func (a *app) identityCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "identity",
		Short: "who this node is, and whom it trusts",
		Args:  needs(),
		RunE: a.ask(func(ctx context.Context, c *api.Client, _ []string) error {
			id, err := c.Identity(ctx)
			if err != nil {
				return err
			}
			return a.show(id, func() { a.printIdentity(id) })
		}),
	}
}

func (a *app) printIdentity(id api.Identity) {
	var t table
	line := func(name string, c cell) { t.row(cell{name, bold}, c) }
	line("identity", text(id.SPIFFEID))
	line("address", text(id.Address.String()))
	line("serial", text(id.SVID.Serial))
	line("key", textf("%s, signed with %s", id.Certificate.Key, id.Certificate.Signature))
	line("issuer", text(id.Certificate.Issuer))
	line("sha256", text(id.Certificate.SHA256))
	line("valid", textf("since %s, expires %s", a.when(id.SVID.NotBefore), a.when(id.SVID.NotAfter)))
	line("renewal", text(a.when(id.SVID.RenewAt)))
	line("domain key", text(id.DomainKey))
	line("log", textf("%d entries", id.Log.Seq))
	t.print(a)
	if len(id.Log.Authorities) == 0 {
		return
	}
	fmt.Fprintln(a.out)
	t = table{}
	t.head("AUTHORITY", "STATE", "EXPIRES", "SHA256")
	for _, au := range id.Log.Authorities {
		t.row(text(au.Node), text(au.State), text(a.when(au.NotAfter)), text(au.SHA256))
	}
	t.print(a)
}
