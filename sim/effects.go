package sim

import (
	"crypto/sha256"
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
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
	out := s.control.Step(w.now, ev)
	if out.Persist != nil {
		s.labels = *out.Persist
	}
	for _, e := range out.Install {
		w.install(s, e)
	}
	for _, e := range out.Activate {
		if h := w.conns[e.Conn]; h != nil {
			h.active = true
		}
	}
	for _, e := range out.Reflex {
		w.reflex(s, e)
	}
	for _, e := range out.Send {
		w.sendMessages(s, e)
	}
	for _, e := range out.Close {
		w.closeConn(e.Conn)
	}
	for _, e := range out.Sign {
		w.after(signTime, w.boot(s, func() { w.control(s, sign(e)) }))
	}
	for _, e := range out.Verify {
		w.stats.Verified++
		w.after(verifyTime, w.boot(s, func() { w.control(s, verify(e)) }))
	}
	for _, e := range out.Dial {
		w.dialLink(s, e)
	}
	for _, a := range out.Alarm {
		w.check.alarm(s, a)
	}
	w.scheduleControl(s)
}

// boot wraps work of a process so that it is lost when that process ends.
func (w *World) boot(s *simNode, f func()) func() {
	boot := s.boots
	return func() {
		if s.alive && s.boots == boot {
			f()
		}
	}
}

func (w *World) scheduleControl(s *simNode) {
	at := s.control.Deadline()
	if h := w.cfg.hooks.deadline; h != nil {
		at = h(s, at)
	}
	if at.IsZero() || at.Equal(s.dueControl) {
		return
	}
	s.dueControl = at
	w.after(max(0, at.Sub(w.now)), w.boot(s, func() {
		if s.dueControl.Equal(at) {
			s.dueControl = time.Time{}
			w.check.ticked(s, "Control")
			w.control(s, node.Tick{})
		}
	}))
}

// reflex runs one step of a node's fast loop and carries its effects out.
func (w *World) reflex(s *simNode, ev node.ReflexEvent) {
	if !s.alive {
		return
	}
	out := s.reflex.Step(w.now, ev)
	if out.Publish != nil {
		s.table = out.Publish
		if h := w.cfg.hooks.publish; h != nil {
			s.table = h(s, s.table)
		}
		w.check.table(w, s)
	}
	for _, h := range out.Hellos {
		w.stats.Control += wire.HelloLen
		w.sendFrame(s, h.Label, nil, wire.AppendFrame(nil, wire.TypeHello, 0, nil, h.Hello.Append(nil)))
	}
	for _, p := range out.Probes {
		w.sendProbe(s, p)
	}
	for _, d := range out.Dial {
		w.dialPeer(s, d)
	}
	for _, r := range out.Report {
		w.after(0, w.boot(s, func() { w.control(s, r) }))
	}
	w.scheduleReflex(s)
}

func (w *World) scheduleReflex(s *simNode) {
	at := s.reflex.Deadline()
	if at.IsZero() || at.Equal(s.dueReflex) {
		return
	}
	s.dueReflex = at
	w.after(max(0, at.Sub(w.now)), w.boot(s, func() {
		if s.dueReflex.Equal(at) {
			s.dueReflex = time.Time{}
			w.check.ticked(s, "Reflex")
			w.tickReflex(s)
		}
	}))
}

// tickReflex tells the fast loop what was heard since it last looked, as the daemon does, and lets it run.
func (w *World) tickReflex(s *simNode) {
	for _, l := range s.table.Links {
		if at, ok := s.lastHeard[l.Label]; ok {
			delete(s.lastHeard, l.Label)
			w.reflex(s, node.Heard{Label: l.Label, At: at})
		}
	}
	w.reflex(s, node.Tick{})
}

// fakeChain stands for a node's SVID: its leaf names the node, and nobody else gets it to sign with.
func fakeChain(n mesh.NodeID) ([][]byte, [32]byte) {
	leaf := []byte("svid of " + n.String())
	return [][]byte{leaf}, sha256.Sum256(leaf)
}

func fakeSignature(leaf, input []byte) []byte {
	h := sha256.New()
	_, _ = h.Write(leaf)
	_, _ = h.Write(input)
	return h.Sum(nil)
}

func sign(e node.Sign) node.Signed {
	chain, _ := fakeChain(e.LSA.Origin)
	if e.Kind == lsdb.KindRecord {
		chain, _ = fakeChain(e.Record.Origin)
		return node.Signed{Kind: e.Kind, Raw: e.Record.AppendSigned(nil, fakeSignature(chain[0], e.Record.SigningInput()))}
	}
	return node.Signed{Kind: e.Kind, Raw: e.LSA.AppendSigned(nil, fakeSignature(chain[0], e.LSA.SigningInput()))}
}

func verify(job lsdb.VerifyJob) node.Checked {
	chain, _ := fakeChain(job.Origin)
	if len(job.Chain) == 0 || string(job.Chain[0]) != string(chain[0]) ||
		!slices.Equal(job.Sig, fakeSignature(chain[0], job.Signed)) {
		return node.Checked{Job: job, Err: lsdb.ErrWrongSigner}
	}
	return node.Checked{Job: job, NotAfter: epoch.AddDate(10, 0, 0)}
}

// endAt returns the wire end of s that leads to an underlay address.
func (w *World) endAt(s *simNode, remote netip.AddrPort) *wireEnd {
	far := w.byIP[remote.Addr()]
	if far == nil || far.other().node != s {
		return nil
	}
	return far.other()
}
