package lab

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

// realMap is a piece of a map that ships with the project.
func realMap(t *testing.T, name string) Map {
	t.Helper()
	base, piece := topology.Split(name)
	b, err := os.ReadFile(filepath.Join("..", "mesh", "topology", "testdata", base))
	if err != nil {
		t.Fatal(err)
	}
	m, err := topology.Parse(base, b)
	if err == nil {
		m, err = m.Simple().Piece(piece)
	}
	if err != nil {
		t.Fatal(err)
	}
	return FromTopology(m)
}

// The short form of make soak: a part of an operator's network and of a community's, half of the kinds. Every fault that
// leaves a way is left while it holds, and there is no verdict but those that the table explains.
func TestSoak(t *testing.T) {
	for name, kinds := range map[string][]Kind{
		"zoo/EliBackbone.tsv#10":            {fault.Cut, fault.Blackhole, fault.Freeze, fault.Restart},
		"freifunk/cologne-bonn-area.json#8": {fault.Oneway, fault.Kill, fault.Delay, fault.Partition},
	} {
		t.Run(name, func(t *testing.T) {
			opt := e2eOptions(t, "line:2", "")
			opt.Map, opt.Hello = realMap(t, name), 100*time.Millisecond // calm: other tests run beside this one
			table, err := OpenTable(t.TempDir(), 1)
			if err != nil {
				t.Fatal(err)
			}
			err = Soak(t.Context(), SoakOptions{Lab: opt, Kinds: kinds, Seed: 1, Hold: 3 * time.Second, Tell: func(c Cell) {
				b, _ := json.Marshal(c)
				t.Logf("%s", b)
				if err := table.Add(c); err != nil {
					t.Error(err)
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			if n := len(table.Cells); n != 1+len(kinds) {
				t.Errorf("%d cells, want %d", n, 1+len(kinds))
			}
			for _, c := range table.Failures() {
				t.Errorf("%s on %s: %s, %s", c.Kind, c.Map, c.Verdict, c.Note)
			}
			if table.Count()[Healed] < 3 {
				t.Errorf("too little to heal here: %v", table.Count())
			}
		})
	}
}

// What a user types: up in the background, a command and a fault on a node, down; and down after the lab's process was
// killed, which leaves no process and no directory behind.
func TestLabUpAndDown(t *testing.T) {
	needLab(t)
	if testing.Short() {
		t.Skip("runs real daemons for seconds")
	}
	x0t, err := realX0t()
	if err != nil {
		t.Fatal(err)
	}
	dir, temp := t.TempDir(), t.TempDir()
	run := func(args ...string) (string, error) {
		cmd := exec.Command(x0t, args...)
		cmd.Env = append(os.Environ(), RuntimeEnv+"="+dir, "TMPDIR="+temp)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	want := func(text string, args ...string) string {
		t.Helper()
		out, err := run(args...)
		if err != nil || !strings.Contains(out, text) {
			t.Fatalf("x0t %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	for range 2 { // the second time over the remains of the first
		want("4 nodes, 4 links", "lab", "up", "diamond")
		want("n4", "lab", "exec", "n1", "--", "x0t", "peers")
		want(`"node":"n2"`, "lab", "exec", "n2", "--", "x0t", "status", "--json")
		want("cut link:n1-n2", "lab", "inject", "cut", "link:n1-n2")
		want("fault: cut link:n1-n2", "lab", "status")
		want("n1\nn2\nn3\nn4\n", "__complete", "lab", "exec", "")
		want("cut link:n1-n2\nall\n", "__complete", "lab", "mend", "")
		for text, args := range map[string][]string{"runs already": {"up", "ring:3"}, "holds already": {"inject", "cut link:n1-n2"},
			"it has n1, n2, n3, n4": {"exec", "nobody", "--", "true"}, "no link of the map": {"inject", "cut link:n1-n4"}} {
			if out, err := run(append([]string{"lab"}, args...)...); err == nil || !strings.Contains(out, text) {
				t.Errorf("%v: %v, %s; want %q", args, err, out, text)
			}
		}
		var s struct{ Labs []Standing }
		if err := json.Unmarshal([]byte(want("diamond", "lab", "list", "--json")), &s); err != nil || len(s.Labs) != 1 {
			t.Fatal(s, err)
		}
		var daemon struct{ PID int }
		if err := json.Unmarshal([]byte(want("", "lab", "exec", "n3", "--", "x0t", "status", "--json")), &daemon); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(s.Labs[0].PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if !dies(daemon.PID) {
			t.Errorf("a daemon outlived its lab")
		}
		deadline := time.Now().Add(10 * time.Second) // the kernel takes a while to take everything back
		for out, _ := run("lab", "list"); !strings.Contains(out, "gone"); out, _ = run("lab", "list") {
			if time.Now().After(deadline) {
				t.Fatalf("the lab's process was killed, and the list says\n%s", out)
			}
		}
		want("is down", "lab", "down")
	}
	want("3 nodes", "lab", "up", "ring:3", "--name", "other")
	want("is down", "lab", "down")
	for _, d := range []string{dir, temp} {
		if left, _ := os.ReadDir(d); len(left) > 0 {
			t.Errorf("%s still holds %v", d, left)
		}
	}
}
