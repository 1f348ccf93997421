package resolver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// commandTime is how long a program of the system may take: openresolv restarts resolvers.
const commandTime = 10 * time.Second

// verdictLife is how long the program is believed to be what it was: asking it starts a shell.
const verdictLife = 10 * time.Minute

// Resolvconf gives openresolv a private record: its local resolver, such as unbound or dnsmasq, asks the node about the
// zones, and nothing of it gets into resolv.conf. Without a local resolver there is nobody who could ask one server about
// some names and another about the rest, and the node's must not be asked about the rest.
type Resolvconf struct {
	iface string
	path  []string // folders in which the program may be
	last  string   // what was set

	verdict error // of the last look at the program
	looked  time.Time
}

// NewResolvconf returns the way of openresolv for a mesh interface.
func NewResolvconf(iface string) *Resolvconf {
	return &Resolvconf{iface: iface, path: append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin")}
}

// Name says which way this is.
func (*Resolvconf) Name() string { return "resolvconf" }

func (r *Resolvconf) record() string { return r.iface + ".x0t" }

// Asks reports whether this way has the node's own server asked.
func (*Resolvconf) Asks() bool { return true }

// Fit returns nil if openresolv with a local resolver is there, else ErrUnfit, wrapped.
func (r *Resolvconf) Fit(ctx context.Context) error {
	if now := time.Now(); r.looked.IsZero() || now.Sub(r.looked) >= verdictLife {
		r.verdict, r.looked = r.look(ctx), now
	}
	return r.verdict
}

func (r *Resolvconf) look(ctx context.Context) error {
	version, err := r.run(ctx, "", "--version")
	first, _, _ := strings.Cut(version, "\n")
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%w: there is no program resolvconf", ErrUnfit)
	case !strings.HasPrefix(first, "openresolv "):
		return fmt.Errorf("%w: the program resolvconf here is not openresolv: it cannot send the questions of one zone to one server", ErrUnfit)
	}
	configured, err := r.run(ctx, "", "-V")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	if !hasLocal(configured) {
		return fmt.Errorf("%w: openresolv has no local resolver that could ask one server about one zone: "+
			"set name_servers in /etc/resolvconf.conf to that of unbound or dnsmasq", ErrUnfit)
	}
	return nil
}

// hasLocal reports whether the variables that resolvconf -V prints name a server on this machine.
func hasLocal(variables string) bool {
	for line := range strings.Lines(variables) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key == "NAMESERVERS" || key == "LOCALNAMESERVERS" {
			for _, s := range strings.Fields(strings.Trim(value, `'"`)) {
				if a, err := netip.ParseAddr(s); err == nil && a.IsLoopback() {
					return true
				}
			}
		}
	}
	return false
}

// Set makes the record, or replaces it.
func (r *Resolvconf) Set(ctx context.Context, n Names) error {
	text := fmt.Sprintf("# of x0t, which removes it when it ends\nsearch %s\nnameserver %s\n", strings.Join(n.zones(), " "), n.Server)
	if text == r.last {
		return nil
	}
	if _, err := r.run(ctx, text, "-p", "-a", r.record()); err != nil {
		return err
	}
	r.last = text
	return nil
}

// Undo removes the record, whoever made it.
func (r *Resolvconf) Undo(ctx context.Context) error {
	r.last = ""
	if out, err := r.run(ctx, "", "--version"); err != nil || !strings.HasPrefix(out, "openresolv ") {
		return nil // nothing of ours can be there
	}
	out, err := r.run(ctx, "", "-l", r.record())
	if err != nil || strings.TrimSpace(out) == "" {
		return nil // -l fails where there is no record
	}
	_, err = r.run(ctx, "", "-f", "-d", r.record())
	return err
}

func (r *Resolvconf) run(ctx context.Context, in string, args ...string) (string, error) {
	program, err := r.find()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...) // #nosec G204 -- a program of the system with our own words
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = strings.NewReader(in), &out, &errs, time.Second
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %.200s", program, strings.Join(args, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.String(), nil
}

func (r *Resolvconf) find() (string, error) {
	for _, dir := range r.path {
		p := filepath.Join(dir, "resolvconf")
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", exec.ErrNotFound
}
