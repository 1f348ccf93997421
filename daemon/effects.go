package daemon

import (
	"encoding/json"
	"errors"
	"time"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/core/node"
	"x0tta6bl4/host/quic"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Receive keys outlive their connection by this, so that what was sent before the other end knew still arrives.
const keyLinger = 2 * time.Second

func (d *Daemon) stepControl(ev node.ControlEvent) {
	now := d.now()
	d.noticeClock(now)
	out := d.core.Step(now, ev)
	if out.Persist != nil {
		d.persistLabels(*out.Persist)
	}
	for _, e := range out.Install {
		d.install(e)
	}
	for _, e := range out.Activate {
		if e.Purpose == wire.PurposeLink {
			d.plane.SetLinkTx(e.Conn, e.Index)
		} else {
			d.plane.SetPeerTx(e.Conn, e.Index)
		}
	}
	if len(out.Reflex) > 0 {
		d.orders.put(out.Reflex...)
		d.alarm.Ring()
	}
	for _, e := range out.Send {
		d.send(e)
	}
	for _, e := range out.Close {
		d.closeConn(e)
	}
	for _, e := range out.Sign {
		d.jobs.put(func() { d.post(d.sign(e)) })
	}
	for _, e := range out.Verify {
		d.checks.put(e.From.Node, e.Origin, func() { d.post(d.verify(e)) })
	}
	for _, e := range out.Dial {
		d.dialLink(e)
	}
	for _, e := range out.Challenge {
		_ = d.plane.SendChallenge(e.Label, e.To, false, e.Challenge) // the sign that caused it comes again
	}
	for _, a := range out.NoSuch {
		d.plane.Unreachable(a)
	}
	for _, a := range out.Alarm {
		if omitted, ok := d.alarms.pass(now); ok {
			d.log.Error("alarm", "error", a, "omitted", omitted)
		}
		d.warn(a)
	}
	d.linkLog.after(now, ev, d.core.Links)
}

// install derives the keys of a connection and lets them receive. The exported secret is erased: nothing else
// is ever made of it.
func (d *Daemon) install(e node.Install) {
	c := d.registry.get(e.Conn)
	if c == nil || c.secret == nil {
		return
	}
	defer func() { clear(c.secret); c.secret = nil }()
	if e.Purpose == wire.PurposeLink {
		keys, err := wire.DeriveLinkKeys(c.secret, c.outbound)
		if err != nil {
			d.log.Error("derive link keys", "neighbour", e.Node, "error", err)
			return
		}
		d.plane.AddLink(e.Conn, e.Label, e.Index, keys, e.MTU)
		return
	}
	keys, err := wire.DeriveDataKeys(c.secret, c.outbound)
	if err != nil {
		d.log.Error("derive session keys", "peer", e.Node, "error", err)
		return
	}
	if err := d.plane.AddPeer(e.Conn, e.Node, mesh.Addr(d.domain, e.Node), e.Index, keys); err != nil {
		d.log.Error("install session keys", "peer", e.Node, "error", err)
	}
}

func (d *Daemon) send(e node.Send) {
	c := d.registry.get(e.Conn)
	if c == nil {
		return
	}
	// One by one: all at once, a database larger than the queue would never pass. What finds the queue full is lost, the
	// rest of e with it, and comes with the next digest exchange, which goes on from where this one stopped.
	for _, m := range e.Messages {
		err := c.sender.Send(e.Conn, m)
		switch {
		case errors.Is(err, quicconn.ErrQueueFull):
			d.sendsDropped.Add(1)
			return
		case err != nil:
			d.log.Debug("control message not sent", "peer", c.peer, "error", err)
			return
		}
	}
}

func (d *Daemon) closeConn(e node.Close) {
	c := d.registry.remove(e.Conn)
	if c == nil {
		return
	}
	d.log.Debug("connection closed", "peer", c.peer, "remote", c.remote.String(), "cause", e.Reason)
	c.sender.CloseConn(e.Conn, e.Reason)
	time.AfterFunc(keyLinger, func() {
		if e.Purpose == wire.PurposeLink {
			d.plane.RemoveLink(e.Conn)
		} else {
			d.plane.RemovePeer(e.Conn)
			d.carrier.end(c.remote)
		}
	})
}

// sign makes the announcement that core asked for. If the SVID was rotated since, the answer is empty and core
// asks again with the new one.
func (d *Daemon) sign(e node.Sign) node.Signed {
	id := d.identity.Source.Current()
	if id.Hash() != e.SVID {
		return node.Signed{Kind: e.Kind}
	}
	input := e.LSA.SigningInput
	appendSigned := e.LSA.AppendSigned
	if e.Kind == lsdb.KindRecord {
		input, appendSigned = e.Record.SigningInput, e.Record.AppendSigned
	}
	sig, err := id.Sign(input())
	if err != nil {
		d.log.Error("sign announcement", "error", err)
		return node.Signed{Kind: e.Kind}
	}
	return node.Signed{Kind: e.Kind, Raw: appendSigned(nil, sig)}
}

// verify checks who signed an announcement: the chain by the rules for SVIDs, then the signature by its leaf.
func (d *Daemon) verify(job lsdb.VerifyJob) node.Checked {
	leaf, id, err := d.verifyChain(job.Chain)
	if err == nil && id != job.Origin {
		err = lsdb.ErrWrongSigner
	}
	if err != nil {
		return node.Checked{Job: job, Err: err}
	}
	if !verifyECDSA(leaf.PublicKey, job.Signed, job.Sig) {
		return node.Checked{Job: job, Err: lsdb.ErrWrongSigner}
	}
	return node.Checked{Job: job, NotAfter: leaf.NotAfter}
}

// persistLabels writes the label table behind the loop's back: labels are reserved ahead, so nothing waits. What is not
// yet written gives way to what is newer: a neighbour that makes ever new links must not fill the queue of writes.
func (d *Daemon) persistLabels(s node.LabelState) {
	if d.labels.Swap(&s) != nil {
		return // the job that waits writes this
	}
	d.jobs.put(func() {
		b, err := json.Marshal(d.labels.Swap(nil))
		if err != nil {
			d.log.Error("labels were not saved", "error", err)
			return
		}
		d.store.Keep(labelsFile, b)
	})
}
