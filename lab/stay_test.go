package lab

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"x0tta6bl4/mesh/fault"
)

// stay starts a lab of two fake nodes that stays, and returns how it ended.
func stay(t *testing.T) (*Remote, <-chan error) {
	t.Helper()
	opt := fakeOptions(t, "")
	opt.Duration = 0
	t.Setenv(RuntimeEnv, t.TempDir())
	up, ended := make(chan Standing, 1), make(chan error, 1)
	go func() { ended <- Stay(t.Context(), "one", opt, func(s Standing) { up <- s }) }()
	select {
	case s := <-up:
		if s.Name != "one" || len(s.Nodes) != 2 || len(s.Links) != 1 || s.PID != os.Getpid() {
			t.Errorf("%+v", s)
		}
	case err := <-ended:
		t.Fatal(err)
	}
	r, err := Find("")
	if err != nil || r.Name() != "one" {
		t.Fatal(r, err)
	}
	return r, ended
}

func TestLabThatStays(t *testing.T) {
	r, ended := stay(t)
	ctx := context.Background()
	if err := Stay(ctx, "one", fakeOptions(t, ""), nil); !errors.Is(err, ErrTaken) {
		t.Errorf("a second lab of the same name: %v", err)
	}
	if err := Stay(ctx, "../x", Options{}, nil); err == nil || !strings.Contains(err.Error(), "a-z") {
		t.Errorf("a name that is a way out of the directory: %v", err)
	}
	for _, step := range []struct {
		do         func(context.Context, string) (string, error)
		line, want string
		holds      int
	}{
		{r.Inject, "cut link:a-b", "cut link:a-b", 1},
		{r.Inject, "builtin:blackhole", "blackhole link:a-b", 2},
		{r.Mend, "cut link:a-b", "1 ended", 1},
		{r.Mend, "all", "1 ended", 0},
		{r.Inject, "restart node:b", "restart node:b", 0},
	} {
		got, err := step.do(ctx, step.line)
		if err != nil || got != step.want {
			t.Errorf("%q: %q, %v; want %q", step.line, got, err, step.want)
		}
		if s, err := r.Info(ctx); err != nil || len(s.Faults) != step.holds {
			t.Errorf("after %q these hold: %q, %v", step.line, s.Faults, err)
		}
	}
	if _, err := r.Inject(ctx, "cut link:a-z"); err == nil || !strings.Contains(err.Error(), "not a fault") {
		t.Errorf("a fault on no link: %v", err)
	}
	if _, err := r.Inject(ctx, "cut link:a-b for 1h"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Inject(ctx, "cut link:a-b"); err == nil || !strings.Contains(err.Error(), "holds already") {
		t.Errorf("the same fault twice: %v", err)
	}
	if _, err := r.Mend(ctx, "all"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Mend(ctx, "cut link:a-b"); err == nil || !strings.Contains(err.Error(), "holds") {
		t.Errorf("mended what does not hold: %v", err)
	}
	if err := r.Down(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := Find(""); !errors.Is(err, ErrNoLab) {
		t.Errorf("after down: %v", err)
	}
}

func TestFaultThatEndsByItself(t *testing.T) {
	r, _ := stay(t)
	defer r.Down(context.Background())
	if _, err := r.Inject(t.Context(), "cut link:a-b for 50ms"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		s, err := r.Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Faults) == 0 {
			return
		}
	}
}

// A command on a node has the caller's descriptors and environment, its exit code comes back, and signals reach it.
func TestExecInLabThatStays(t *testing.T) {
	r, _ := stay(t)
	defer r.Down(context.Background())
	t.Setenv("WITNESS", "here")
	run := func(stdin string, signals <-chan os.Signal, argv ...string) (string, int, error) {
		var files [3]*os.File
		for i, text := range []string{stdin, "", ""} {
			f, err := os.Create(filepath.Join(t.TempDir(), "f"))
			if err == nil {
				_, err = io.WriteString(f, text)
			}
			if err == nil {
				_, err = f.Seek(0, io.SeekStart)
			}
			if err != nil {
				t.Fatal(err)
			}
			files[i] = f
		}
		defer closeAll(files[:])
		code, err := r.Exec(t.Context(), id("b"), argv, files, signals)
		out, _ := os.ReadFile(files[1].Name())
		return string(out), code, err
	}
	out, code, err := run("word", nil, "sh", "-c", `cat; echo " $WITNESS $X0T_SOCKET"; ls /sys/class/net; exit 3`)
	if err != nil || code != 3 || !strings.HasPrefix(out, "word here /") || !strings.Contains(out, "/b/x0t.sock") {
		t.Errorf("%q, exit code %d, %v", out, code, err)
	}
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	if _, code, err := run("", signals, "sleep", "1000"); err != nil || code != 128+15 {
		t.Errorf("a command that was ended by SIGTERM: %d, %v", code, err)
	}
	if _, code, err := run("", nil, "no-such-command"); err == nil || code == 0 {
		t.Errorf("a command that is not there: %d, %v", code, err)
	}
	r.name = "one"
	if _, err := r.Exec(t.Context(), id("z"), []string{"true"}, [3]*os.File{os.Stdin, os.Stdout, os.Stderr}, nil); err == nil || !strings.Contains(err.Error(), `no node "z"`) {
		t.Errorf("a node that is not there: %v", err)
	}
}

// What a process that died left behind is shown, and removed by down.
func TestDownAfterACrash(t *testing.T) {
	t.Setenv(RuntimeEnv, t.TempDir())
	p, err := takePost(RuntimeDir(), "dead")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.write(Standing{Name: "dead", Topology: "ring:3", PID: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	if labs, err := Labs(RuntimeDir()); err != nil || len(labs) != 1 || !labs[0].Alive {
		t.Errorf("while its lock is held: %+v, %v", labs, err)
	}
	p.lock.Close()
	if labs, err := Labs(RuntimeDir()); err != nil || len(labs) != 1 || labs[0].Alive || labs[0].Topology != "ring:3" {
		t.Errorf("after the crash: %+v, %v", labs, err)
	}
	r, err := Find("dead")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Info(t.Context()); err == nil || !strings.Contains(err.Error(), "down --name dead") {
		t.Errorf("asked a dead lab: %v", err)
	}
	if err := r.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", p.dir, err)
	}
}

func TestSeveralLabsNeedAName(t *testing.T) {
	t.Setenv(RuntimeEnv, t.TempDir())
	for _, name := range []string{"a", "b"} {
		p, err := takePost(RuntimeDir(), name)
		if err != nil {
			t.Fatal(err)
		}
		defer p.leave()
	}
	if _, err := Find(""); err == nil || !strings.Contains(err.Error(), "(a, b)") {
		t.Errorf("%v", err)
	}
	if _, err := Find("c"); !errors.Is(err, ErrNoLab) {
		t.Errorf("%v", err)
	}
}

func TestCrowdedHello(t *testing.T) {
	for _, c := range [][3]time.Duration{{6, 2, 0}, {20, 2, 0}, {40, 2, 200 * time.Millisecond}, {60, 2, 450 * time.Millisecond}, {60, 16, 0}} {
		if got := crowdedHello(int(c[0]), int(c[1])); got != c[2] {
			t.Errorf("%d nodes on %d processors: %v, want %v", c[0], c[1], got, c[2])
		}
	}
}

func TestVerdicts(t *testing.T) {
	Exceptions[fault.Greydrop] = "for this test"
	defer delete(Exceptions, fault.Greydrop)
	for name, c := range map[string]struct {
		f    FaultReport
		want Verdict
	}{
		"back":                  {FaultReport{Kind: fault.Cut, Recovered: true, PathExisted: true}, Healed},
		"not back":              {FaultReport{Kind: fault.Cut, PathExisted: true}, Failed},
		"no way":                {FaultReport{Kind: fault.Cut}, NoWay},
		"an exception":          {FaultReport{Kind: fault.Greydrop, PathExisted: true}, Exception},
		"an exception that was": {FaultReport{Kind: fault.Greydrop, PathExisted: true, Recovered: true}, Healed},
	} {
		var cell Cell
		if cell.judge(c.f); cell.Verdict != c.want || (cell.Note != "") != (c.want == Exception || c.want == Failed) {
			t.Errorf("%s: %+v", name, cell)
		}
	}
}

// A table survives the process, does failed cells again, and is not mixed with another seed's.
func TestTableGoesOn(t *testing.T) {
	dir := t.TempDir()
	table, err := OpenTable(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Cell{{Map: "m", Engine: "lab", Kind: "cut", Verdict: Failed}, {Map: "m", Engine: "lab", Kind: "loss", Verdict: Exception, Note: "because <b>|"},
		{Map: "m<script>", Engine: "sim", Kind: "cut", Verdict: Failed}, {Map: "m", Engine: "lab", Kind: "cut", Verdict: Healed, Outage: 2e6}} {
		if err := table.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	again, err := OpenTable(dir, 1)
	if err != nil || len(again.Cells) != 3 {
		t.Fatal(again, err)
	}
	if !again.Done("lab", "m", "cut") || !again.Done("lab", "m", "loss") || again.Done("sim", "m<script>", "cut") || again.Done("sim", "m", "cut") {
		t.Errorf("%+v", again.Cells)
	}
	if len(again.Failures()) != 1 || again.Count()[Healed] != 1 {
		t.Errorf("%v", again.Count())
	}
	if other, err := OpenTable(dir, 2); err != nil || len(other.Cells) != 0 {
		t.Errorf("another seed: %+v, %v", other, err)
	}
	if err := again.Write(); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"soak.md": "| m | lab | 0 | 0 | 2.00 ms | not healed* |", "soak.html": "m&lt;script&gt;"} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || !strings.Contains(string(b), want) || strings.Contains(string(b), "<b>") || strings.Contains(string(b), "m<script>") {
			t.Errorf("%s: %v\n%s", file, err, b)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "soak.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTable(dir, 1); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("a broken table: %v", err)
	}
}
