package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/daemon"
)

func (a *app) initCmd() *cobra.Command {
	var domain, name string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "init --trust-domain DOMAIN --name NAME",
		Short: "begin a trust domain with this machine as its first node",
		Long: "init makes the domain key of a new trust domain, makes this machine its first authority, and gives it an identity.\n" +
			"Choose a domain that you own, or a name under .internal. What is not given comes from the configuration file.",
		Args: needs(),
	}
	f := cmd.Flags()
	f.StringVar(&domain, "trust-domain", "", "name of the trust domain, for instance example.mesh")
	f.StringVar(&name, "name", "", "name of this node")
	f.DurationVar(&ttl, "ttl", 0, "life of the certificates that this authority issues (default 24h)")
	cmd.RunE = a.do(func(ctx context.Context, _ []string) error {
		opt, err := a.initOptions(domain, name, ttl)
		if err != nil {
			return err
		}
		b, err := daemon.Init(ctx, opt)
		if err != nil {
			return err
		}
		return a.show(belongingJSON(b), func() { a.printInit(b) })
	})
	return cmd
}

func (a *app) initOptions(domain, name string, ttl time.Duration) (daemon.InitOptions, error) {
	cfg, err := a.loadConfig()
	if err != nil {
		return daemon.InitOptions{}, err
	}
	opt := daemon.InitOptions{State: a.state, TrustDomain: cfg.Identity.TrustDomain, Name: cfg.Node.Name, TTL: ttl}
	if ttl == 0 {
		opt.TTL = cfg.Identity.TTL
	}
	if domain != "" {
		if strings.Contains(domain, "/") {
			return opt, usagef("--trust-domain %q: give the name only, for instance example.mesh", domain)
		}
		if opt.TrustDomain, err = spiffeid.TrustDomainFromString(domain); err != nil {
			return opt, usagef("--trust-domain %q: %v", domain, err)
		}
	}
	if name != "" {
		if opt.Name, err = nodeArg(name); err != nil {
			return opt, err
		}
	}
	switch {
	case opt.TrustDomain.IsZero():
		return opt, usagef("--trust-domain is missing: choose a domain that you own, or a name under .internal")
	case opt.Name.IsZero():
		return opt, usagef("--name is missing: name this node")
	}
	return opt, nil
}

func (a *app) printInit(b daemon.Belonging) {
	var t table
	line := func(name, s string) { t.row(cell{name, bold}, text(s)) }
	line("domain key", b.DomainKey)
	line("identity", b.SPIFFEID.String())
	line("address", b.Address.String())
	line("keys", sealing(b))
	t.print(a)
	fmt.Fprintln(a.out, "next: x0t up, then x0t token create --node NAME for each machine that is to join")
}

func sealing(b daemon.Belonging) string {
	if b.Sealing == "file" {
		return "in files of mode 0600 under " + b.State + ", not sealed: guard the disk and its copies"
	}
	return "sealed by " + b.Sealing + " under " + b.State
}

func (a *app) joinCmd() *cobra.Command {
	var file string
	var via []string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "join TOKEN",
		Short: "make this machine a node of a mesh",
		Long: "join takes the token that x0t token create printed on an authority, proves it there, and receives this node's\n" +
			"identity. Any member that can be reached passes the exchange on to the authority without being able to read it.\n" +
			"The token - reads it from standard input.",
		Args: cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&file, "token-file", "", "read the token from this file")
	f.StringArrayVar(&via, "via", nil, "ADDRESS:PORT of a member to try before those in the token; repeatable")
	f.DurationVar(&wait, "wait", 10*time.Second, "go on trying for so long while no member answers; 0 = try once")
	cmd.RunE = a.do(func(ctx context.Context, args []string) error {
		addrs, err := addrPorts("--via", via)
		if err != nil {
			return err
		}
		token, err := a.readToken(args, file)
		if err != nil {
			return err
		}
		b, err := daemon.Join(ctx, daemon.JoinOptions{
			State: a.state, Token: token, Via: addrs, Patience: wait,
			Failed: func(_ error, left time.Duration) {
				fmt.Fprintf(a.err, "no member answers yet; trying for another %s\n", max(left.Round(time.Second), time.Second))
			},
		})
		if err != nil {
			return err
		}
		return a.show(belongingJSON(b), func() { a.printJoin(b) })
	})
	return cmd
}

// maxToken is far more than any token.
const maxToken = 64 << 10

func (a *app) readToken(args []string, file string) (string, error) {
	switch {
	case len(args) == 1 && file != "":
		return "", usagef("give a token or --token-file, not both")
	case len(args) == 1 && args[0] != "-":
		return args[0], nil
	case len(args) == 1:
		return readAll(a.in, "standard input")
	case file == "":
		return "", usagef("TOKEN is missing: x0t token create on an authority prints the whole line")
	}
	f, err := os.Open(file) // #nosec G304 -- the user names the file
	if err != nil {
		return "", fmt.Errorf("token file: %w", err)
	}
	defer f.Close()
	return readAll(f, file)
}

func readAll(r io.Reader, name string) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("read the token from %s: %w", name, err)
	}
	if len(b) > maxToken {
		return "", fmt.Errorf("%s is too long for a token", name)
	}
	// The whole line that token create printed will do.
	s := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(string(b)), "x0t join "))
	if s == "" {
		return "", errors.New("no token in " + name)
	}
	return s, nil
}

func (a *app) printJoin(b daemon.Belonging) {
	var t table
	line := func(name, s string) { t.row(cell{name, bold}, text(s)) }
	line("identity", b.SPIFFEID.String())
	line("address", b.Address.String())
	line("authority", b.Authority.String())
	line("expires", a.when(b.NotAfter)+", renewed before")
	line("neighbours", strings.Join(b.Neighbours, " "))
	line("keys", sealing(b))
	t.print(a)
	if b.Skew.Abs() > 5*time.Second {
		fmt.Fprintln(a.out, a.paint(cell{"warning: this machine's clock is " + clockError(b.Skew) + " the authority's; set it", yellow}))
	}
	fmt.Fprintln(a.out, "next: x0t up")
}

// clockError says how this clock stands to one that is skew ahead of it.
func clockError(skew time.Duration) string {
	if skew > 0 {
		return span(skew) + " behind"
	}
	return span(-skew) + " ahead of"
}

type belongingOut struct {
	Node        string    `json:"node"`
	SPIFFEID    string    `json:"spiffe_id"`
	TrustDomain string    `json:"trust_domain"`
	Address     string    `json:"address"`
	DomainKey   string    `json:"domain_key"`
	Authority   string    `json:"authority"`
	NotAfter    time.Time `json:"not_after"`
	Sealing     string    `json:"sealing"`
	State       string    `json:"state"`
	Neighbours  []string  `json:"neighbours"`
	Skew        float64   `json:"skew_ms"`
}

func belongingJSON(b daemon.Belonging) belongingOut {
	return belongingOut{
		b.Node.String(), b.SPIFFEID.String(), b.Domain.Name(), b.Address.String(), b.DomainKey, b.Authority.String(), b.NotAfter.UTC(),
		b.Sealing, b.State, append([]string{}, b.Neighbours...), float64(b.Skew.Microseconds()) / 1000,
	}
}
