package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"x0tta6bl4/mesh"
)

// What can be wrong with the messages of a join or a renewal.
var (
	ErrPreamble = errors.New("not the beginning of a join or renewal")
	ErrMessage  = errors.New("malformed join message")
)

// JoinALPN is the TLS application protocol of join and renewal.
const JoinALPN = "x0t-join/1"

// ExporterLabel is the label under which the TLS exporter (RFC 8446 §7.5) gives the ChannelBinding bytes that a
// join proof signs.
const ExporterLabel = "EXPORTER-x0t-join-1"

// ChannelBinding is how many bytes are exported.
const ChannelBinding = 32

// MaxRequest and MaxAnswer bound what travels to the authority and back, in bytes of one message.
const (
	MaxRequest = 16 << 10
	MaxAnswer  = MaxLog + 4*MaxCert + 8<<10
)

const (
	preambleMagic   = "x0tj"
	preambleVersion = 1
	relayedBit      = 0x80
	maxCSR          = 8 << 10
	maxText         = 1 << 10
)

// Purpose is what the client of the join protocol wants.
type Purpose uint8

// The purposes.
const (
	PurposeJoin  Purpose = 1
	PurposeRenew Purpose = 2
)

// Status is the byte with which the answering side begins. It is unauthenticated: a hint for the error message.
type Status uint8

// The statuses.
const (
	StatusOK          Status = 0
	StatusUnreachable Status = 1 // the authority cannot be reached from here
	StatusBusy        Status = 2
)

// PreambleHead is how many bytes of a preamble say how long it is.
const PreambleHead = 7

// Preamble is what the client says in clear.
type Preamble struct {
	Purpose   Purpose
	Relayed   bool // a member has relayed it once, and once is enough
	Authority mesh.NodeID
}

// Append appends the preamble as ParsePreamble reads it.
func (p Preamble) Append(dst []byte) []byte {
	purpose := byte(p.Purpose)
	if p.Relayed {
		purpose |= relayedBit
	}
	return appendB8(append(append(dst, preambleMagic...), preambleVersion, purpose), p.Authority.String())
}

// PreambleLen returns the length of the preamble that begins with head, which has PreambleHead bytes.
func PreambleLen(head []byte) (int, error) {
	if len(head) < PreambleHead || string(head[:4]) != preambleMagic {
		return 0, fmt.Errorf("%w: it does not begin with %q", ErrPreamble, preambleMagic)
	}
	if head[4] != preambleVersion {
		return 0, fmt.Errorf("%w: version %d, this program speaks %d", ErrPreamble, head[4], preambleVersion)
	}
	return PreambleHead + int(head[6]), nil
}

// ParsePreamble reads a whole preamble.
func ParsePreamble(b []byte) (Preamble, error) {
	n, err := PreambleLen(b)
	if err != nil {
		return Preamble{}, err
	}
	if len(b) < n {
		return Preamble{}, fmt.Errorf("%w: it is cut off", ErrPreamble)
	}
	p := Preamble{Purpose: Purpose(b[5] &^ relayedBit), Relayed: b[5]&relayedBit != 0}
	if p.Purpose != PurposeJoin && p.Purpose != PurposeRenew {
		return Preamble{}, fmt.Errorf("%w: unknown purpose %d", ErrPreamble, p.Purpose)
	}
	if p.Authority, err = mesh.ParseNodeID(string(b[PreambleHead:n])); err != nil {
		return Preamble{}, fmt.Errorf("%w: %w", ErrPreamble, err)
	}
	return p, nil
}

// Greeting is the authority's first message: its clock, and the log by which it proves itself.
type Greeting struct {
	Time time.Time // milliseconds
	Log  []byte
}

// Append appends the body of the message.
func (g Greeting) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(max(g.Time.UnixMilli(), 0))) // #nosec G115 -- not negative
	return appendB32(dst, g.Log)
}

// ParseGreeting reads the body of a greeting. The log is not looked at.
func ParseGreeting(b []byte) (Greeting, error) {
	r := reader{b: b}
	ms, log := r.u64(), r.long()
	if r.bad || ms > maxMillis {
		return Greeting{}, fmt.Errorf("%w: greeting", ErrMessage)
	}
	return Greeting{time.UnixMilli(int64(ms)), bytes.Clone(log)}, nil // #nosec G115 -- bounded above
}

// Request asks for an SVID. TokenKey and Proof are set to join and empty to renew.
type Request struct {
	Node     mesh.NodeID
	CSR      []byte // PKCS #10, DER; only its public key counts
	TokenKey []byte // ed25519 public key made from the token's secret
	Proof    []byte // see JoinProof
}

func (q Request) appendAsked(dst []byte) []byte {
	return appendB16(appendB8(dst, q.Node.String()), q.CSR)
}

// Append appends the body of the message.
func (q Request) Append(dst []byte) []byte {
	return append(append(q.appendAsked(dst), q.TokenKey...), q.Proof...)
}

// ParseRequest reads the body of a request for the given purpose.
func ParseRequest(b []byte, purpose Purpose) (Request, error) {
	r := reader{b: b}
	node, csr := r.s8(), bytes.Clone(r.b16())
	q := Request{CSR: csr}
	if purpose == PurposeJoin {
		q.TokenKey, q.Proof = bytes.Clone(r.take(ed25519.PublicKeySize)), bytes.Clone(r.take(ed25519.SignatureSize))
	}
	if r.bad || len(csr) > maxCSR {
		return Request{}, fmt.Errorf("%w: request", ErrMessage)
	}
	var err error
	if q.Node, err = mesh.ParseNodeID(node); err != nil {
		return Request{}, fmt.Errorf("%w: request: %w", ErrMessage, err)
	}
	return q, nil
}

// TokenPrivateKey returns the one-time ed25519 key that a token's secret stands for.
func TokenPrivateKey(secret []byte) ed25519.PrivateKey {
	seed := sha256.Sum256(append([]byte("x0t-token/1\x00"), secret...))
	return ed25519.NewKeyFromSeed(seed[:])
}

// TokenHash is what an authority keeps of a token: the SHA-256 of its public key. It proves nothing to anybody.
func TokenHash(tokenKey []byte) [32]byte { return sha256.Sum256(tokenKey) }

// JoinProof fills in TokenKey and Proof: a signature by the token's key over the exporter of the TLS channel in
// use and over what is asked for.
func (q *Request) JoinProof(secret, exporter []byte) {
	key := TokenPrivateKey(secret)
	q.TokenKey = key.Public().(ed25519.PublicKey)
	q.Proof = ed25519.Sign(key, q.proofInput(exporter))
}

// CheckProof reports whether JoinProof made the proof for this channel. Whether the token key is one that was
// given out is another question.
func (q Request) CheckProof(exporter []byte) bool {
	return len(q.TokenKey) == ed25519.PublicKeySize && ed25519.Verify(q.TokenKey, q.proofInput(exporter), q.Proof)
}

func (q Request) proofInput(exporter []byte) []byte {
	return q.appendAsked(append([]byte("x0t-join/1\x00"), exporter...))
}

// Code says how a request ended.
type Code uint8

// The codes. What is not listed here is CodeFailed, with a text.
const (
	CodeDone Code = iota
	CodeFailed
	CodeTokenUnknown
	CodeTokenExpired
	CodeTokenUsed
	CodeTokenNode
	CodeNameTaken
	CodeKeyReplaced
	CodeBadRequest
	CodeNotAdmitted
)

// Reply is the authority's answer. Chain and Neighbours are sent only with CodeDone.
type Reply struct {
	Code       Code
	Text       string   // for the operator; at most 1 KiB
	Chain      [][]byte // DER, leaf first
	Neighbours []string // addresses worth dialling
}

// Append appends the body of the message.
func (p Reply) Append(dst []byte) []byte {
	dst = appendB16(append(dst, byte(p.Code)), []byte(p.Text[:min(len(p.Text), maxText)]))
	if p.Code != CodeDone {
		return dst
	}
	dst = append(dst, byte(len(p.Chain)))
	for _, c := range p.Chain {
		dst = appendB16(dst, c)
	}
	n := p.Neighbours[:min(len(p.Neighbours), MaxAddresses)]
	dst = append(dst, byte(len(n)))
	for _, a := range n {
		dst = appendB8(dst, a[:min(len(a), 255)])
	}
	return dst
}

// ParseReply reads the body of a reply. The chain is not looked at.
func ParseReply(b []byte) (Reply, error) {
	r := reader{b: b}
	p := Reply{Code: Code(r.u8()), Text: string(r.b16())} // #nosec G115 -- one byte
	if p.Code == CodeDone && !r.bad {
		n := r.u8()
		for range min(n, MaxChain) {
			p.Chain = append(p.Chain, bytes.Clone(r.b16()))
		}
		m := r.u8()
		for range min(m, MaxAddresses) {
			p.Neighbours = append(p.Neighbours, r.s8())
		}
		r.bad = r.bad || n == 0 || n > MaxChain || m > MaxAddresses
	}
	if r.bad || len(p.Text) > maxText {
		return Reply{}, fmt.Errorf("%w: reply", ErrMessage)
	}
	return p, nil
}
