package sim

import (
	"slices"
	"time"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
)

// How long the work that the slow loop does not wait for takes.
const (
	signTime   = 60 * time.Microsecond
	verifyTime = 120 * time.Microsecond
)

// control runs one step of a node's slow loop and carries its effects out.
func (w *World) control(s *simNode, ev node.ControlEvent) {
	if !s.alive {
		return
	}
	out := s.control.Step(w.wall(s), ev)
	if out.Persist != nil {
		s.labels = *out.Persist
	}
	for _, e := range out.Install {
		w.install(s, e)
	}
	for _, e := range out.Activate {
		if h := w.conn(e.Conn); h != nil {
			h.active = true
		}
	}
	if len(out.Reflex) > 0 {
		w.turn(s, out.Reflex...)
	}
	for _, e := range out.Send {
		w.sendMessages(s, e)
	}
	for _, e := range out.Close {
		w.closeConn(e.Conn)
	}
	for _, e := range out.Sign {
		w.post(signTime, s, doCall, func() { w.signed(s, e) })
	}
	for i := range out.Verify {
		w.stats.Verified++
		w.press.took(s, out.Verify[i].Raw)
		w.post(verifyTime, s, doChecked, &out.Verify[i])
	}
	for _, e := range out.Dial {
		w.dialLink(s, e)
	}
	for _, a := range out.Alarm {
		w.check.alarm(s, a)
	}
	w.scheduleControl(s)
}

// signed gives a node its signature.
func (w *World) signed(s *simNode, e node.Sign) {
	if s.lies && e.Kind == lsdb.KindLSA {
		e.LSA = w.lie(s, e.LSA)
	}
	made := sign(e)
	w.press.took(s, made.Raw)
	w.note('o', s.index, uint64(e.Kind), e.LSA.Seq, uint64(len(made.Raw)))
	w.control(s, made)
}

// boot wraps work of a process so that it is lost when that process ends, and waits while it is frozen.
func (w *World) boot(s *simNode, f func()) func() {
	e := event{who: s, boot: s.boots, do: doCall, what: f}
	return func() { w.happen(&e) }
}

func (w *World) scheduleControl(s *simNode) {
	at := s.control.Deadline()
	if !at.IsZero() {
		at = at.Add(-s.clock)
	}
	if h := w.cfg.hooks.deadline; h != nil {
		at = h(s, at)
	}
	w.set(s, &s.dueControl, doTick, at)
}

// set makes a deadline the time of an alarm; the zero time is none.
func (w *World) set(s *simNode, a *alarm, do kind, at time.Time) {
	a.want = 0
	if at.IsZero() {
		return
	}
	a.want = max(int64(at.Sub(epoch)), w.at)
	if a.set == 0 || a.set > a.want {
		a.set = a.want
		w.post(time.Duration(a.want-w.at), s, do, nil)
	}
}

// due reports whether an alarm that rings is the one that was set last, and its time has come; else it is put off.
func (w *World) due(s *simNode, a *alarm, do kind, machine string) bool {
	if w.at < a.set {
		return false // set anew for an earlier time, which has been
	}
	a.set = 0
	switch {
	case a.want == 0:
		return false
	case a.want > w.at:
		a.set = a.want
		w.post(time.Duration(a.want-w.at), s, do, nil)
		return false
	}
	a.want = 0
	w.check.ticked(w, s, a, machine)
	return true
}

func (w *World) tickDue(s *simNode) {
	if w.due(s, &s.dueControl, doTick, "Control") {
		w.control(s, node.Tick{})
	}
}

// turnDue takes the turn that is due, unless a hello that waits puts it off.
func (w *World) turnDue(s *simNode) {
	if !w.due(s, &s.dueReflex, doTurn, "Reflex") {
		return
	}
	if s.dozes {
		w.wakeUp(s)
		return
	}
	if at, ok := w.putOff(s); ok && at.After(w.now) {
		w.set(s, &s.dueReflex, doTurn, at)
		return
	}
	w.turn(s)
}

// putOff returns when a node's fast loop is due in view of the hellos that wait for it; false if none does.
func (w *World) putOff(s *simNode) (time.Time, bool) {
	if !slices.ContainsFunc(s.byLabel, func(l labelled) bool { return len(l.end.inbox) > 0 && l.end.inbox[0].at < w.at }) {
		return time.Time{}, false
	}
	s.reflex.Waits(&w.waits)
	for i := range s.byLabel {
		l := &s.byLabel[i]
		for j := range l.end.inbox {
			if a := &l.end.inbox[j]; a.at < w.at {
				w.waits.Hello(&node.HelloHeard{Label: l.label, Hello: a.hello, At: epoch.Add(time.Duration(a.at))})
			}
		}
	}
	return w.waits.Deadline(), true
}

// turn is one turn of a node's fast loop, as the daemon makes it: what was heard meanwhile, what else it was told, and
// what is due.
func (w *World) turn(s *simNode, orders ...node.ReflexEvent) {
	if !s.alive {
		return
	}
	w.catchUp(s)
	s.dozes = false
	w.accompany(s)
	for _, ev := range orders {
		w.rouseFor(s, ev)
	}
	w.hellos, w.heards = w.hellos[:0], w.heards[:0]
	for i := range s.byLabel {
		l := &s.byLabel[i]
		w.hellos = l.end.take(w.at, l.label, w.hellos)
		if l.end.heard != 0 {
			w.heards = append(w.heards, node.Heard{Label: l.label, At: epoch.Add(time.Duration(l.end.heard))})
			l.end.heard, l.end.past = 0, l.end.past[:0]
		}
	}
	w.reflected(s, s.reflex.Turn(w.now, w.hellos, w.heards))
	for _, ev := range orders {
		w.reflected(s, s.reflex.Step(w.now, ev))
	}
	w.set(s, &s.dueReflex, doTurn, s.reflex.Deadline())
	w.retire()
	w.doze(s)
}

// reflected carries out what a fast loop wants done.
func (w *World) reflected(s *simNode, out node.ReflexEffects) {
	if out.Publish != nil {
		w.publish(s, out.Publish)
	}
	for i := range out.Hellos {
		w.sendHello(s, &out.Hellos[i])
	}
	for _, l := range out.Stirs {
		w.rouseLabel(s, l)
	}
	for _, p := range out.Probes {
		w.sendProbe(s, p)
	}
	for _, d := range out.Dial {
		w.dialPeer(s, d)
	}
	for _, r := range out.Report {
		w.post(0, s, doReport, r)
	}
}

// publish puts a node's forwarding table in force.
func (w *World) publish(s *simNode, t *mesh.Forwarding) {
	s.table = t
	if h := w.cfg.hooks.publish; h != nil {
		s.table = h(s, s.table)
	}
	for i := range s.byLabel {
		if l := s.link(s.byLabel[i].label); l == nil || !l.Usable {
			w.landAt(s.byLabel[i].end)
		}
	}
	for _, p := range s.table.Peers {
		for _, q := range p.Ways {
			w.note('t', s.index, uint64(p.Session), uint64(q.Cost), uint64(len(q.Labels)), uint64(q.Labels[0]))
		}
	}
	w.check.table(w, s)
}

// reported takes what a fast loop tells the slow one.
func (w *World) reported(s *simNode, ev node.ControlEvent) {
	if r, ok := ev.(node.LinkReport); ok {
		w.note('s', s.index, uint64(r.Label), uint64(r.Status.State), uint64(r.Status.Cost), uint64(r.Status.Quality))
		r.Status.Since = r.Status.Since.Add(s.clock)
		ev = r
	}
	w.control(s, ev)
}

func sign(e node.Sign) node.Signed {
	chain, _ := fakeChain(e.LSA.Origin)
	if e.Kind == lsdb.KindRecord {
		chain, _ = fakeChain(e.Record.Origin)
		return node.Signed{Kind: e.Kind, Raw: e.Record.AppendSigned(nil, fakeSignature(chain[0], e.Record.SigningInput()))}
	}
	return node.Signed{Kind: e.Kind, Raw: e.LSA.AppendSigned(nil, fakeSignature(chain[0], e.LSA.SigningInput()))}
}
