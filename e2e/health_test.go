package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

const monitorAt = "127.0.0.1:7421"

// get asks the daemon of a machine for a page, on TCP at a loopback address of the machine or else on the unix socket.
func (m *machine) get(ctx context.Context, tcp, path string) (code int, body string, err error) {
	dial := func(ctx context.Context, _, _ string) (c net.Conn, err error) {
		var d net.Dialer
		if tcp == "" {
			return d.DialContext(ctx, "unix", m.socket())
		}
		return c, m.do(func() error { c, err = d.DialContext(ctx, "tcp", tcp); return err })
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0, application/json")
	w, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	return w.StatusCode, string(b), err
}

// healthy waits until /healthz answers with a code and a body that has a text in it, and says how long that took.
func (m *machine) healthy(t *testing.T, limit time.Duration, code int, says string) {
	t.Helper()
	began := time.Now()
	eventually(t, limit, fmt.Sprintf("/healthz of %s is %d %q", m.id, code, says), func(ctx context.Context) error {
		got, body, err := m.get(ctx, "", "/healthz")
		if err != nil || got != code || !strings.Contains(body, says) {
			return fmt.Errorf("%d %s, %v", got, body, err)
		}
		return nil
	})
	t.Logf("%s: %d %s after %s", m.id, code, says, time.Since(began).Round(10*time.Millisecond))
}

// device does something to an interface of the machine.
func (m *machine) device(t *testing.T, name string, f func(netlink.Link) error) {
	t.Helper()
	if err := m.do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return f(l)
	}); err != nil {
		t.Fatalf("%s of %s: %v", name, m.id, err)
	}
}

// /healthz is red when traffic cannot pass, says why, and is green again when it can: the only link cut, the network
// device set down and emptied from outside.
func TestHealthzFollowsTraffic(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta"))
	alpha, beta := n.at("alpha"), n.at("beta")
	alpha.stop(t)
	alpha.configure(t, n.neighbours(alpha)+fmt.Sprintf("api: {listen: %q}\nlog: {level: debug, format: json}\n", monitorAt))
	mark := len(alpha.log())
	alpha.up(t)
	n.converged(alpha, beta)
	alpha.healthy(t, 10*time.Second, 200, `"health":"ok"`)
	n.reach(20*time.Second, alpha, beta)

	t.Run("link", func(t *testing.T) {
		alpha.device(t, "to-beta", netlink.LinkSetDown)
		alpha.healthy(t, 5*time.Second, 503, "no link is up")
		beta.healthy(t, 5*time.Second, 503, "no link is up")
		alpha.device(t, "to-beta", netlink.LinkSetUp)
		alpha.healthy(t, 20*time.Second, 200, `"health":"ok"`)
		beta.healthy(t, 20*time.Second, 200, `"health":"ok"`)
	})
	t.Run("network device", func(t *testing.T) {
		alpha.device(t, "x0t0", netlink.LinkSetDown)
		alpha.healthy(t, time.Second, 503, "ip link set dev x0t0 up")
		alpha.device(t, "x0t0", netlink.LinkSetUp) // and has lost its address and route by now
		alpha.healthy(t, 12*time.Second, 200, `"health":"ok"`)
		n.reach(20*time.Second, alpha, beta)
	})
	t.Run("monitoring", func(t *testing.T) { monitored(t, alpha) })
	alpha.stop(t)
	jsonLog(t, alpha.log()[mark:])
}

// monitored asks for what monitoring sees of a node that is well, on TCP.
func monitored(t *testing.T, m *machine) {
	for path, says := range map[string]string{
		"/livez": `{"live":true}`, "/healthz": `{"health":"ok","reasons":[]}`, "/metrics": "\nx0t_health{state=\"ok\"} 1.0\n",
	} {
		if code, body, err := m.get(t.Context(), monitorAt, path); code != 200 || err != nil || !strings.Contains(body, says) {
			t.Errorf("%s: %d %v %s", path, code, err, tail([]byte(body), 5))
		}
	}
	_, body, err := m.get(t.Context(), monitorAt, "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{
		`x0t_links{state="up"} 1.0`, `x0t_seen_by 1.0`, `neighbour="beta",state="up"} 1.0`, `x0t_peers{state="connected"} 1.0`, `x0t_lsdb_nodes 2.0`,
		"go_goroutines ", "process_cpu_seconds_total ",
	} {
		if !strings.Contains(body, says) {
			t.Errorf("/metrics lacks %s", says)
		}
	}
	for _, zero := range []string{
		`x0t_hello_bytes_total{direction="in"} 0.0`, `x0t_hello_bytes_total{direction="out"} 0.0`,
		`x0t_control_bytes_total{carrier="link",direction="in",kind="lsa"} 0.0`,
		`x0t_control_bytes_total{carrier="peer",direction="out",kind="peer_open"} 0.0`,
	} {
		if strings.Contains(body, zero) {
			t.Errorf("nothing counted: %s", zero)
		}
	}
	if !strings.HasSuffix(body, "# EOF\n") {
		t.Error("/metrics has no end")
	}
}

// jsonLog checks that every line is JSON with keys that a program can rely on, and that the changes of links and health
// are among them.
func jsonLog(t *testing.T, log []byte) {
	said := map[string]int{}
	for line := range bytes.Lines(log) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("not JSON: %s", line)
		}
		for k := range m {
			if strings.Trim(k, "abcdefghijklmnopqrstuvwxyz_0123456789") != "" {
				t.Errorf("the key %q of %s", k, line)
			}
		}
		msg, _ := m["msg"].(string)
		said[msg]++
		if strings.HasPrefix(msg, "link ") && (m["neighbour"] != "beta" || m["cause"] == nil || m["state"] == nil) {
			t.Errorf("%s", line)
		}
	}
	if said["link up"] < 2 || said["link down"] < 1 || said["health"] < 4 || said["the network device was restored"] != 1 {
		t.Errorf("logged: %v", said)
	}
}

// A node whose certificate ends is red, though its links are up, and green again when an authority renews it.
func TestHealthzFollowsTheCertificate(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta beta-gamma"), "--ttl", "10s")
	beta := n.at("beta")
	beta.healthy(t, 10*time.Second, 200, `"health":"ok"`)
	frozen := n.at("alpha").daemon.cmd.Process
	if err := frozen.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	beta.healthy(t, 20*time.Second, 503, "SVID expired at")
	if err := frozen.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	beta.healthy(t, 60*time.Second, 200, `"health":"ok"`)
}

// Every node says by whom it and the others are seen, since when, and over which path it reaches them; a node that fell
// silent is seen by nobody, and whoever talked to it says that it is not connected.
func TestWhatPeersObserve(t *testing.T) {
	need(t)
	began := time.Now()
	n := newMesh(t, cables("alpha-beta beta-gamma"))
	alpha, gamma := n.at("alpha"), n.at("gamma")
	n.reach(20*time.Second, alpha, gamma)

	var s api.Status
	var peers []api.Peer
	eventually(t, 10*time.Second, "everybody is seen", func(ctx context.Context) (err error) {
		if s, err = alpha.client.Status(ctx); err != nil {
			return err
		}
		peers, err = alpha.client.Peers(ctx)
		if err == nil && (len(s.SeenBy) != 1 || len(peers) != 2 || len(peers[0].Observers) != 2 || len(peers[1].Observers) != 1) {
			err = fmt.Errorf("we are seen by %+v, the others by %+v", s.SeenBy, peers)
		}
		return err
	})
	inLife := func(at time.Time) bool { return at.After(began) && at.Before(time.Now()) }
	if o := s.SeenBy[0]; o.Node != n.at("beta").id || !o.Mutual || !inLife(o.Since) || o.Cost == 0 {
		t.Errorf("seen by %+v", o)
	}
	p := peers[1]
	if o := p.Observers[0]; o.Node != n.at("beta").id || !o.Mutual || !inLife(o.Since) || o.Quality == mesh.QualityUnknown {
		t.Errorf("gamma is seen by %+v", o)
	}
	if p.State != api.PeerConnected || !inLife(p.StateSince) || !inLife(p.LastRx) || !inLife(p.LastTx) || p.Session != api.SessionUp {
		t.Errorf("gamma: %+v", p)
	}
	if !slices.Equal(p.Path, []mesh.NodeID{alpha.id, n.at("beta").id, gamma.id}) {
		t.Errorf("gamma is reached by %v", p.Path)
	}
	for _, argv := range [][]string{{"x0t", "status"}, {"x0t", "peers"}} {
		if out := alpha.must(t, argv...); !strings.Contains(out, "beta (") || !strings.Contains(out, "excellent)") && !strings.Contains(out, "unknown)") {
			t.Errorf("%v says nothing of who sees whom:\n%s", argv, out)
		}
	}

	if err := gamma.daemon.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "a frozen node is seen by nobody and not connected", func(ctx context.Context) error {
		peers, err := alpha.client.Peers(ctx)
		if err != nil {
			return err
		}
		if g := peers[1]; len(g.ObservedBy) != 0 || g.State != api.PeerUnreachable || len(g.Path) != 0 {
			return fmt.Errorf("%+v", g)
		}
		return nil
	})
	if err := gamma.daemon.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "a node that is back is seen again", func(ctx context.Context) error {
		peers, err := alpha.client.Peers(ctx)
		if err == nil && (len(peers[1].ObservedBy) != 1 || len(peers[1].Path) != 3) {
			err = fmt.Errorf("%+v", peers[1])
		}
		return err
	})
}
