package sim

import (
	"crypto/sha256"
	"slices"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// press is where announcements are known by their bytes, so that what many nodes would find out of one is found once.
type press struct {
	on       bool // else nothing is remembered
	nodes    int
	articles lsdb.Memo[*byte, *article]
	last     *byte
	lastOne  *article

	lastSummary *wire.SummaryEntry
	lastSize    int
}

// article is one signed announcement.
type article struct {
	boots []uint32 // by node: the life in which it took it in
	known bool     // whether its signature holds was found out
	good  bool
	leaf  string // by which it was to be signed, once known
}

// pressed is how many announcements are remembered, at least.
const pressed = 1 << 14

func newPress(nodes int, on bool) press {
	return press{on: on, nodes: nodes, articles: lsdb.NewMemo[*byte, *article](pressed)}
}

// of returns what is remembered of an announcement; nil in a stepwise run.
func (p *press) of(raw []byte) *article {
	if !p.on || len(raw) == 0 {
		return nil
	}
	key := &raw[0]
	if key == p.last {
		return p.lastOne
	}
	a, ok := p.articles.Get(key)
	if !ok {
		a = &article{boots: make([]uint32, p.nodes)}
		p.articles.Put(key, a)
	}
	p.last, p.lastOne = key, a
	return a
}

// took notes that a node takes an announcement in: the same bytes, offered again in this life, change nothing. Its
// database holds them, checks them, or has newer ones.
func (p *press) took(s *simNode, raw []byte) {
	if a := p.of(raw); a != nil {
		a.boots[s.index] = s.boots
	}
}

// has reports whether a node took an announcement in.
func (a *article) has(s *simNode) bool { return a != nil && a.boots[s.index] == s.boots }

// verify does a job for a node.
func (p *press) verify(job *lsdb.VerifyJob) node.Checked {
	a := p.of(job.Raw)
	if a == nil {
		a = &article{}
	}
	if !a.known {
		a.known, a.good, a.leaf = true, genuine(job), leafOf(job.Origin)
	}
	if !a.good || len(job.Chain) == 0 || string(job.Chain[0]) != a.leaf {
		return node.Checked{Job: *job, Err: lsdb.ErrWrongSigner}
	}
	return node.Checked{Job: *job, NotAfter: forever}
}

// genuine reports whether the signature of a job is its origin's.
func genuine(job *lsdb.VerifyJob) bool {
	return slices.Equal(job.Sig, fakeSignature([]byte(leafOf(job.Origin)), job.Signed))
}

// leafOf stands for the leaf certificate of a node.
func leafOf(n mesh.NodeID) string { return "svid of " + n.String() }

// fakeChain stands for a node's SVID: its leaf names the node, and nobody else gets it to sign with.
func fakeChain(n mesh.NodeID) ([][]byte, [32]byte) {
	leaf := []byte(leafOf(n))
	return [][]byte{leaf}, sha256.Sum256(leaf)
}

func fakeSignature(leaf, input []byte) []byte {
	h := sha256.New()
	_, _ = h.Write(leaf)
	_, _ = h.Write(input)
	return h.Sum(nil)
}

// letter makes a message ready to be sent. A short-cut run measures it; a stepwise one encodes and parses it, as its
// connection would.
func (p *press) letter(m wire.Message) (letter, error) {
	if !p.on {
		raw, err := wire.AppendMessage(nil, m)
		if err != nil {
			return letter{}, err
		}
		got, err := wire.ParseMessage(raw[wire.MessageHeader:])
		return letter{message: got, size: len(raw), kind: wire.Kind(raw[wire.MessageHeader])}, err
	}
	l := letter{message: m}
	switch m := m.(type) {
	case wire.RecordMsg:
		l.kind, l.size, l.article = recordKind, bodyAt+len(m.Raw), p.of(m.Raw)
	case wire.LSAMsg:
		l.kind, l.size, l.article = lsaKind, bodyAt+len(m.Raw), p.of(m.Raw)
	case wire.Digest:
		l.kind, l.size = digestKind, bodyAt+len(m.Hash)
	case wire.Summary:
		l.kind, l.size = summaryKind, p.summarySize(m)
	case wire.RecordRequest:
		l.kind, l.size = requestKind, bodyAt+4+32*len(m.SVIDs)
	default:
		raw, err := wire.AppendMessage(nil, m)
		if err != nil {
			return letter{}, err
		}
		l.kind, l.size = wire.Kind(raw[wire.MessageHeader]), len(raw)
	}
	return l, nil
}

// bodyAt is where the body of a control message begins: behind its length and its type.
const bodyAt = wire.MessageHeader + 1

// summarySize returns the encoded size of a summary, as wire draws it.
func (p *press) summarySize(m wire.Summary) int {
	if len(m.Entries) > 0 && &m.Entries[0] == p.lastSummary {
		return p.lastSize
	}
	size := bodyAt + 4 + len(m.Entries)*(1+8+8+32+8)
	for i := range m.Entries {
		size += len(m.Entries[i].Origin.String())
	}
	if len(m.Entries) > 0 {
		p.lastSummary, p.lastSize = &m.Entries[0], size
	}
	return size
}
