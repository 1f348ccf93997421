package replica

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/api"
	"x0tta6bl4/core/crdt"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// A snapshot is
//
//	"x0tstate" ‖ version 1 (1) ‖ domain: length (1) ‖ name ‖ node: length (1) ‖ name ‖ time, Unix ms (8) ‖ entries (8) ‖ digest (32)
//	parts: type (1) ‖ length (4) ‖ body
//	    1 chain   as wire.AppendChain writes it; right before the first piece that names its leaf
//	    2 piece   of a batch, as neighbours send it
//	    0 end     of no length
//	SHA-256 of all of that (32), and nothing behind it
//
// So it is proven entry by entry, as a neighbour's messages are: whoever changed it could only leave something out, or bring back what is
// older and loses.
const (
	snapshotMagic   = "x0tstate"
	snapshotVersion = 1

	partEnd   = 0
	partChain = 1
	partPiece = 2
)

// What is wrong with a snapshot.
var (
	ErrNotSnapshot     = errors.New("not a snapshot of the shared state")
	ErrSnapshotTorn    = errors.New("the snapshot ends too early")
	ErrSnapshotChanged = errors.New("the snapshot is not as it was written")
	ErrSnapshotNewer   = errors.New("the snapshot was written by a newer version: use that")
	ErrSnapshotDomain  = errors.New("the snapshot is of another domain")
	ErrSnapshotLarge   = errors.New("the snapshot is larger than this node takes")
	errUnproven        = errors.New("the certificate that proves a batch is not here, so no snapshot can hold it: restart this node, and its neighbours give both again")
)

// head is what stands at the beginning of a snapshot.
type head struct {
	domain  string
	node    mesh.NodeID
	time    time.Time
	entries uint64
	digest  [32]byte
}

func (h *head) info() api.SnapshotInfo {
	return api.SnapshotInfo{
		Domain: h.domain, Node: h.node, Time: h.time, Entries: int(h.entries), Digest: hex.EncodeToString(h.digest[:]),
	}
}

func (h *head) append(dst []byte) []byte {
	be := binary.BigEndian
	dst = append(append(dst, snapshotMagic...), snapshotVersion)
	dst = append(append(dst, byte(len(h.domain))), h.domain...)
	dst = append(append(dst, byte(len(h.node.String()))), h.node.String()...)
	dst = be.AppendUint64(dst, uint64(h.time.UnixMilli()))
	return append(be.AppendUint64(dst, h.entries), h.digest[:]...)
}

// Snapshot implements api.StateBackend. It shows one moment, and holds nothing up while it is written.
func (r *Replica) Snapshot(ctx context.Context, to io.Writer) (api.SnapshotInfo, error) {
	type moment struct {
		head   head
		all    []crdt.Frozen
		chains map[[32]byte][]byte
	}
	got := make(chan moment, 1)
	var unproven []byte
	err := r.do(ctx, func(now time.Time) {
		d := r.state.Digest()
		m := moment{head{r.cfg.Domain.Name(), r.cfg.Self, now.UTC().Truncate(time.Millisecond), d.Count, d.Digest}, r.state.Freeze(), map[[32]byte][]byte{}}
		for i := range m.all {
			svid := m.all[i].Batch().SVID
			if m.chains[svid] = r.chains.kept[svid]; m.chains[svid] == nil {
				unproven = svid[:]
			}
		}
		got <- m
	})
	if err != nil {
		return api.SnapshotInfo{}, err
	}
	m := <-got
	if unproven != nil {
		return api.SnapshotInfo{}, fmt.Errorf("%w: %x", errUnproven, unproven)
	}
	w := newSnapshotWriter(to)
	w.write(m.head.append(nil))
	for i := range m.all {
		if err := ctx.Err(); err != nil {
			return api.SnapshotInfo{}, err
		}
		w.batch(&m.all[i], m.chains)
	}
	if err := w.end(); err != nil {
		return api.SnapshotInfo{}, fmt.Errorf("write the snapshot: %w", err)
	}
	return m.head.info(), nil
}

// snapshotWriter writes and hashes; its first error sticks.
type snapshotWriter struct {
	to  *bufio.Writer
	sum hash.Hash
	err error
}

func newSnapshotWriter(to io.Writer) *snapshotWriter {
	return &snapshotWriter{to: bufio.NewWriterSize(to, readAhead), sum: sha256.New()}
}

func (w *snapshotWriter) write(b []byte) {
	if w.err == nil {
		w.sum.Write(b)
		_, w.err = w.to.Write(b)
	}
}

func (w *snapshotWriter) part(kind byte, body []byte) {
	w.write(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body))))
	w.write(body)
}

// batch writes a batch, and takes its chain out of chains when that is written.
func (w *snapshotWriter) batch(f *crdt.Frozen, chains map[[32]byte][]byte) {
	svid := f.Batch().SVID
	if raw, first := chains[svid]; first {
		w.part(partChain, raw)
		delete(chains, svid)
	}
	for raw := range f.Pieces() {
		w.part(partPiece, raw)
	}
}

func (w *snapshotWriter) end() error {
	w.part(partEnd, nil)
	w.write(w.sum.Sum(nil))
	if w.err != nil {
		return w.err
	}
	return w.to.Flush()
}

// snapshotReader reads the parts of a snapshot and hashes them.
type snapshotReader struct {
	from *bufio.Reader
	at   int64 // bytes that were read
	sum  hash.Hash
	buf  []byte
}

func newSnapshotReader(from io.Reader) *snapshotReader {
	return &snapshotReader{from: bufio.NewReaderSize(from, readAhead), sum: sha256.New()}
}

// read reads n bytes, which are good until the next call.
func (r *snapshotReader) read(n int) ([]byte, error) {
	if cap(r.buf) < n {
		r.buf = make([]byte, n)
	}
	b := r.buf[:n]
	if _, err := io.ReadFull(r.from, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = ErrSnapshotTorn
		}
		return nil, err
	}
	r.sum.Write(b)
	r.at += int64(n)
	return b, nil
}

func (r *snapshotReader) head() (h head, err error) {
	b, err := r.read(len(snapshotMagic) + 1)
	switch {
	case errors.Is(err, ErrSnapshotTorn) || err == nil && string(b[:len(snapshotMagic)]) != snapshotMagic:
		return h, ErrNotSnapshot
	case err != nil:
		return h, err
	case b[len(snapshotMagic)] > snapshotVersion:
		return h, fmt.Errorf("%w: version %d, this program knows %d", ErrSnapshotNewer, b[len(snapshotMagic)], snapshotVersion)
	case b[len(snapshotMagic)] != snapshotVersion:
		return h, ErrNotSnapshot
	}
	if h.domain, err = r.text(); err != nil {
		return h, err
	}
	name, err := r.text()
	if err != nil {
		return h, err
	}
	if b, err = r.read(8 + 8 + 32); err != nil {
		return h, err
	}
	ms := binary.BigEndian.Uint64(b)
	h.entries, h.digest = binary.BigEndian.Uint64(b[8:]), [32]byte(b[16:])
	if _, err := spiffeid.TrustDomainFromString(h.domain); err != nil {
		return h, fmt.Errorf("%w: its domain: %w", ErrSnapshotChanged, err)
	}
	if h.node, err = mesh.ParseNodeID(name); err != nil || ms > uint64(mesh.MaxHybrid.Time().UnixMilli()) || h.entries > math.MaxInt {
		return h, fmt.Errorf("%w: its head is not one", ErrSnapshotChanged)
	}
	h.time = time.UnixMilli(int64(ms)).UTC()
	return h, nil
}

func (r *snapshotReader) text() (string, error) {
	n, err := r.read(1)
	if err != nil {
		return "", err
	}
	b, err := r.read(int(n[0]))
	return string(b), err
}

// part reads the next part.
func (r *snapshotReader) part() (kind byte, body []byte, err error) {
	b, err := r.read(1 + 4)
	if err != nil {
		return 0, nil, err
	}
	kind = b[0]
	n := binary.BigEndian.Uint32(b[1:])
	if n > wire.MaxPiece || kind > partPiece || kind == partEnd && n > 0 {
		return 0, nil, fmt.Errorf("%w: a part of type %d and %d bytes", ErrSnapshotChanged, kind, n)
	}
	body, err = r.read(int(n))
	return kind, body, err
}
