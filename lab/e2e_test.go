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

// One run with a fault of each kind that changes packets: the report says what was done to how many, and what a mesh
// on top of that noticed.
func TestScriptOfManyKinds(t *testing.T) {
	opt := e2eOptions(t, "ring:5", `
		jitter     path:n1-n3 20ms        at 500ms  for 900ms
		duplicate  path:n1-n3 25%         at 1500ms for 900ms
		reorder    path:n1-n3 25%         at 2500ms for 900ms
		loss       path:n1-n3 10%         at 3500ms for 900ms
		greydrop   path:n1-n3 10%         at 4500ms for 900ms
		flap       path:n1-n3 300ms/200ms at 5500ms for 1400ms
		partition  n1,n4,n5|n2,n3         at 7s     for 500ms`)
	opt.Duration = 9 * time.Second
	r, err := Run(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(r)
	t.Logf("%s", b)
	for _, f := range r.Faults {
		want := struct {
			engine  string
			most    float64 // share of the probes that may be lost
			existed bool
		}{engineRelay, 0.02, true}
		switch f.Kind {
		case fault.Loss, fault.Greydrop:
			want.most = 0.2
		case fault.Flap:
			want.engine, want.most = engineInterface, 0.4
		case fault.Partition:
			want.engine, want.most, want.existed = engineQdisc, 1, false
		}
		if f.Engine != want.engine || f.PathExisted != want.existed || float64(f.Lost) > want.most*float64(f.Sent) ||
			f.Packets == 0 && f.Kind != fault.Flap {
			t.Errorf("%+v, want %+v", f, want)
		}
	}
	if a := r.Availability; a.WithPath < 0.7 || a.Raw >= a.WithPath { // a busy machine loses probes too
		t.Errorf("availability %+v", a)
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
