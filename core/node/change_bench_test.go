package node

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/topology"
	"x0tta6bl4/wire"
)

// plain is a node of a map as the others see it: its links, each by its index in the map.
type plain struct {
	id    mesh.NodeID
	seq   uint64
	links []int
}

// town is a node of a map with sessions in use, and the others as they announce themselves.
type town struct {
	*Control
	m     *topology.Map
	at    time.Time
	from  mesh.ConnID // what brings the news
	nodes []plain
	cut   map[int]bool
	spent time.Duration // processor time in Step

	renewed time.Time
}

// labelOn is the label of a link at its end A or B.
func labelOn(link int, b bool) mesh.Label { return mesh.Label(2*link + 1 + btoi(b)) }

func newTown(tb testing.TB, spec string, flows int) *town {
	tb.Helper()
	m, err := topology.Builtin(spec)
	if err != nil {
		tb.Fatal(err)
	}
	r := &town{m: m, at: epoch, cut: map[int]bool{}}
	for i, n := range m.Nodes {
		r.nodes = append(r.nodes, plain{id: n.ID})
		for l, k := range m.Links {
			if k.A == i || k.B == i {
				r.nodes[i].links = append(r.nodes[i].links, l)
			}
		}
	}
	cfg := Config{Self: r.nodes[0].id, Domain: domain, Incarnation: 1, Boot: 1, Rand: seeded(1), Idle: 1000 * time.Hour}
	for _, l := range r.nodes[0].links { // the labels that the others announce
		cfg.Labels.Bindings = append(cfg.Labels.Bindings, LabelBinding{r.label(0, l), r.other(0, l), r.remote(l)})
	}
	cfg.Labels.Next = 60000
	r.Control = NewControl(cfg, epoch)
	r.do(identityOf(cfg.Self, 0, epoch.Add(1000*time.Hour)))
	for i, l := range r.nodes[0].links {
		r.from = mesh.ConnID(i + 1)
		far := r.m.Links[l].A + r.m.Links[l].B
		r.do(ConnUp{Conn: r.from, Purpose: wire.PurposeLink, Peer: r.other(0, l), Remote: r.remote(l), MTU: 1452, NotAfter: epoch.Add(1000 * time.Hour)})
		r.do(Received{Conn: r.from, Message: wire.LinkOpen{Version: 1, Index: uint32(r.from), Label: r.label(far, l), Hello: time.Second, MTU: 1400, Boot: 1}})
		r.do(LinkReport{Label: r.label(0, l), Status: mesh.LinkStatus{State: mesh.LinkUp, Since: r.at, Cost: r.cost(l), Quality: mesh.Excellent}})
	}
	for i := 1; i < len(r.nodes); i++ {
		chain, _ := chainOf(r.nodes[i].id, 0)
		rec := wire.Record{Origin: r.nodes[i].id, Incarnation: 1, Seq: 1, Time: r.at, Chain: chain}
		r.do(Received{Conn: r.from, Message: wire.RecordMsg{Raw: rec.AppendSigned(nil, []byte("signature"))}})
	}
	r.renew()
	r.at = r.at.Add(time.Second)
	r.do(Tick{})
	for i := range flows {
		n := r.nodes[1+i*(len(r.nodes)-1)/flows].id
		r.do(Wanted{Addr: mesh.Addr(domain, n)})
		id := mesh.ConnID(1000 + i)
		r.do(ConnUp{Conn: id, Purpose: wire.PurposeE2E, Peer: n, NotAfter: epoch.Add(1000 * time.Hour)})
		r.do(Received{Conn: id, Message: wire.PeerOpen{Version: 1, Index: uint32(id), Boot: 1}})
	}
	return r
}

func (r *town) remote(link int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(link >> 8), byte(link)}), 7420)
}

func (r *town) other(n, link int) mesh.NodeID {
	return r.m.Nodes[r.m.Links[link].A+r.m.Links[link].B-n].ID
}

func (r *town) label(n, link int) mesh.Label { return labelOn(link, r.m.Links[link].B == n) }

func (r *town) cost(link int) mesh.Cost { return mesh.Cost(100 + r.m.Links[link].Delay.Microseconds()) }

// cpu returns the processor time that this process has taken.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// do takes an event and what follows from it at once.
func (r *town) do(ev ControlEvent) {
	begin := cpu()
	out := r.Step(r.at, ev)
	r.spent += cpu() - begin
	work(out, epoch.Add(1000*time.Hour), r.do)
}

// announcement is what a node says of its links now.
func (r *town) announcement(n int) wire.Message {
	p := &r.nodes[n]
	p.seq++
	_, leaf := chainOf(p.id, 0)
	lsa := wire.LSA{Origin: p.id, Incarnation: 1, Boot: 1, Seq: p.seq, Time: r.at, Lifetime: lsdb.Lifetime, SVID: leaf}
	for _, l := range p.links {
		if !r.cut[l] {
			far := r.m.Links[l].A + r.m.Links[l].B - n
			lsa.Links = append(lsa.Links, mesh.Adjacency{
				Neighbour: r.m.Nodes[far].ID, Label: r.label(n, l), Remote: r.label(far, l), Cost: r.cost(l), Quality: mesh.Excellent, MTU: 1400,
			})
		}
	}
	return wire.LSAMsg{Raw: lsa.AppendSigned(nil, []byte("signature"))}
}

// renew has all other nodes announce themselves anew.
func (r *town) renew() {
	for i := 1; i < len(r.nodes); i++ {
		r.do(Received{Conn: r.from, Message: r.announcement(i)})
	}
	r.renewed = r.at
}

// change has a link cut, or come back, and both its ends say so; it returns the time that the node takes for that.
func (r *town) change(link int, cut bool) time.Duration {
	r.cut[link] = cut
	r.at = r.at.Add(time.Second)
	if r.at.Sub(r.renewed) > lsdb.Lifetime/2 {
		r.renew()
	}
	r.do(Tick{})
	r.spent = 0
	for _, n := range [...]int{r.m.Links[link].A, r.m.Links[link].B} {
		r.do(Received{Conn: r.from, Message: r.announcement(n)})
		r.at = r.at.Add(spfPause)
		r.do(Tick{})
	}
	return r.spent
}

// What it costs a node with 39 destinations in use, signatures apart, that one link somewhere in its mesh is cut, or is there
// again: two announcements, and the paths that follow from them.
func BenchmarkLinkChange(b *testing.B) {
	for _, spec := range []string{"geo:40:1", "geo:1000:1"} {
		b.Run(spec, func(b *testing.B) {
			r := newTown(b, spec, 39)
			if n := len(r.Reachable()); n < len(r.nodes)*9/10 {
				b.Fatalf("%d of %d nodes can be reached", n, len(r.nodes))
			}
			var cut, back time.Duration
			link := 0
			for b.Loop() {
				link = (link + 7919) % len(r.m.Links)
				if r.m.Links[link].A == 0 || r.m.Links[link].B == 0 {
					continue // the node's own announce themselves
				}
				cut += r.change(link, true)
				back += r.change(link, false)
			}
			if len(r.peers) != 39 {
				b.Fatalf("%d destinations are left", len(r.peers))
			}
			b.ReportMetric(float64(cut.Microseconds())/float64(b.N), "µs/cut")
			b.ReportMetric(float64(back.Microseconds())/float64(b.N), "µs/back")
		})
	}
}
