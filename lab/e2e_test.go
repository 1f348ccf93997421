package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

// built is the directory that realX0t made; TestMain removes it.
var built string

// realX0t is the binary that X0T_TEST_BINARY names, or one that is built once.
var realX0t = sync.OnceValues(func() (string, error) {
	if given := os.Getenv("X0T_TEST_BINARY"); given != "" {
		return given, nil
	}
	dir, err := os.MkdirTemp("", "x0t-build-")
	if err != nil {
		return "", err
	}
	built = dir
	name := filepath.Join(dir, "x0t")
	out, err := exec.Command("go", "build", "-o", name, "x0tta6bl4/cmd/x0t").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build x0t: %w: %s", err, out)
	}
	return name, nil
})

func e2eOptions(t *testing.T, spec, script string) Options {
	t.Helper()
	needLab(t)
	if testing.Short() {
		t.Skip("runs real daemons for seconds")
	}
	name, err := realX0t()
	if err != nil {
		t.Fatal(err)
	}
	m, err := topology.Builtin(spec)
	if err != nil {
		t.Fatal(err)
	}
	opt := Options{Map: FromTopology(m), Binary: name, Progress: t.Output()}
	if opt.Faults, err = fault.Parse(script, opt.Map.Nodes); err != nil {
		t.Fatal(err)
	}
	return opt
}

// Every fault kind in the middle of the path between opposite nodes of a ring is left, and all pairs reach each other.
func TestMeshHeals(t *testing.T) {
	for _, k := range []Kind{fault.Cut, fault.Blackhole, fault.Oneway, fault.Kill, fault.Freeze} {
		t.Run(string(k), func(t *testing.T) {
			opt := e2eOptions(t, "ring:5", "builtin:"+string(k))
			opt.Duration = 6 * time.Second
			r, err := Run(t.Context(), opt)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := json.Marshal(r)
			t.Logf("%s", b)
			if r.Pairs != 20 || r.PairsReachable != 20 {
				t.Errorf("%d of %d pairs reachable, without %v", r.PairsReachable, r.Pairs, r.Unreachable)
			}
			f := r.Faults[0]
			if !f.Recovered || !f.PathExisted || f.Sent < 7000 || f.Lost == 0 || f.Lost > f.Sent/2 {
				t.Errorf("%+v", f)
			}
		})
	}
}

// A daemon that was killed and started again finds its way back by itself.
func TestKilledNodeComesBack(t *testing.T) {
	opt := e2eOptions(t, "line:3", "")
	l, err := Up(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ids := l.Nodes()
	for _, n := range ids {
		if err := l.Inject(Fault{Kind: fault.Restart, Target: Target{A: n}}); err != nil {
			t.Fatal(err)
		}
		if err := l.settle(t.Context(), ids); err != nil {
			t.Fatal(err)
		}
		p, err := l.Prober(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := reached(p, ids[0], ids[2], 10*time.Second); err != nil {
			t.Errorf("after the restart of %s: %v", n, err)
		}
		p.Close()
	}
}

func TestDemo(t *testing.T) {
	opt := e2eOptions(t, "demo", "")
	var out bytes.Buffer
	err := Demo(t.Context(), DemoOptions{Binary: opt.Binary, Out: &out})
	t.Logf("%s", out.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CUT", "switched to", "the same: no byte was lost", "refused it", "everything is cleaned up"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not say %q", want)
		}
	}
}

func TestDemoNeedsTwoWays(t *testing.T) {
	err := Demo(context.Background(), DemoOptions{Map: mapOf("a-b", "b-c"), Out: &bytes.Buffer{}})
	if err == nil || !strings.Contains(err.Error(), "two ways") {
		t.Errorf("%v", err)
	}
}
