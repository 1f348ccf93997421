package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

// fakeX0t stands in for x0t in maps of two nodes: its "mesh addresses" are those of the link, so that the kernel
// carries what a mesh would carry. It keeps no promise but those that the lab looks at.
func fakeX0t(args []string) error {
	state, socket := os.Getenv("X0T_STATE"), os.Getenv("X0T_SOCKET")
	switch strings.Join(args[:min(2, len(args))], " ") {
	case "init --trust-domain":
		return os.Mkdir(state, 0o700)
	case "token create":
		if _, err := os.Stat(socket); err != nil {
			return err
		}
		fmt.Println(`{"token":"secret"}`)
		return nil
	case "join --via":
		if args[len(args)-1] != "secret" {
			return errors.New("wrong token")
		}
		if os.Getenv("X0T_LAB_TEST_JOIN") == "refuse" {
			return errors.New("the authority is in a bad mood")
		}
		return os.Mkdir(state, 0o700)
	case "up":
		if os.Getenv("X0T_LAB_TEST_UP") == "fail" && strings.Contains(state, "/b/") {
			return errors.New("no identity, no mesh")
		}
		return fakeDaemon(socket)
	}
	return fmt.Errorf("unknown verb %q", args)
}

func fakeDaemon(socket string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	self, peer, err := fakeEnds()
	if err != nil {
		return err
	}
	os.Remove(socket) // of a daemon that was killed
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	first := os.Getenv("X0T_LAB_TEST_FIRST") // a member that is alone knows itself only
	handle := http.NewServeMux()
	handle.HandleFunc("/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		s := api.Status{Address: self, LSDBNodes: 2, LSDBDigest: "d", LinksUp: 1}
		if _, err := os.Stat(strings.Replace(socket, "/a/", "/b/", 1)); err != nil && first != "" {
			s.LSDBNodes, s.LinksUp = 1, 0
		}
		_ = json.NewEncoder(w).Encode(s)
	})
	handle.HandleFunc("/v1/paths", func(w http.ResponseWriter, r *http.Request) {
		to := mesh.MustNodeID(r.URL.Query().Get("node"))
		_ = json.NewEncoder(w).Encode(api.Paths{Node: to, Paths: api.List[api.Path]{{State: api.PathActive, Nodes: []mesh.NodeID{peer, to}}}})
	})
	handle.HandleFunc("/v1/peers", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode([]api.Peer{{Node: peer, Path: api.List[mesh.NodeID]{peer, peer}}})
	})
	srv := &http.Server{Handler: handle, ReadHeaderTimeout: time.Second}
	context.AfterFunc(ctx, func() { srv.Close() })
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// fakeEnds returns the address of the only interface besides loopback, and the name of this node, which is a or b.
func fakeEnds() (self netip.Addr, name mesh.NodeID, err error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return self, name, err
	}
	for _, i := range ifs {
		to, ok := strings.CutPrefix(i.Name, "to-")
		if !ok {
			continue
		}
		as, err := i.Addrs()
		if err != nil {
			return self, name, err
		}
		p, err := netip.ParsePrefix(as[0].String())
		return p.Addr(), mesh.MustNodeID(map[string]string{"a": "b", "b": "a"}[to]), err
	}
	return self, name, errors.New("no interface")
}

func fakeOptions(t *testing.T, script string) Options {
	needLab(t)
	t.Setenv(childEnv, "x0t")
	t.Setenv("X0T_LAB_TEST_FIRST", "1")
	m := mapOf("a-b")
	fs, err := fault.Parse(script, m.Nodes)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Map: m, Faults: fs, Duration: 3 * time.Second, Progress: t.Output(), Keep: filepath.Join(t.TempDir(), "logs")}
}

func TestRun(t *testing.T) {
	opt := fakeOptions(t, "blackhole path:a-b at 1s for 500ms\nkill node:b at 2s\n")
	r, err := Run(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(r)
	t.Logf("%s", b)
	if r.Pairs != 2 || r.PairsReachable != 2 || r.Nodes != 2 || r.Links != 1 || r.Converged <= 0 {
		t.Errorf("%+v", r)
	}
	if p := r.FirstPacket; p.P50.Duration() < DefaultDelay || p.P99.Duration() > time.Second {
		t.Errorf("first packet %+v", p)
	}
	hole, kill := r.Faults[0], r.Faults[1]
	if hole.Target != "link:a-b" || hole.Recovered || hole.PathExisted || hole.Sent < 900 || hole.Lost < hole.Sent*8/10 || hole.Outage.Duration() < 400*time.Millisecond {
		t.Errorf("blackhole: %+v", hole)
	}
	// The fake's packets do not go through the daemon, so its death is not felt.
	if kill.Target != "node:b" || kill.Lost != 0 || kill.Outage.Duration() > 100*time.Millisecond {
		t.Errorf("kill: %+v", kill)
	}
	if r.Availability.Raw > 0.9 || r.Availability.WithPath < 0.99 {
		t.Errorf("availability %+v", r.Availability)
	}
	if logs, _ := filepath.Glob(filepath.Join(opt.Keep, "*.log")); len(logs) != 2 {
		t.Errorf("kept logs: %v", logs)
	}
}

func TestRunWithoutFaultsIsShort(t *testing.T) {
	opt := fakeOptions(t, "")
	opt.Duration = 0
	r, err := Run(context.Background(), opt)
	if err != nil || r.Faults == nil || r.Availability != nil || r.PairsReachable != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestRunSaysWhatFailed(t *testing.T) {
	for name, c := range map[string]struct {
		script, env, value string
		duration           time.Duration
		want               string
	}{
		"a daemon that dies":    {"", "X0T_LAB_TEST_UP", "fail", 0, "no identity, no mesh"},
		"a join that fails":     {"", "X0T_LAB_TEST_JOIN", "refuse", 0, "the authority is in a bad mood"},
		"a fault after the end": {"cut link:a-b at 1h", "X", "", 0, "longer --duration"},
		"a path without relay":  {"kill path:a-b at 0s", "X", "", 0, "no relay"},
	} {
		t.Run(name, func(t *testing.T) {
			opt := fakeOptions(t, c.script)
			t.Setenv(c.env, c.value)
			if _, err := Run(context.Background(), opt); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestNodeFaults(t *testing.T) {
	l, err := Up(context.Background(), fakeOptions(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b := id("b")
	before, err := l.Usage(b)
	if err != nil || before.RSS == 0 {
		t.Errorf("usage %+v, %v", before, err)
	}
	answers := func(want bool, what string) {
		t.Helper()
		wait := time.Second
		if want {
			wait = 20 * time.Second
		}
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		for {
			_, err := l.Status(ctx, b)
			if (err == nil) == want {
				return
			}
			if ctx.Err() != nil {
				t.Fatalf("%s: status %v", what, err)
			}
		}
	}
	for _, k := range []Kind{fault.Kill, fault.Freeze, fault.Restart} {
		f := Fault{Kind: k, Target: Target{A: b}}
		was := l.nodes[b].running().pid()
		if err := l.Inject(f); err != nil {
			t.Fatal(err)
		}
		answers(k == fault.Restart, string(k))
		if err := l.Mend(f); err != nil {
			t.Fatal(err)
		}
		answers(true, "after "+string(k))
		if same := l.nodes[b].running().pid() == was; same != (k == fault.Freeze) {
			t.Errorf("%s: same process: %v", k, same)
		}
		if len(l.broken().nodes) != 0 {
			t.Errorf("%s: still broken: %v", k, l.broken())
		}
	}
	if err := l.Inject(Fault{Kind: fault.Kill, Target: Target{A: id("z")}}); err == nil {
		t.Error("killed a node that is not there")
	}
	if err := l.Inject(Fault{Kind: fault.Cut, Target: Target{A: id("a"), B: b, Path: true}}); !errors.Is(err, fault.ErrSyntax) {
		t.Errorf("unresolved path: %v", err)
	}
}
