package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

// Errors of injections.
var (
	errNoRelay  = errors.New("no relay carries this link")
	errNotForce = errors.New("the fault did not take effect")
)

// Names of what makes a fault.
const (
	engineRelay     = "relay"
	engineNFT       = "nftables"
	engineQdisc     = "qdisc"
	engineInterface = "interface"
	engineSignal    = "signal"
	engineClock     = "clock"
)

// engine names what makes a fault, or several where its links differ.
func (l *Lab) engine(f Fault) string {
	switch f.Kind {
	case fault.Cut, fault.Flap:
		return engineInterface
	case fault.Blackhole, fault.Oneway, fault.Partition:
		return engineQdisc
	case fault.Kill, fault.Freeze, fault.Restart:
		return engineSignal
	case fault.Clock:
		return engineClock
	}
	var relay, nft bool
	for _, w := range l.wires {
		if w.strikes(f) {
			relay, nft = relay || w.relayed, nft || !w.relayed
		}
	}
	switch {
	case relay && nft:
		return engineRelay + "+" + engineNFT
	case nft:
		return engineNFT
	}
	return engineRelay
}

// struck returns the links that a fault changes. A fault that should change one and does not is an error.
func (l *Lab) struck(f Fault) ([]*wire, error) {
	if f.Kind.OnNode() {
		if _, err := l.node(f.Target.A); err != nil {
			return nil, err
		}
		if f.Kind != fault.Greydrop {
			return nil, nil
		}
	}
	var hit []*wire
	for _, w := range l.wires {
		if !w.strikes(f) {
			continue
		}
		if err := w.can(f, l.nft); err != nil {
			return nil, err
		}
		hit = append(hit, w)
	}
	if len(hit) == 0 {
		return nil, fmt.Errorf("target %s: no link of the map is there", f.Where())
	}
	return hit, nil
}

// can reports why a fault cannot be made on a link.
func (w *wire) can(f Fault, nft error) error {
	c := condition{}.with(f.Kind, f.Param)
	switch {
	case c == condition{} || w.relayed:
		return nil
	case c.needsRelay():
		return fmt.Errorf("link %s-%s: %w: give it a delay, or name the fault in the script with which the lab starts",
			w.ends[0].node, w.ends[1].node, errNoRelay)
	case nft != nil:
		return fmt.Errorf("link %s-%s has no delay, so no relay carries it, and %w", w.ends[0].node, w.ends[1].node, nft)
	}
	return nil
}

// reshapes reports whether a fault of the script needs a relay on a link, or may: which link is in the middle of a
// path is not known before the mesh runs. nft says why nothing else can drop packets, nil if something can.
func (o Options) reshapes(k MapLink, nft error) bool {
	for _, f := range o.Faults {
		c := condition{}.with(f.Kind, f.Param)
		if c == (condition{}) || !c.needsRelay() && nft == nil {
			continue
		}
		t := f.Target
		switch {
		case t.Path || f.Kind.OnNode() && (t.A == k.A || t.A == k.B):
			return true
		case t.A == k.A && t.B == k.B || t.A == k.B && t.B == k.A:
			return true
		}
	}
	return false
}

// apply makes a link as it is wanted and checks that it is.
func (w *wire) apply(want wireState) error {
	for i := range w.ends {
		if err := w.applyEnd(i, want); err != nil {
			return fmt.Errorf("link %s-%s: %w", w.ends[0].node, w.ends[1].node, err)
		}
	}
	return nil
}

func (w *wire) applyEnd(i int, want wireState) error {
	e := &w.ends[i]
	if w.state.dir[i] != want.dir[i] {
		if err := w.reshape(i, want.dir[i]); err != nil {
			return err
		}
		w.state.dir[i] = want.dir[i]
	}
	if silent := want.silent[i]; w.state.silent[i] != silent {
		if err := e.swallow(silent); err != nil {
			return err
		}
		if _, on, err := e.swallowed(); err != nil || on != silent {
			return errors.Join(err, fmt.Errorf("blackhole on %s of %s: %w", e.iface, e.node, errNotForce))
		}
		w.state.silent[i] = silent
	}
	if down := want.down[i]; w.state.down[i] != down {
		set := e.up
		if down {
			set = e.down
		}
		if err := set(); err != nil {
			return err
		}
		if up, err := e.isUp(); err != nil || up == down {
			return errors.Join(err, fmt.Errorf("interface %s of %s: %w", e.iface, e.node, errNotForce))
		}
		w.state.down[i] = down
	}
	return nil
}

// reshape changes what happens to packets from end i.
func (w *wire) reshape(i int, c condition) error {
	if !w.relayed {
		return w.ends[1-i].filter(c)
	}
	a, err := w.control.ask(order{Port: w.port + i, Set: &c})
	if err == nil && a.Now != c {
		err = fmt.Errorf("the delay relay has %+v: %w", a.Now, errNotForce)
	}
	return err
}

// tally returns what became of the packets from end i since the lab began.
func (w *wire) tally(i int) (tally, error) {
	var t tally
	if w.relayed {
		a, err := w.control.ask(order{Port: w.port + i})
		if err != nil {
			return t, err
		}
		t = a.Count
	} else {
		e := &w.ends[1-i]
		t = e.counted
		if e.filtered {
			if _, err := e.eachRule(func(k Kind, n uint64) { *t.of(k) += n }); err != nil {
				return t, err
			}
		}
	}
	t.Swallowed = w.ends[i].counted.Swallowed
	if !w.state.silent[i] {
		return t, nil
	}
	n, _, err := w.ends[i].swallowed()
	t.Swallowed += n
	return t, err
}

func (j *injector) injectNode(f Fault) error {
	n, err := j.lab.node(f.Target.A)
	if err != nil {
		return err
	}
	p := n.running()
	if p == nil {
		return fmt.Errorf("no daemon runs on %s", n.id)
	}
	switch f.Kind {
	case fault.Freeze:
		if err := p.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		return p.awaitStop()
	case fault.Kill:
		return p.kill()
	case fault.Restart:
		if err := p.kill(); err != nil {
			return err
		}
		return j.start(n)
	case fault.Clock:
		return n.setClock(j.offset(n.id) + f.Param.D)
	}
	return nil
}

// start starts a node's daemon again, under a clock that is as wrong as before.
func (j *injector) start(n *node) error {
	if err := j.lab.startDaemon(n.id); err != nil {
		return err
	}
	offset := j.offset(n.id)
	if offset == 0 {
		return nil
	}
	err := n.setClock(offset)
	for deadline := time.Now().Add(clockPatience); err != nil && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		err = n.setClock(offset) // it does not listen yet
	}
	return err
}

// offset is how far the faults that hold put a node's clock ahead.
func (j *injector) offset(id mesh.NodeID) (d time.Duration) {
	for _, f := range j.now() {
		if f.Kind == fault.Clock && f.Target.A == id {
			d += f.Param.D
		}
	}
	return d
}

func (j *injector) mendNode(f Fault) error {
	n, err := j.lab.node(f.Target.A)
	if err != nil {
		return err
	}
	switch f.Kind {
	case fault.Freeze:
		return n.signal(syscall.SIGCONT)
	case fault.Kill:
		return j.start(n)
	case fault.Clock:
		if n.running() == nil {
			return nil // the next one begins with the right time
		}
		return n.setClock(j.offset(n.id) - f.Param.D)
	}
	return nil
}

// stopTime is how long a process may take to obey SIGSTOP.
const stopTime = 5 * time.Second

// awaitStop returns when the kernel says that the process stands still: the signal is only an order.
func (p *process) awaitStop() error {
	for deadline := time.Now().Add(stopTime); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid()))
		if err != nil {
			return fmt.Errorf("state of %s: %w", p.name, err)
		}
		if _, after, ok := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " "); ok && after[0] == 'T' {
			return nil
		}
	}
	return fmt.Errorf("%s, process %d, runs on after SIGSTOP: %w", p.name, p.pid(), errNotForce)
}
