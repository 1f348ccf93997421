package trust

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/mesh"
)

const (
	logMagic   = "x0tl"
	logVersion = 1
	maxSigs    = 16
	maxMillis  = 1 << 50 // some 35,000 years: any later time is garbage

	cryptoSHA256 = crypto.SHA256
)

type signature struct {
	signer [32]byte
	sig    []byte
}

type entry struct {
	op     Op
	seq    uint64
	prev   [32]byte
	time   time.Time
	sigs   []signature
	signed []byte // set by parseEntry
}

// splitLog cuts a log into its entries, at least one.
func splitLog(b []byte) ([][]byte, error) {
	if len(b) > MaxLog+len(logMagic)+1 {
		return nil, fmt.Errorf("%w: it has %d bytes, more than %d", ErrLogFormat, len(b), MaxLog)
	}
	rest, ok := bytes.CutPrefix(b, []byte(logMagic))
	if !ok || len(rest) == 0 {
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrLogFormat, logMagic)
	}
	if rest[0] != logVersion {
		return nil, fmt.Errorf("%w: it is of version %d, this program reads %d; install a newer x0t", ErrLogVersion, rest[0], logVersion)
	}
	var out [][]byte
	r := reader{b: rest[1:]}
	for len(r.b) > 0 && !r.bad {
		out = append(out, r.long())
	}
	if r.bad || len(out) == 0 {
		return nil, fmt.Errorf("%w: entry %d is cut off", ErrLogFormat, len(out))
	}
	return out, nil
}

func signingInput(signed []byte) []byte {
	return append([]byte("x0t-log/1\x00"), signed...)
}

func (e entry) appendSigned(dst []byte) []byte {
	dst = append(dst, e.op.kind())
	dst = binary.BigEndian.AppendUint64(dst, e.seq)
	dst = append(dst, e.prev[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(max(e.time.UnixMilli(), 0))) // #nosec G115 -- not negative
	var body []byte
	switch op := e.op.(type) {
	case Establish:
		body = append(appendB8(body, op.Domain.Name()), op.Key[:]...)
	case AddAuthority:
		body = appendB16(appendB16(appendB8(body, op.Node.String()), op.CA), op.JWT)
	case RevokeAuthority:
		body = op.CA[:]
	}
	return appendB32(dst, body)
}

func (e entry) appendSigs(dst []byte) []byte {
	dst = append(dst, byte(len(e.sigs)))
	for _, s := range e.sigs {
		dst = appendB8(append(dst, s.signer[:]...), s.sig)
	}
	return dst
}

func parseEntry(raw []byte) (entry, error) {
	r := reader{b: raw}
	kind := r.u8()
	e := entry{seq: r.u64(), prev: r.b32()}
	ms := r.u64()
	body := r.long()
	if r.bad || ms > maxMillis {
		return entry{}, fmt.Errorf("%w: an entry is cut off", ErrLogFormat)
	}
	e.signed = raw[:len(raw)-len(r.b)]
	e.time = time.UnixMilli(int64(ms)) // #nosec G115 -- bounded above
	n := r.u8()
	for range min(n, maxSigs) {
		e.sigs = append(e.sigs, signature{r.b32(), r.b8()})
	}
	if r.bad || n > maxSigs {
		return entry{}, fmt.Errorf("%w: the signatures of entry %d do not fit", ErrLogFormat, e.seq)
	}
	var err error
	if e.op, err = parseOp(kind, body); err != nil {
		return entry{}, fmt.Errorf("%w: entry %d: %w", ErrLogFormat, e.seq, err)
	}
	return e, nil
}

func parseOp(kind int, body []byte) (Op, error) {
	r := reader{b: body}
	var op Op
	var err error
	switch kind {
	case 1:
		var td spiffeid.TrustDomain
		name := r.s8()
		td, err = spiffeid.TrustDomainFromString(name)
		if err == nil && td.Name() != name {
			err = fmt.Errorf("%q is not the plain name of a trust domain", name)
		}
		op = Establish{td, r.b32()}
	case 2:
		var node mesh.NodeID
		node, err = mesh.ParseNodeID(r.s8())
		op = AddAuthority{node, bytes.Clone(r.b16()), bytes.Clone(r.b16())}
	case 3:
		op = RevokeAuthority{r.b32()}
	default:
		return nil, fmt.Errorf("unknown kind %d; install a newer x0t", kind)
	}
	if r.bad {
		return nil, fmt.Errorf("its body is cut off")
	}
	return op, err
}
