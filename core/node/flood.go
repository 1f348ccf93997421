package node

import (
	"slices"
	"time"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// flooded takes a message of the database exchange from a neighbour.
func (c *Control) flooded(now time.Time, cn *conn, m wire.Message) {
	switch m := m.(type) {
	case wire.RecordMsg:
		c.offer(now, cn, lsdb.KindRecord, m.Raw)
	case wire.LSAMsg:
		c.offer(now, cn, lsdb.KindLSA, m.Raw)
	case wire.Digest, wire.Summary, wire.RecordRequest:
		c.exchange(now, cn, m)
	}
}

func (c *Control) offer(now time.Time, cn *conn, kind lsdb.Kind, raw []byte) {
	v, _ := c.db.Offer(now, cn.source(), kind, raw) // the database counts what it refuses, by reason
	c.dated(now, cn, v)
	switch v.Action {
	case lsdb.Verify:
		c.out.Verify = append(c.out.Verify, v.Job)
	case lsdb.Park:
		if len(v.Request) > 0 { // else the record is being verified
			c.sendTo(cn.id, wire.RecordRequest{SVIDs: v.Request})
		}
	}
}

func (c *Control) checked(now time.Time, ev Checked) {
	o := c.db.Verified(now, ev.Job, ev.NotAfter, ev.Err)
	if ev.Err == nil {
		c.countAccepted(ev.Job.Kind, o)
		c.witness(now, ev.Job.Origin)
	}
	c.outcome(o)
	if ev.Err == nil && ev.Job.Kind == lsdb.KindRecord && c.sought(ev.Job.Origin) {
		c.elsewhere(now, ev.Job.Origin)
	}
}

func (c *Control) outcome(o lsdb.Outcome) {
	c.flood(o.From, o.Flood...)
	c.out.Verify = append(c.out.Verify, o.Next...)
	if o.Alarm != nil {
		c.out.Alarm = append(c.out.Alarm, o.Alarm.Error())
	}
}

// flood sends announcements to every neighbour but the one they came from.
func (c *Control) flood(from mesh.ConnID, msgs ...wire.Message) {
	var origin *neighbourLink
	if cn := c.conns[from]; cn != nil {
		origin = cn.link
	}
	if len(msgs) == 0 {
		return
	}
	c.out.Send = slices.Grow(c.out.Send, len(c.links))
	for _, l := range c.links {
		if l.via != 0 && l != origin {
			c.sendTo(l.via, msgs...)
		}
	}
}

// sendTo sends messages, which are not changed from then on.
func (c *Control) sendTo(id mesh.ConnID, msgs ...wire.Message) {
	if id != 0 && len(msgs) > 0 {
		c.out.Send = append(c.out.Send, Send{id, msgs})
	}
}

func (c *Control) sendDigest(id mesh.ConnID) { c.sendTo(id, wire.Digest{Hash: c.db.Digest()}) }

// signRecord asks for a signature over the node record that carries the present SVID.
func (c *Control) signRecord(now time.Time) {
	c.recordAt, c.recordMade = time.Time{}, now
	c.out.Sign = append(c.out.Sign, Sign{Kind: lsdb.KindRecord, SVID: c.identity.Leaf, Record: wire.Record{
		Origin: c.cfg.Self, Incarnation: c.cfg.Incarnation, Seq: c.db.NextRecordSeq(),
		Time: now, Chain: c.identity.Chain, Roles: c.cfg.Roles, Addresses: c.cfg.Addresses,
	}})
}

// announce offers the present links to the database, which says when they are to be announced.
func (c *Control) announce(now time.Time) {
	if len(c.identity.Chain) == 0 {
		return
	}
	if lsa, due := c.db.Originate(now, c.adjacencies()); due {
		c.out.Sign = append(c.out.Sign, Sign{Kind: lsdb.KindLSA, LSA: lsa, SVID: lsa.SVID})
	}
}

func (c *Control) adjacencies() []mesh.Adjacency {
	if !c.linksNew {
		return c.adjacent
	}
	c.linksNew = false
	c.adjacent = nil
	for _, l := range c.links {
		if l.via == 0 || l.theirs == 0 || !l.status.Usable() {
			continue
		}
		c.adjacent = append(c.adjacent, mesh.Adjacency{
			Neighbour: l.neighbour, Label: l.label, Remote: l.theirs, Cost: l.status.Cost, Quality: l.status.Quality,
			MTU: l.frame(), Capacity: c.cfg.InterfaceCapacity[l.iface], Suspect: l.status.State == mesh.LinkSuspect, Groups: c.groupsOf(l),
		})
	}
	return c.adjacent
}

// signed takes an own announcement that has its signature now.
func (c *Control) signed(now time.Time, ev Signed) {
	if len(ev.Raw) == 0 && ev.Kind == lsdb.KindRecord {
		c.signRecord(now) // the SVID was rotated meanwhile
		return
	}
	o, err := c.db.SetSelf(now, ev.Kind, ev.Raw, c.identity.NotAfter)
	if err != nil {
		c.out.Alarm = append(c.out.Alarm, "own announcement refused: "+err.Error())
		return
	}
	c.witness(now, c.cfg.Self)
	c.outcome(o)
}
