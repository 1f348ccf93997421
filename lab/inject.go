package lab

import (
	"fmt"
	"slices"
	"syscall"

	"x0tta6bl4/mesh/fault"
)

// injector breaks things and mends them. It knows interfaces and processes, and never speaks with a daemon.
type injector struct {
	lab    *Lab
	damage damage // what is broken now
}

// inject makes a fault happen. Its target must be a link or a node: a path has to be resolved before.
func (j *injector) inject(f Fault) error {
	if err := resolved(f); err != nil {
		return err
	}
	if f.Kind.OnNode() {
		return j.injectNode(f)
	}
	i, w, err := j.wire(f.Target)
	if err != nil {
		return err
	}
	if err := strike(w, f, true); err != nil {
		return fmt.Errorf("inject %s: %w", f, err)
	}
	j.damage.links = append(slices.Clone(j.damage.links), i)
	return nil
}

// strike makes a link as the fault has it, or as it was.
func strike(w *wire, f Fault, broken bool) error {
	here, there := w.at(f.Target.A)
	switch f.Kind {
	case fault.Cut:
		if broken {
			return here.down()
		}
		return here.up()
	case fault.Oneway:
		return here.swallow(broken)
	}
	if err := here.swallow(broken); err != nil {
		return err
	}
	return there.swallow(broken)
}

func (j *injector) injectNode(f Fault) error {
	n, err := j.lab.node(f.Target.A)
	if err != nil {
		return err
	}
	switch p := n.running(); {
	case p == nil:
		err = fmt.Errorf("no daemon runs on %s", n.id)
	case f.Kind == fault.Freeze:
		err = p.signal(syscall.SIGSTOP)
	case f.Kind == fault.Kill:
		err = p.kill()
	case f.Kind == fault.Restart:
		if err = p.kill(); err == nil {
			return j.lab.startDaemon(n.id)
		}
	}
	if err != nil {
		return fmt.Errorf("inject %s: %w", f, err)
	}
	j.damage.nodes = append(slices.Clone(j.damage.nodes), n.id)
	return nil
}

// mend ends a fault that inject made.
func (j *injector) mend(f Fault) error {
	if f.Kind.OnNode() {
		return j.mendNode(f)
	}
	i, w, err := j.wire(f.Target)
	if err != nil {
		return err
	}
	if err := strike(w, f, false); err != nil {
		return fmt.Errorf("end of %s: %w", f, err)
	}
	j.damage.links = without(j.damage.links, i)
	return nil
}

func (j *injector) mendNode(f Fault) error {
	n, err := j.lab.node(f.Target.A)
	if err != nil {
		return err
	}
	switch f.Kind {
	case fault.Freeze:
		err = n.signal(syscall.SIGCONT)
	case fault.Kill:
		err = j.lab.startDaemon(n.id)
	case fault.Restart:
		return nil
	}
	if err != nil {
		return fmt.Errorf("end of %s: %w", f, err)
	}
	j.damage.nodes = without(j.damage.nodes, n.id)
	return nil
}

func (j *injector) wire(t Target) (int, *wire, error) {
	i, ok := j.lab.m.linkBetween(t.A, t.B)
	if !ok {
		return 0, nil, fmt.Errorf("target %s: no link of the map joins %s and %s", t, t.A, t.B)
	}
	return i, j.lab.wires[i], nil
}

// without returns s without one x, leaving s as it is: readers may hold it.
func without[T comparable](s []T, x T) []T {
	i := slices.Index(s, x)
	if i < 0 {
		return s
	}
	return slices.Delete(slices.Clone(s), i, i+1)
}

// Inject makes one fault happen now, whatever its At and For say. Its target must be a link or a node.
func (l *Lab) Inject(f Fault) error {
	l.injecting.Lock()
	defer l.injecting.Unlock()
	return l.injector.inject(f)
}

// Mend ends a fault that Inject made.
func (l *Lab) Mend(f Fault) error {
	l.injecting.Lock()
	defer l.injecting.Unlock()
	return l.injector.mend(f)
}

// broken tells what is broken now.
func (l *Lab) broken() damage {
	l.injecting.Lock()
	defer l.injecting.Unlock()
	return l.injector.damage
}
