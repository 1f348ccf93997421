package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh/topology"
)

// Options say what to measure. The zero value of every field but Binary has a meaning.
type Options struct {
	Binary   string    // the x0t to measure
	Runs     int       // of each figure; 0 = MinRuns
	Keep     string    // directory for the daemons' logs; "" = they are removed
	Progress io.Writer // one line per step; nil = silence
	Parts    []string  // of Parts; none = all
	Trials   int       // of each kind of fault; 0 = as many as the marks ask for
	Peers    []string  // that throughput and failover are compared with; none = all
	Reports  string    // directory for the reports of throughput and failover; "" = they are not kept
}

// Report is what Spine measured.
type Report struct {
	Machine Machine   `json:"machine"`
	Noise   Noise     `json:"noise_ms"`
	Began   time.Time `json:"began"`
	Took    float64   `json:"took_s"`
	Figures Figures   `json:"figures"`
	Notes   []string  `json:"notes"` // what happened that a reader of the figures must know
}

// spine is one measurement in the making.
type spine struct {
	opt    Options
	report *Report
}

// parts of the measurement, in order.
var parts = []struct {
	name string
	run  func(*spine, context.Context) error
}{
	{"grid", (*spine).grid},
	{"idle", (*spine).idle},
	{"state", (*spine).stateGrid},
	{"state-heal", (*spine).stateHeal},
	{"state-million", (*spine).stateMillion},
	{"throughput", (*spine).throughput},
	{"flood", (*spine).flood},
	{"spread", (*spine).spread},
	{"busy", (*spine).busy},
	{"code", (*spine).code},
	{"failover", (*spine).failover},
}

// Parts names the parts of Spine.
func Parts() (names []string) {
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// Spine takes the figures that the mesh's first issue set marks for. The report is there, as far as it goes, even if
// there is an error.
func Spine(ctx context.Context, opt Options) (*Report, error) {
	if opt.Runs == 0 {
		opt.Runs = MinRuns
	}
	if opt.Progress == nil {
		opt.Progress = io.Discard
	}
	if len(opt.Parts) == 0 {
		opt.Parts = Parts()
	}
	s := &spine{opt: opt, report: &Report{Machine: thisMachine(), Began: time.Now(), Notes: []string{}}}
	noise := listen()
	var err error
	for _, p := range parts {
		for _, name := range opt.Parts {
			if name == p.name && err == nil {
				err = p.run(s, ctx)
			}
		}
	}
	s.report.Noise = noise.stop()
	s.report.Took = time.Since(s.report.Began).Seconds()
	return s.report, err
}

func (s *spine) figures() *Figures { return &s.report.Figures }

func (s *spine) say(format string, args ...any) {
	fmt.Fprintf(s.opt.Progress, "bench: "+format+"\n", args...)
}

// note says something to the reader of the report too, once.
func (s *spine) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if slices.Contains(s.report.Notes, text) {
		return
	}
	s.say("%s", text)
	s.report.Notes = append(s.report.Notes, text)
}

// keep writes the report of a comparison.
func (s *spine) keep(name string, r Told) error {
	if s.opt.Reports == "" {
		return nil
	}
	_, err := Keep(s.opt.Reports, name, r)
	return err
}

// known returns those of the peers of the options that a comparison knows.
func (s *spine) known(all []string) []string {
	if len(s.opt.Peers) == 0 {
		return nil
	}
	mine := []string{}
	for _, p := range s.opt.Peers {
		if slices.Contains(all, p) {
			mine = append(mine, p)
		}
	}
	if len(mine) == 0 {
		return []string{NoPeers}
	}
	return mine
}

// up makes a lab. delay is that of every link, one way.
func (s *spine) up(ctx context.Context, m *topology.Map, delay time.Duration, part string) (*lab.Lab, error) {
	opt := lab.Options{Map: lab.FromTopology(m), Delay: delay, Binary: s.opt.Binary}
	for i := range opt.Map.Links {
		opt.Map.Links[i].Delay = 0 // as delay says
	}
	if s.opt.Keep != "" {
		opt.Keep = filepath.Join(s.opt.Keep, part)
	}
	return lab.Up(ctx, opt)
}

// Text writes the report for people.
func (r *Report) Text(w io.Writer) error {
	if err := r.Figures.Text(w); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nLinux %s on %s, %d cores, %s; a timer of 1 ms fired late by p50 %s, p99 %s, at most %s ms\n",
		r.Machine.Kernel, r.Machine.Arch, r.Machine.Cores, r.Machine.Go, number(r.Noise.P50), number(r.Noise.P99), number(r.Noise.Max))
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note:", n)
	}
	return err
}

// Save writes the report as JSON.
func (r *Report) Save(name string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o600)
}
