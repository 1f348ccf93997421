package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/host/authority"
)

// verdict is what a check makes of what it found.
type verdict string

const (
	good verdict = "ok"
	warn verdict = "warn" // works, but not well or not for long
	bad  verdict = "fail" // this node cannot do its work
)

// finding is one thing that was looked at.
type finding struct {
	Check  string  `json:"check"`
	Result verdict `json:"result"`
	Looked string  `json:"looked"` // at what
	Found  string  `json:"found"`
	Remedy string  `json:"remedy,omitempty"` // a command, or what to change; "" with ok
}

// patient is what the checks look at: this machine, and what is known of the node on it.
type patient struct {
	machine
	configPath, state, socket string
	now                       time.Time

	cfg       config.Config
	cfgErr    error
	status    *api.Status // nil = no daemon answers
	statusErr error
	member    *authority.Membership // nil = memberErr says why
	memberErr error
}

// check looks at one thing. Its findings carry its name.
type check struct {
	name string
	look func(context.Context, *patient) []finding
}

// checks in the order in which one would look: what the system lacks, then what is configured, then what runs.
var checks = []check{
	{"kernel", checkKernel},
	{"ipv6", checkIPv6},
	{"tun", checkTUN},
	{"rights", checkRights},
	{"config", checkConfig},
	{"state", checkState},
	{"identity", checkIdentity},
	{"clock", checkClock},
	{"ports", checkPorts},
	{"neighbours", checkNeighbours},
	{"names", checkNames},
	{"firewall", checkFirewall},
	{"daemon", checkDaemon},
}

func (a *app) doctorCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "find out what keeps this node from working",
		Long: "doctor looks at this machine and at the node on it, and says of each thing whether it is well, what was found and,\n" +
			"if it is not well, what to do. It needs no daemon, but asks one that runs. It changes nothing.\n\n" +
			"It fails if one check does. Run it as root: an ordinary user may not see all of it.",
		Example: "  sudo x0t doctor\n  sudo x0t doctor --json",
		Args:    needs(),
		RunE: a.do(func(ctx context.Context, _ []string) error {
			m := systemMachine()
			if a.machine != nil {
				m = *a.machine
			}
			return a.printFindings(diagnose(ctx, checks, a.examine(ctx, m)))
		}),
	}
}

// diagnose runs the checks.
func diagnose(ctx context.Context, all []check, p *patient) []finding {
	var fs []finding
	for _, c := range all {
		for _, f := range c.look(ctx, p) {
			f.Check = c.name
			fs = append(fs, f)
		}
	}
	return fs
}

// examine gathers what several checks need.
func (a *app) examine(ctx context.Context, m machine) *patient {
	p := &patient{machine: m, configPath: a.config, state: a.state, socket: a.socket, now: m.now()}
	if p.cfg, p.cfgErr = a.loadConfig(); p.cfgErr != nil {
		p.cfg = config.Default()
	}
	c := api.NewClient(a.socket)
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if st, err := c.Status(ctx); err == nil {
		p.status = &st
	} else {
		p.statusErr = err
	}
	if member, err := authority.LoadMembership(onlyReads(a.state)); err == nil {
		p.member = &member
	} else {
		p.memberErr = err
	}
	return p
}

func (a *app) printFindings(fs []finding) error {
	failed := false
	for _, f := range fs {
		failed = failed || f.Result == bad
	}
	if a.json {
		if err := writeJSON(a.out, fs); err != nil {
			return err
		}
	} else {
		var t table
		for _, f := range fs {
			t.row(verdictCell(f.Result), cell{f.Check, bold}, text(f.Looked+": "+f.Found))
			for line := range strings.Lines(f.Remedy) {
				t.row(cell{}, cell{}, cell{"→ " + strings.TrimSpace(line), yellow})
			}
		}
		t.print(a)
	}
	if failed {
		return errQuiet
	}
	return nil
}

func verdictCell(v verdict) cell {
	switch v {
	case good:
		return cell{string(v), green}
	case warn:
		return cell{string(v), yellow}
	}
	return cell{string(v), red}
}

func found(v verdict, looked, format string, args ...any) finding {
	return finding{Result: v, Looked: looked, Found: fmt.Sprintf(format, args...)}
}

func (f finding) remedy(format string, args ...any) finding {
	f.Remedy = fmt.Sprintf(format, args...)
	return f
}

func one(f finding) []finding { return []finding{f} }
