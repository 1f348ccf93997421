package node

import (
	"slices"
	"time"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// What one neighbour, by all its connections together, may make this node look through its database for and send of it:
// a few bytes of question can have a megabyte of answer. What is not answered is made good by a later comparison. Two
// honest nodes with sixteen links between them and a thousand nodes in their databases stay well below.
const (
	askBurst        = 64 // digests that differ, and summaries
	asksPerSecond   = 4
	answerBurst     = 4 << 20 // bytes of answers: several times what may wait for one neighbour at all
	answerPerSecond = 256 << 10
	keptAllowances  = 64 // of neighbours that may have gone, when those that are whole again are forgotten
)

// allowance is what a neighbour has left.
type allowance struct {
	who   mesh.NodeID
	asks  float64
	bytes float64
	at    time.Time
}

func (a *allowance) fill(now time.Time) {
	if d := now.Sub(a.at).Seconds(); d > 0 {
		a.asks = min(askBurst, a.asks+d*asksPerSecond)
		a.bytes = min(answerBurst, a.bytes+d*answerPerSecond)
	}
	a.at = now
}

func (a *allowance) whole() bool { return a.asks >= askBurst && a.bytes >= answerBurst }

// allowanceOf returns what a neighbour has left now. It outlives the connections, or coming anew would renew it.
func (c *Control) allowanceOf(now time.Time, n mesh.NodeID) *allowance {
	i, ok := slices.BinarySearchFunc(c.allowances, n, func(a *allowance, n mesh.NodeID) int { return a.who.Compare(n) })
	if ok {
		a := c.allowances[i]
		a.fill(now)
		return a
	}
	if len(c.allowances) >= keptAllowances {
		c.allowances = slices.DeleteFunc(c.allowances, func(a *allowance) bool { a.fill(now); return a.whole() })
	}
	a := &allowance{n, askBurst, answerBurst, now}
	c.allowances = append(c.allowances, a)
	slices.SortFunc(c.allowances, func(a, b *allowance) int { return a.who.Compare(b.who) })
	return a
}

// exchange answers a question about the database: a digest, a summary or a request.
func (c *Control) exchange(now time.Time, cn *conn, m wire.Message) {
	d, isDigest := m.(wire.Digest)
	if isDigest && d.Hash == c.db.Digest() {
		return
	}
	a := c.allowanceOf(now, cn.link.neighbour)
	_, isRequest := m.(wire.RecordRequest)
	if a.bytes < 1 || !isRequest && a.asks < 1 {
		c.tally.asksRefused++
		return
	}
	switch m := m.(type) {
	case wire.Digest:
		a.asks--
		for _, s := range c.db.Summary() {
			c.answer(cn, a, s)
		}
	case wire.Summary:
		a.asks--
		send, request := c.db.Reconcile(m)
		c.answer(cn, a, send...)
		if len(request) > 0 {
			c.sendTo(cn.id, wire.RecordRequest{SVIDs: request})
		}
	case wire.RecordRequest:
		c.answer(cn, a, c.db.Answer(m)...)
	}
}

// answer sends so many messages as the neighbour's allowance has bytes for, and one that goes beyond it.
func (c *Control) answer(cn *conn, a *allowance, msgs ...wire.Message) {
	n := 0
	for ; n < len(msgs) && a.bytes > 0; n++ {
		a.bytes -= float64(sizeOf(msgs[n]))
	}
	if n < len(msgs) {
		c.tally.answersCut++
	}
	c.sendTo(cn.id, msgs[:n]...)
}

// sizeOf returns about how many bytes an answer has.
func sizeOf(m wire.Message) int {
	switch m := m.(type) {
	case wire.RecordMsg:
		return wire.MessageHeader + 1 + len(m.Raw)
	case wire.LSAMsg:
		return wire.MessageHeader + 1 + len(m.Raw)
	case wire.Summary:
		return wire.MessageHeader + 1 + len(m.Entries)*summaryEntry
	}
	return wire.MessageHeader + 1
}

// summaryEntry is the size of an entry with a long name.
const summaryEntry = 96

// source says by whom and by which connection something came.
func (cn *conn) source() lsdb.Source { return lsdb.Source{Conn: cn.id, Node: cn.link.neighbour} }
