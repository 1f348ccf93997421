package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The commands of docs/lab.md, exactly as they stand there, keep a lab, measure meshes that break, and simulate others.
func TestLabPage(t *testing.T) {
	need(t)
	p, d := readPage(t, "docs/lab.md"), newDesk(t)
	p.follow(t, map[string][]step{
		"A lab that stays": {
			d.on("x0t lab up ring:6", "lab lab (ring:6): up, 6 nodes, 6 links"),
			d.on("x0t lab exec n1 -- x0t peers", "n1 → n2 → n3"),
			d.on("x0t lab exec n1 -- x0t ping n4 -c 2", "2 sent, 2 received"),
			d.on("x0t lab inject 'loss link:n1-n2 30% for 5s'", "loss link:n1-n2"),
			d.on("x0t lab inject 'cut link:n1-n6'", "cut link:n1-n6"),
			d.on("x0t lab status", "fault: cut link:n1-n6"),
			d.on("x0t lab exec n1 -- x0t links", "n2", "n6"),
			d.on("x0t lab mend all", "ended"),
			d.on("x0t lab list", "ring:6"),
			d.on("x0t lab down", "lab lab is down"),
		},
		"A measured run": {
			d.on("x0t lab run grid:3x3 --faults builtin:cut --report report.html", "72 of 72", "report.html"),
			d.json("x0t lab run geo:12:7 --faults 'cut path:n1-n7 at 2s; kill node:n3 at 4s for 3s' --duration 9s --json",
				`"pairs_reachable":132`, `"kind":"cut"`, `"kind":"kill"`),
		},
		"Soak": {
			d.on("x0t lab soak --maps ring:6 --kinds cut,oneway --duration 4s --out out/soak", "3 healed, 0 not healed"),
		},
		"Endurance": {
			d.on("x0t lab endure ring:6 --kinds cut,kill --duration 30s --load 5M --out out/endure", "availability", "of 5.0 Mbit/s", "descriptors"),
		},
		"Beside other programs": {
			d.on("x0t bench throughput --peer veth --runs 1 --time 1s", "| x0t ", "| veth ", "1 runs are too few"),
			d.json("x0t bench failover --faults blackhole --trials 1 --peer none --json", `"faults":{"blackhole":{"own":{"trials":1,`, `"profile":"default"`),
		},
		"Simulator": {
			d.on("x0t sim --nodes 60 --seed 7", "invariants  hold"),
			d.on("x0t sim grid:5x5 --faults builtin:greydrop", "invariants  hold"),
			d.json("x0t sim geo:60:7 --churn links=1,nodes=0.1 --duration 30s --packet 100ms --json", `"speed":`, `"churn_changes":`),
		},
		"Campaign": {
			d.on("x0t sim campaign --seeds 5", "5 from 1 on", "none lost"),
			d.on("x0t sim campaign --seed 7 --nodes 6-8", "1 from 7 on, 6 to 8 nodes"),
		},
	})
	for _, file := range []string{"report.html", "out/soak/soak.md", "out/soak/soak.html", "out/soak/soak.json", "out/endure/endure.json", "out/endure/endure.txt",
		"out/bench/throughput-1hop-offload-on.html", "out/bench/failover-default.md"} {
		d.shell(t, "cd "+d.dir+" && test -s "+file)
	}
}

// desk is a machine on which somebody tries labs.
type desk struct{ *machine }

func newDesk(t *testing.T) desk {
	t.Helper()
	m := machineIn(t, "desk")
	m.env = []string{"X0T_LAB_DIR=" + m.dir + "/labs"}
	if given := os.Getenv(labEnv); given != "" {
		m.bin = t.TempDir()
		if err := provide(given, filepath.Join(m.bin, "x0t")); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			_, _ = m.try(context.Background(), "x0t", "lab", "down") // one that was left; its log is of no use any more
		}
	})
	return desk{m}
}

// on runs a line and looks for something in what it prints.
func (d desk) on(line string, wants ...string) step {
	return step{line, func(t *testing.T, line string) { d.shows(t, line, wants...) }}
}

func (d desk) shows(t *testing.T, line string, wants ...string) string {
	t.Helper()
	r := d.run(t, "sh", "-c", "cd "+d.dir+" && "+line)
	if r.code != 0 {
		t.Fatalf("%s: %s", line, r)
	}
	out := r.out
	for _, want := range wants {
		if !strings.Contains(out, want) {
			t.Errorf("%s does not say %q:\n%s", line, want, out)
		}
	}
	return out
}

// json is on for a line whose output is one JSON value.
func (d desk) json(line string, wants ...string) step {
	return step{line, func(t *testing.T, line string) {
		if out := d.shows(t, line, wants...); !json.Valid([]byte(out)) {
			t.Errorf("%s prints %q", line, out)
		}
	}}
}
