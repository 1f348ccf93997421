package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"x0tta6bl4/api"
)

// dnsAt is where a machine's daemon answers DNS.
func (m *machine) dnsAt() string { return netip.AddrPortFrom(m.addr, 53).String() }

// dial opens a connection on a machine.
func (m *machine) dial(network, to string) (c net.Conn, err error) {
	err = m.do(func() error { c, err = net.DialTimeout(network, to, 5*time.Second); return err })
	return c, err
}

// ask sends a question from a machine to a server, and returns the answer.
func (m *machine) ask(network, server, name string, kind uint16) (*dns.Msg, error) {
	c, err := m.dial(network, server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	co := &dns.Conn{Conn: c}
	q := new(dns.Msg).SetQuestion(name, kind)
	if err := co.WriteMsg(q); err != nil {
		return nil, err
	}
	r, err := co.ReadMsg()
	if err == nil && r.Id != q.Id {
		err = fmt.Errorf("the answer is to another question: %v", r)
	}
	return r, err
}

// answers fails the test unless a machine's own server says this to a question: the code, and the data of the records.
func (m *machine) answers(t *testing.T, name string, kind uint16, want string) {
	t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		r, err := m.ask(network, m.dnsAt(), name, kind)
		if err != nil {
			t.Errorf("%s: %s %s: %v", network, name, dns.TypeToString[kind], err)
			continue
		}
		got := []string{dns.RcodeToString[r.Rcode]}
		for _, rr := range r.Answer {
			got = append(got, strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
		if s := strings.Join(got, " "); s != want || r.RecursionAvailable || r.Authoritative != (r.Rcode != dns.RcodeRefused) {
			t.Errorf("%s: %s %s: %s, want %s\n%v", network, name, dns.TypeToString[kind], s, want, r)
		}
	}
}

// hostsFile is what a machine's own /etc/hosts says.
func (m *machine) hostsFile(t *testing.T) string {
	t.Helper()
	return string(must(os.ReadFile(filepath.Join(m.dir, "hosts")))(t))
}

// known waits until a machine's resolver knows others by name: they stand in /etc/hosts.
func (m *machine) known(t *testing.T, others ...*machine) {
	t.Helper()
	for _, o := range others {
		name := o.id.String() + ".e2e.mesh"
		eventually(t, 15*time.Second, fmt.Sprintf("%s knows %s", m.id, name), func(ctx context.Context) error {
			r, err := m.try(ctx, "getent", "hosts", name)
			if err == nil && (r.code != 0 || !slices.Equal(strings.Fields(r.out), []string{o.addr.String(), name})) {
				err = errors.New(r.String())
			}
			return err
		})
	}
	eventually(t, 15*time.Second, "status", func(ctx context.Context) error {
		s, err := m.client.Status(ctx)
		if err == nil && (s.Names.Resolver != api.ResolverHosts || !s.Names.Resolves || s.Names.Note != "" || s.Names.Server.String() != m.dnsAt()) {
			err = fmt.Errorf("%+v", s.Names)
		}
		return err
	})
}

// Members have names: for DNS on each node's own address, for the machine's resolver and so for every program. Nobody
// else is answered, nothing else is, and the end of the daemon takes the names away.
func TestNames(t *testing.T) {
	need(t, "curl", "getent")
	n := newMesh(t, cables("alpha-beta beta-gamma"))
	alpha, beta, gamma := n.at("alpha"), n.at("beta"), n.at("gamma")
	for _, m := range n.machines {
		m.known(t, n.machines...)
	}
	n.reach(20*time.Second, alpha, gamma)

	t.Run("dns", func(t *testing.T) {
		alpha.answers(t, "gamma.e2e.mesh.", dns.TypeAAAA, "NOERROR "+gamma.addr.String())
		alpha.answers(t, "GaMMa.E2E.mesh.", dns.TypeAAAA, "NOERROR "+gamma.addr.String())
		alpha.answers(t, "gamma.e2e.mesh.", dns.TypeA, "NOERROR")
		alpha.answers(t, "delta.e2e.mesh.", dns.TypeAAAA, "NXDOMAIN")
		alpha.answers(t, "e2e.mesh.", dns.TypeNS, "NOERROR alpha.e2e.mesh.")
		alpha.answers(t, "example.net.", dns.TypeAAAA, "REFUSED")
		reverse := must(dns.ReverseAddr(gamma.addr.String()))(t)
		alpha.answers(t, reverse, dns.TypePTR, "NOERROR gamma.e2e.mesh.")
		alpha.answers(t, "0"+reverse[1:], dns.TypePTR, "NXDOMAIN")
	})
	t.Run("others are refused", func(t *testing.T) {
		before := alpha.counters(t)["dns_refused_foreign"]
		r, err := gamma.ask("udp", alpha.dnsAt(), "beta.e2e.mesh.", dns.TypeAAAA)
		if err != nil || r.Rcode != dns.RcodeRefused || len(r.Answer) > 0 {
			t.Errorf("by UDP: %v, %v", r, err)
		}
		if r, err := gamma.ask("tcp", alpha.dnsAt(), "beta.e2e.mesh.", dns.TypeAAAA); err == nil {
			t.Errorf("by TCP: %v", r)
		}
		if now := alpha.counters(t)["dns_refused_foreign"]; now != before+2 {
			t.Errorf("counted %d", now-before)
		}
	})
	t.Run("nowhere else", func(t *testing.T) {
		under, _ := n.underlay(alpha, beta)
		for _, at := range []string{under.String(), "127.0.0.1", "::1"} {
			if r, err := alpha.ask("tcp", net.JoinHostPort(at, "53"), "beta.e2e.mesh.", dns.TypeAAAA); err == nil {
				t.Errorf("%s answers: %v", at, r)
			}
		}
	})
	t.Run("programs", func(t *testing.T) {
		gamma.serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
		if out := alpha.must(t, "curl", "-sSf", "--max-time", "20", "http://gamma.e2e.mesh:8080/"); out != "hello" {
			t.Errorf("curl: %q", out)
		}
		for _, argv := range [][]string{{"x0t", "ping", "-c", "1", "gamma.e2e.mesh"}, {"x0t", "paths", "gamma.e2e.mesh."}, {"x0t", "trace", "gamma"}} {
			if out := alpha.must(t, argv...); !strings.Contains(out, "gamma") {
				t.Errorf("%v: %s", argv, out)
			}
		}
		alpha.wantFailure(t, 2, "another zone", "x0t", "ping", "gamma.example.net")
		if out := alpha.must(t, "x0t", "status"); !strings.Contains(out, "alpha.e2e.mesh, resolver: /etc/hosts") {
			t.Errorf("status:\n%s", out)
		}
	})
	t.Run("the address comes back", func(t *testing.T) {
		beta.device(t, "x0t0", netlink.LinkSetDown)
		beta.device(t, "x0t0", netlink.LinkSetUp)
		beta.healthy(t, 15*time.Second, 200, `"health":"ok"`)
		beta.answers(t, "alpha.e2e.mesh.", dns.TypeAAAA, "NOERROR "+alpha.addr.String())
	})
	t.Run("the end", func(t *testing.T) {
		gamma.stop(t)
		if now := gamma.hostsFile(t); now != localhosts {
			t.Errorf("left behind:\n%s", now)
		}
	})
}

// A daemon that was killed leaves names behind; the next one removes or replaces them, and nothing of anybody else.
func TestNamesAfterACrash(t *testing.T) {
	need(t, "getent")
	n := newMesh(t, cables("alpha-beta"))
	alpha, beta := n.at("alpha"), n.at("beta")
	alpha.known(t, beta)
	alpha.kill()
	left := alpha.hostsFile(t)
	if !strings.Contains(left, beta.addr.String()+" beta.e2e.mesh\n") {
		t.Fatalf("nothing was left behind:\n%s", left)
	}
	alpha.hosts(t, left+"192.0.2.7 printer") // no newline
	alpha.up(t)
	n.converged(alpha, beta)
	alpha.known(t, alpha, beta)
	now := alpha.hostsFile(t)
	if strings.Count(now, "# BEGIN x0t alpha.e2e.mesh") != 1 || !strings.HasPrefix(now, localhosts) || !strings.HasSuffix(now, "\n192.0.2.7 printer") {
		t.Errorf("it says:\n%s", now)
	}
	alpha.kill()
	alpha.configure(t, n.neighbours(alpha)+"dns: {mode: off}\n")
	alpha.up(t)
	n.converged(alpha, beta)
	eventually(t, 5*time.Second, "without names", func(context.Context) error {
		if now := alpha.hostsFile(t); now != localhosts+"192.0.2.7 printer" {
			return fmt.Errorf("it says:\n%s", now)
		}
		return nil
	})
	if s := alpha.status(t); s.Names.Resolver != api.ResolverOff || s.Names.Server.IsValid() || s.Health != api.HealthOK {
		t.Errorf("%+v", s)
	}
	if _, err := alpha.ask("tcp", alpha.dnsAt(), "beta.e2e.mesh.", dns.TypeAAAA); err == nil {
		t.Error("there is DNS although it is off")
	}
}

// Links owe nothing to names: they come up where the machine's resolver is dead and another program holds the port, and
// a name that leads into the mesh is no way to a neighbour.
func TestLinksWithoutNames(t *testing.T) {
	need(t)
	n := lay(t, cables("alpha-beta"))
	alpha, beta := n.at("alpha"), n.at("beta")
	var held []interface{ Close() error }
	for _, m := range n.machines {
		m.deadResolver(t)
		l := must(m.listenTCP(netip.AddrPortFrom(netip.IPv6Unspecified(), 53)))(t)
		held = append(held, l, m.listenUDP(t, netip.AddrPortFrom(netip.IPv6Unspecified(), 53)))
	}
	n.found(alpha)
	alpha.up(t)
	n.converged(alpha)
	n.join(beta, []*machine{alpha})
	beta.up(t)
	n.converged(alpha, beta)
	n.reach(20*time.Second, alpha, beta)
	alpha.says(t, 10*time.Second, "another program holds port 53")
	for _, h := range held {
		h.Close()
	}
	alpha.says(t, 15*time.Second, "")
	alpha.answers(t, "beta.e2e.mesh.", dns.TypeAAAA, "NOERROR "+beta.addr.String())

	beta.stop(t)
	beta.hosts(t, localhosts+alpha.addr.String()+" gate.example.test\n")
	beta.configure(t, "links:\n  neighbours: [\"gate.example.test:7420\"]\n")
	beta.up(t)
	beta.says(t, 15*time.Second, "an address of the mesh itself")
	n.converged(alpha, beta) // by what beta was told at the join
	for _, l := range beta.linksTo(t, alpha) {
		if l.Remote.Addr() == alpha.addr {
			t.Errorf("a link over the mesh: %+v", l)
		}
	}
	beta.stop(t)
	beta.configure(t, fmt.Sprintf("links:\n  neighbours: [\"[%s]:7420\"]\n", alpha.addr))
	beta.wantFailure(t, 1, "an address of the mesh itself", "x0t", "up")
}

// deadResolver has a machine's resolver ask a server that does not answer.
func (m *machine) deadResolver(t *testing.T) {
	t.Helper()
	path := filepath.Join(m.dir, "resolv.conf")
	if err := os.WriteFile(path, []byte("nameserver 192.0.2.53\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := m.do(func() error { return unix.Mount(path, "/etc/resolv.conf", "", unix.MS_BIND, "") }); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) listenTCP(at netip.AddrPort) (l *net.TCPListener, err error) {
	err = m.do(func() error { l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at)); return err })
	return l, err
}
