package sim

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Member is what one node of a mesh of so many holds, whatever the others do: its link-state database, with the records and
// announcements of all, each of a mean of 6 links.
type Member struct {
	Nodes    int     `json:"nodes"`
	Memory   uint64  `json:"database_bytes"`           // of memory
	Wire     uint64  `json:"database_bytes_on_wire"`   // of all records and announcements
	TakeIn   float64 `json:"take_in_ms"`               // real time to take in all of them, but for checking signatures
	Renewals float64 `json:"renewal_bytes_per_second"` // that it sends: all announcements, each once in their renewal, by all links but one
}

// leafLen is how long the leaf certificate of a member is, about: a P-256 key and a name.
const leafLen = 500

// MeasureMember measures the database of one node among so many on the graph of MeasurePaths; clock tells real time.
func MeasureMember(nodes int, seed uint64, clock func() time.Time) (Member, error) {
	if nodes < minPathNodes || nodes > maxPathNodes {
		return Member{}, fmt.Errorf("%w: %d nodes: from %d to %d", ErrPaths, nodes, minPathNodes, maxPathNodes)
	}
	g := pathMeter{rng: rand.New(rand.NewPCG(seed, 0x7061746873))} // #nosec G404 -- the same graph for the same seed
	g.draw(nodes)
	said := g.announcements()
	m := Member{Nodes: nodes}
	before := heap()
	db := lsdb.New(mesh.MustNodeID("watcher"), lsdb.Config{Incarnation: 1, Boot: 1, MaxOrigins: nodes + 1})
	took := clock()
	announced := 0
	for _, s := range said {
		for i, raw := range [][]byte{s.record, s.lsa} {
			v, err := db.Offer(epoch, lsdb.Source{Conn: 1, Node: s.origin}, lsdb.KindRecord+lsdb.Kind(i), raw)
			if err != nil || v.Action != lsdb.Verify {
				return Member{}, fmt.Errorf("the database of one of %d nodes: %w", nodes, errors.Join(err, ErrPaths))
			}
			db.Verified(epoch, v.Job, forever, nil)
			m.Wire += uint64(len(raw))
		}
		announced += len(s.lsa)
	}
	db.Edges()
	m.TakeIn = millis(clock().Sub(took))
	m.Memory = heap() - before
	runtime.KeepAlive(said) // in both figures, or in neither
	if db.Len() != nodes {
		return Member{}, fmt.Errorf("the database of one of %d nodes holds %d: %w", nodes, db.Len(), ErrPaths)
	}
	links := float64(len(g.edges)) / float64(nodes)
	m.Renewals = float64(announced) * (links - 1) / (lsdb.Lifetime / 3).Seconds()
	runtime.KeepAlive(db)
	return m, nil
}

// heap returns how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// said is what a node has signed of itself.
type said struct {
	origin      mesh.NodeID
	record, lsa []byte
}

// announcements returns what all nodes of the graph say.
func (m *pathMeter) announcements() []said {
	links := map[mesh.NodeID][]mesh.Adjacency{}
	for _, e := range m.edges {
		links[e.From] = append(links[e.From], mesh.Adjacency{
			Neighbour: e.To, Label: e.Label, Remote: e.Remote, Cost: e.Cost, Quality: e.Quality, MTU: 1452,
		})
	}
	all := make([]said, 0, len(m.ids))
	for _, id := range m.ids {
		leaf := append(make([]byte, 0, leafLen), leafOf(id)...)[:leafLen]
		r := wire.Record{Origin: id, Incarnation: 1, Seq: 1, Time: epoch, Chain: [][]byte{leaf}, Addresses: []string{"192.0.2.1:65535"}}
		l := wire.LSA{Origin: id, Incarnation: 1, Boot: 1, Seq: 1, Time: epoch, Lifetime: lsdb.Lifetime, SVID: sha256.Sum256(leaf), Links: links[id]}
		var sig [71]byte // of an ECDSA signature, about
		all = append(all, said{id, r.AppendSigned(nil, sig[:]), l.AppendSigned(nil, sig[:])})
	}
	return all
}

// Mesh is what a whole mesh of so many nodes does, which is simulated with an own machine for each of them.
type Mesh struct {
	Nodes     int     `json:"nodes"`
	Links     int     `json:"links"`
	Converged float64 `json:"converged_ms"`              // from the start of all of them to equal databases everywhere
	Rest      float64 `json:"rest_bytes_per_second"`     // control traffic of a node
	Churn     float64 `json:"churn_bytes_per_second"`    // the same under churn
	Outages   Spread  `json:"churn_outages_ms"`          // of 32 streams under churn
	Memory    uint64  `json:"memory_bytes_per_node"`     // of this process; announcements are held once for all nodes
	Speed     float64 `json:"simulated_over_real_churn"` // under churn, of this machine
}

// MeasureMesh simulates a mesh twice, for so long each: at rest, and with churn from its start on. Both have what follows from
// cfg, but for Churn at rest; progress is called now and then, and ends it by an error.
func MeasureMesh(cfg Config, clock func() time.Time) (Mesh, error) {
	rest := cfg
	rest.Churn = Churn{}
	r, _, err := runMesh(rest)
	if err != nil {
		return Mesh{}, err
	}
	if r.Converged == nil {
		return Mesh{}, fmt.Errorf("%w: it has not converged in %v", ErrScale, cfg.Duration)
	}
	m := Mesh{Nodes: r.Nodes, Links: r.Links, Converged: *r.Converged, Rest: r.ControlRate}
	var churned time.Time
	progress := cfg.Progress
	cfg.Progress = func(at time.Duration) error {
		if churned.IsZero() && at >= cfg.Churn.From {
			churned = clock()
		}
		if progress != nil {
			return progress(at)
		}
		return nil
	}
	r, m.Memory, err = runMesh(cfg)
	if err != nil {
		return Mesh{}, err
	}
	m.Churn, m.Outages = r.ControlRate, r.Outages
	if took := clock().Sub(churned); !churned.IsZero() && took > 0 {
		m.Speed = float64(cfg.Duration-cfg.Churn.From) / float64(took)
	}
	return m, nil
}

// ErrScale is in the error about a mesh that says nothing.
var ErrScale = errors.New("no figures of a mesh")

// runMesh runs a simulation, and returns the memory that it holds at its end for each node, too.
func runMesh(cfg Config) (*Report, uint64, error) {
	before := heap()
	w, err := New(cfg)
	if err != nil {
		return nil, 0, err
	}
	r, err := w.Run()
	if err != nil {
		return nil, 0, err
	}
	after := heap()
	runtime.KeepAlive(w)
	return r, (max(after, before) - before) / uint64(len(w.nodes)), nil
}
