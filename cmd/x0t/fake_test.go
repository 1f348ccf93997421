package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/netip"
	"strings"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

var (
	alpha = mesh.MustNodeID("alpha")
	beta  = mesh.MustNodeID("beta")
	gamma = mesh.MustNodeID("gamma")
)

// fake is alpha, whose neighbour is beta; gamma is behind beta; delta is known and unreachable.
type fake struct{}

func addr(s string) netip.Addr         { return netip.MustParseAddr(s) }
func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
func msec(f float64) api.Millis        { return api.Millis(f * float64(time.Millisecond)) }

func (fake) Status(context.Context) (api.Status, error) {
	return api.Status{
		Node: alpha, SPIFFEID: "spiffe://example.mesh/node/alpha", TrustDomain: "example.mesh", Address: addr("fd12::1"),
		Version: "v0.1.0", PID: 4242, Started: noon.Add(-26 * time.Hour), Uptime: api.Millis(26 * time.Hour), Policy: api.PolicyNone,
		Health: api.HealthDegraded, HealthSince: noon.Add(-90 * time.Second), Reasons: []string{"1 of 2 links are not up; see x0t links"},
		SeenBy: []api.Observer{
			{Node: beta, Since: noon.Add(-12 * time.Minute), Quality: mesh.Excellent, Cost: 640, Mutual: true},
			{Node: gamma, Since: noon.Add(-3 * time.Second), Quality: mesh.Poor, Cost: 9000, Suspect: true, Mutual: true},
		}, Members: 4, LSDBNodes: 3,
		LSDBDigest: "00112233445566778899aabbccddeeff", LinksUp: 1, LinksTotal: 2, Sessions: 1,
		SVID:      api.SVID{Serial: "0f1e", NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(23 * time.Hour), RenewAt: noon.Add(11*time.Hour + 30*time.Minute)},
		Authority: true, Sealing: "in files of mode 0600, unsealed", TUN: "x0t0", MTU: 1360, Listen: []netip.AddrPort{addrPort("[::]:7420")},
		Names:    api.Names{Name: "alpha.example.mesh", Zone: "example.mesh", Mode: "auto", Server: addrPort("[fd12::1]:53"), Resolver: api.ResolverHosts, Resolves: true},
		Refused:  []api.Refusal{{Remote: "192.0.2.66:7420", Reason: "SVID of another trust domain", At: noon.Add(-90 * time.Second)}},
		Warnings: []string{"no policy: every member reaches every member"},
		Protect:  []string{"dscp:46", "udp/5060"}, OnePath: []mesh.NodeID{beta, gamma},
	}, nil
}

func (fake) Peers(context.Context) ([]api.Peer, error) {
	return []api.Peer{
		{Node: beta, Address: addr("fd12::2"), Session: api.SessionUp, Since: noon.Add(-time.Hour), Path: []mesh.NodeID{alpha, beta},
			RTT: msec(1.25), LastSeen: noon.Add(-300 * time.Millisecond), ObservedBy: []mesh.NodeID{alpha, gamma}, State: api.PeerConnected,
			StateSince: noon.Add(-time.Hour), LastRx: noon.Add(-300 * time.Millisecond), LastTx: noon.Add(-time.Second),
			Observers: []api.Observer{
				{Node: alpha, Since: noon.Add(-time.Hour), Quality: mesh.Excellent, Cost: 640, Mutual: true},
				{Node: gamma, Quality: mesh.Good, Cost: 640, Mutual: true},
			}},
		{Node: mesh.MustNodeID("delta"), Address: addr("fd12::4"), Session: api.SessionNone, State: api.PeerUnreachable, StateSince: noon.Add(-time.Minute),
			Observers: []api.Observer{{Node: gamma, Since: noon.Add(-5 * time.Second), Quality: mesh.Good, Cost: 640}}},
		{Node: gamma, Address: addr("fd12::3"), Session: api.SessionOpening, State: api.PeerOpening, StateSince: noon,
			Path: []mesh.NodeID{alpha, beta, gamma}, ObservedBy: []mesh.NodeID{beta},
			Observers: []api.Observer{{Node: beta, Since: noon.Add(-time.Hour), Quality: mesh.Fair, Cost: 640, Suspect: true, Mutual: true}}},
	}, nil
}

func (fake) Links(context.Context) ([]api.Link, error) {
	return []api.Link{
		{Label: 4711, Neighbour: beta, Remote: addrPort("192.0.2.2:7420"), State: mesh.LinkUp, Since: noon.Add(-75 * time.Minute), RTT: msec(1.25),
			Flaps: 3, Jitter: msec(0.1), LossIn: 0.012, LossOut: 0, Quality: mesh.Excellent, Cost: 640, MTU: 1472, RxBytes: 1_234_567, TxBytes: 999},
		{Label: 0, Remote: addrPort("[2001:db8::9]:7420"), State: mesh.LinkDown, Error: "no answer within 5s"},
	}, nil
}

var pathLoss = 0.004

func (fake) Paths(_ context.Context, n mesh.NodeID) (api.Paths, error) {
	if n != gamma {
		return api.Paths{}, api.Errorf(api.CodeUnknownNode, "no member %q is known here", n).With("x0t peers lists the members")
	}
	return api.Paths{Node: n, Address: addr("fd12::3"), Disjoint: api.DisjointNode, SharedGroups: []string{"0a1b2c3d", "rack-7"}, EndGroups: []string{"rack-7"}, Paths: []api.Path{
		{Nodes: []mesh.NodeID{alpha, beta, gamma}, Labels: []mesh.Label{4711, 12}, Cost: 1280, MTU: 1472, State: api.PathActive, Loss: &pathLoss, Share: 0.75, Protected: true},
		{Nodes: []mesh.NodeID{alpha, mesh.MustNodeID("delta"), gamma}, Labels: []mesh.Label{99, 3}, Cost: 20500, MTU: 1452, State: api.PathStandby, Copies: true},
		{Nodes: []mesh.NodeID{alpha, mesh.MustNodeID("eta"), gamma}, Labels: []mesh.Label{98, 3}, Cost: 20600, MTU: 1452, State: api.PathDead},
	}, Protect: true}, nil
}

func (fake) Identity(context.Context) (api.Identity, error) {
	return api.Identity{
		Node: alpha, SPIFFEID: "spiffe://example.mesh/node/alpha", TrustDomain: "example.mesh", Address: addr("fd12::1"),
		SVID:        api.SVID{Serial: "0f1e", NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(23 * time.Hour), RenewAt: noon.Add(11 * time.Hour)},
		Certificate: api.Certificate{Issuer: "O=example.mesh,CN=alpha", Key: "ECDSA P-256", Signature: "ECDSA-SHA256", SHA256: "ab01"},
		Chain:       "-----BEGIN CERTIFICATE-----\n", Bundle: "-----BEGIN CERTIFICATE-----\n", DomainKey: "d0d0",
		Log: api.Log{Seq: 2, Authorities: []api.Authority{{Node: "alpha", State: "active", SHA256: "ca01", NotAfter: noon.Add(365 * 24 * time.Hour)}}},
	}, nil
}

func (fake) Counters(context.Context) (api.Counters, error) { return nil, nil }

func (fake) Ping(_ context.Context, req api.PingRequest, emit func(api.PingReply) error) error {
	if req.Node != gamma && req.Node != beta {
		return api.Errorf(api.CodeUnknownNode, "no member %q is known here", req.Node).With("x0t peers lists the members")
	}
	for seq := 1; seq <= req.Count; seq++ {
		r := api.PingReply{Seq: seq, RTT: msec(float64(seq) * 1.5), Path: []mesh.NodeID{alpha, beta, gamma}}
		if req.Node == beta || seq == 3 {
			r = api.PingReply{Seq: seq, Lost: true, Error: "no answer within 1s"}
		}
		if err := emit(r); err != nil {
			return err
		}
	}
	return nil
}

func (fake) Trace(_ context.Context, n mesh.NodeID, emit func(api.TraceHop) error) error {
	if err := emit(api.TraceHop{Hop: 1, Node: beta, Address: addr("fd12::2"), RTT: msec(1.25), Quality: mesh.Excellent, Label: 4711}); err != nil {
		return err
	}
	last := api.TraceHop{Hop: 2, Node: n, Address: addr("fd12::3"), RTT: msec(14), Quality: mesh.Good, Label: 12}
	if n != gamma {
		last.RTT, last.Lost, last.Error = 0, true, "no answer within 1s"
	}
	return emit(last)
}

func (fake) CreateToken(_ context.Context, r api.TokenRequest) (api.Token, error) {
	if r.Node == alpha && !r.Replace {
		return api.Token{}, api.Errorf(api.CodeConflict, "a node named alpha exists").With("use --replace to turn it out")
	}
	ttl := r.TTL.Duration()
	if ttl == 0 {
		ttl = 10 * time.Minute
	}
	return api.Token{Node: r.Node, Token: "x0t1-abc", Join: "x0t join x0t1-abc", Expires: noon.Add(ttl)}, nil
}

// fakeShared is the shared state of alpha: what entries has, or what its functions say.
type fakeShared struct {
	entries  []api.KVEntry
	changes  []api.KVChange
	fresh    *api.Freshness // nil: as good as can be
	put      func(key, value []byte) error
	snapshot func(w io.Writer) error
	restored *api.RestoreResult
	pageSize int // of a list; 0: as asked for
}

func (f *fakeShared) freshness() api.Freshness {
	if f.fresh != nil {
		return *f.fresh
	}
	ago := msec(1500)
	return api.Freshness{Consistency: api.ConsistencyEventual, Settled: true, Neighbours: 2, Agreeing: 2, Agreed: &ago}
}

func (f *fakeShared) KVGet(_ context.Context, key []byte) (api.KVGet, error) {
	got := api.KVGet{Freshness: f.freshness()}
	for _, e := range f.entries {
		if string(e.Key) == string(key) {
			got.Entry = &e
		}
	}
	return got, nil
}

func (f *fakeShared) written(key, value []byte) (api.KVWritten, error) {
	if f.put != nil {
		if err := f.put(key, value); err != nil {
			return api.KVWritten{}, err
		}
	}
	return api.KVWritten{Freshness: f.freshness(), Time: noon, Revision: "j.17"}, nil
}

func (f *fakeShared) KVPut(_ context.Context, key, value []byte) (api.KVWritten, error) {
	return f.written(key, value)
}

func (f *fakeShared) KVDelete(_ context.Context, key []byte) (api.KVWritten, error) {
	return f.written(key, nil)
}

func (f *fakeShared) KVList(_ context.Context, req api.KVListRequest) (api.KVList, error) {
	l := api.KVList{Freshness: f.freshness(), Revision: "j.16"}
	if f.pageSize > 0 {
		req.Limit = min(req.Limit, f.pageSize)
	}
	for _, e := range f.entries {
		if !strings.HasPrefix(string(e.Key), string(req.Prefix)) || string(e.Key) <= string(req.After) {
			continue
		}
		if len(l.Entries) == req.Limit {
			l.After = l.Entries[req.Limit-1].Key
			break
		}
		l.Entries = append(l.Entries, e)
	}
	return l, nil
}

func (f *fakeShared) KVWatch(ctx context.Context, req api.KVWatchRequest, emit func(api.KVChange) error) error {
	if req.From != "j.16" && !req.Current {
		return api.Errorf(api.CodeBadRequest, "revision %q is of another replica", req.From).With("leave out --from")
	}
	if err := f.KVLog(ctx, api.KVLogRequest{Prefix: req.Prefix}, emit); err != nil {
		return err
	}
	return api.Errorf(api.CodeInternal, "the journal cannot be read")
}

func (f *fakeShared) KVLog(_ context.Context, req api.KVLogRequest, emit func(api.KVChange) error) error {
	for _, c := range f.changes {
		if strings.HasPrefix(string(c.Key), string(req.Prefix)) {
			if err := emit(c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fakeShared) Settle(context.Context) error { return nil }

func (f *fakeShared) State(context.Context) (api.StateInfo, error) {
	return api.StateInfo{Freshness: f.freshness(), Entries: 12, Bytes: 34567, Digest: "00112233", Warnings: []string{"the clock of gamma is 2m ahead"}}, nil
}

var snapshotInfo = api.SnapshotInfo{Domain: "example.mesh", Node: alpha, Time: noon, Entries: 0, Digest: strings.Repeat("0123", 16)}

// sound is a snapshot of a state without entries; of what is in them daemon/replica has the tests.
var sound = snapshotWith(snapshotInfo.Digest)

func snapshotWith(digest string) []byte {
	b := []byte("x0tstate\x01\x0cexample.mesh\x05alpha")
	b = binary.BigEndian.AppendUint64(b, uint64(noon.UnixMilli()))
	b = append(b, make([]byte, 8)...) // entries
	b, err := hex.AppendDecode(b, []byte(digest))
	if err != nil {
		panic(err)
	}
	b = append(b, make([]byte, 5)...) // the last part
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func (f *fakeShared) Snapshot(_ context.Context, w io.Writer) (api.SnapshotInfo, error) {
	if f.snapshot != nil {
		return snapshotInfo, f.snapshot(w)
	}
	_, err := w.Write(sound)
	return snapshotInfo, err
}

func (f *fakeShared) Restore(_ context.Context, r io.Reader) (api.RestoreResult, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return api.RestoreResult{}, err
	}
	if !bytes.Equal(b, sound) {
		return api.RestoreResult{}, api.Errorf(api.CodeBadRequest, "the snapshot is torn: its checksum is missing").With("use another copy")
	}
	if f.restored != nil {
		return *f.restored, nil
	}
	return api.RestoreResult{Snapshot: snapshotInfo, Taken: 10, Known: 1, Refused: 1}, nil
}
