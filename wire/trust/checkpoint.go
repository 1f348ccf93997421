package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// What can be wrong with a checkpoint.
var (
	ErrCheckpoint          = errors.New("not a checkpoint")
	ErrCheckpointAuthority = errors.New("checkpoint of no authority of the trust domain")
	ErrCheckpointSignature = errors.New("checkpoint that its authority did not sign")
)

// MaxCheckpoint is how many batches one checkpoint names at most.
const MaxCheckpoint = 4096

const (
	checkpointMagic   = "x0tc"
	checkpointVersion = 1
	checkpointPrefix  = "x0t-checkpoint/1\x00"
	checkpointHead    = len(checkpointMagic) + 1 + 32 + 4
)

// Checkpoint is an authority's word that it had batches of the shared state when the SVIDs that signed them were current, or not
// long over. It says nothing of any other batch, so that all checkpoints of a domain hold side by side, in any order.
type Checkpoint struct {
	Authority [32]byte   // Authority.ID
	Batches   [][32]byte // SHA-256 of what the batch's author signed; ascending, none twice
}

// NewCheckpoint returns the checkpoint of some batches, at most MaxCheckpoint, as ParseCheckpoint reads it. The same batches
// and signer give the same bytes.
func NewCheckpoint(batches [][32]byte, by Signer) ([]byte, error) {
	if len(batches) > MaxCheckpoint {
		return nil, fmt.Errorf("%w: %d batches, at most %d", ErrCheckpoint, len(batches), MaxCheckpoint)
	}
	sorted := slices.Clone(batches)
	slices.SortFunc(sorted, compareHashes)
	sorted = slices.Compact(sorted)
	b := append(make([]byte, 0, checkpointHead+32*len(sorted)+80), checkpointMagic...)
	b = append(append(b, checkpointVersion), by.ID[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(sorted)))
	for i := range sorted {
		b = append(b, sorted[i][:]...)
	}
	sig, err := by.Sign(checkpointInput(b))
	if err != nil {
		return nil, fmt.Errorf("sign a checkpoint: %w", err)
	}
	return appendB8(b, sig), nil
}

func checkpointInput(signed []byte) []byte { return append([]byte(checkpointPrefix), signed...) }

func compareHashes(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }

// ParseCheckpoint reads a checkpoint, without a look at its signature: see Log.Covers.
func ParseCheckpoint(b []byte) (Checkpoint, error) {
	c, _, _, err := parseCheckpoint(b)
	return c, err
}

func parseCheckpoint(b []byte) (c Checkpoint, signed, sig []byte, err error) {
	bad := func(what string) (Checkpoint, []byte, []byte, error) {
		return Checkpoint{}, nil, nil, fmt.Errorf("%w: %s", ErrCheckpoint, what)
	}
	if len(b) < checkpointHead || string(b[:len(checkpointMagic)]) != checkpointMagic {
		return bad(fmt.Sprintf("it does not begin with %q", checkpointMagic))
	}
	if v := b[len(checkpointMagic)]; v != checkpointVersion {
		return bad(fmt.Sprintf("it is of version %d, this program reads %d", v, checkpointVersion))
	}
	r := reader{b: b[len(checkpointMagic)+1:]}
	c.Authority = r.b32()
	n := int(r.u32())
	if n > MaxCheckpoint || 32*n > len(r.b) {
		return bad(fmt.Sprintf("it names %d batches in %d bytes", n, len(r.b)))
	}
	c.Batches = make([][32]byte, n)
	for i := range c.Batches {
		if c.Batches[i] = r.b32(); i > 0 && compareHashes(c.Batches[i-1], c.Batches[i]) >= 0 {
			return bad(fmt.Sprintf("batch %d is out of order", i))
		}
	}
	signed = b[:len(b)-len(r.b)]
	if sig = r.b8(); r.bad || len(r.b) > 0 {
		return bad("its signature does not fit")
	}
	return c, signed, sig, nil
}

// Covers returns the batches that a checkpoint names, if an authority of this log signed it that is not revoked: what a revoked one
// had seen the others have seen, too, and vouch for themselves. So who has the key of a revoked authority covers nothing.
func (l *Log) Covers(checkpoint []byte) ([][32]byte, error) {
	c, signed, sig, err := parseCheckpoint(checkpoint)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(l.active, func(a Authority) bool { return a.ID() == c.Authority })
	if i < 0 {
		return nil, fmt.Errorf("%w: it says %x…", ErrCheckpointAuthority, c.Authority[:8])
	}
	digest := sha256.Sum256(checkpointInput(signed))
	if !ecdsa.VerifyASN1(l.active[i].CA.PublicKey.(*ecdsa.PublicKey), digest[:], sig) {
		return nil, fmt.Errorf("%w: it says %s", ErrCheckpointSignature, l.active[i].Node)
	}
	return c.Batches, nil
}
