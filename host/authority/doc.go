// Package authority makes and keeps identities: it begins a trust domain, issues the SVIDs of its nodes, gives
// out and redeems join tokens, renews, and is the client of all that on a node that is no authority. The formats
// and the rules of what is valid are those of wire/trust. TCP carries it; the bytes are drawn there.
//
// What a node keeps in its store, each file wholly replaced at every change:
//
//	svid.pem            its private key and certificate chain; written last, so it is there or the node has not joined
//	authority.log       the newest authority log it knows
//	membership.json     its authority and the addresses it joined by
//	join.key            while it joins: its key to be, so that a try after a crash is the same try
//
// and an authority besides:
//
//	domain.key          ed25519; may be taken away and kept offline
//	authority-ca.pem    CA key and certificate
//	authority-jwt.key   ES256 key
//	registry.json       which keys hold which name, and the tokens, as hashes of what their secrets stand for
//
// A token is used up and its name bound to a key by one write of registry.json, before the SVID is handed out: a
// crash before it leaves the token good, a crash after it leaves it good for the same key alone.
package authority

import (
	"errors"
	"time"
)

// What can go wrong, besides the errors of wire/trust.
var (
	ErrInitialized  = errors.New("this state already holds an identity")
	ErrNoIdentity   = errors.New("this state holds no identity")
	ErrNotAuthority = errors.New("this node is no authority")
	ErrCorrupt      = errors.New("state is damaged")
	ErrTTL          = errors.New("not a lifetime for an SVID or token")
	ErrKeyType      = errors.New("not an ECDSA P-256 key")
	ErrCSR          = errors.New("not a certificate signing request")
	ErrNameTaken    = errors.New("the name belongs to a live node")
	ErrAddressTaken = errors.New("the mesh address belongs to another node")
	ErrTooMany      = errors.New("too many tokens are outstanding")

	ErrTokenUnknown = errors.New("the authority has given out no such token")
	ErrTokenUsed    = errors.New("the token was used by another key")
	ErrTokenNode    = errors.New("the token is for another node")
	ErrProof        = errors.New("the token proof is not of this channel")
	ErrNotAdmitted  = errors.New("the authority does not accept the SVID to renew")
	ErrKeyReplaced  = errors.New("the key no longer holds its name")
	ErrRefused      = errors.New("the authority refused")

	ErrUnreachable = errors.New("authority cannot be reached")
	ErrBusy        = errors.New("busy, try again")
	ErrOften       = errors.New("too many attempts from there came to nothing; it has to wait")
	ErrImpostor    = errors.New("the answering side is not the authority")
	ErrLimit       = errors.New("more bytes than a join takes")
)

// Lifetimes and their bounds.
const (
	DefaultTTL      = 24 * time.Hour
	MinTTL          = 2 * time.Second
	MaxTTL          = 90 * 24 * time.Hour
	DefaultTokenTTL = 10 * time.Minute
	MaxTokenTTL     = 7 * 24 * time.Hour
	caTTL           = 10 * 365 * 24 * time.Hour

	// RenewGrace is how long after its end an SVID still renews, by possession of its key: for a node that slept.
	// As long its name counts as live.
	RenewGrace = 7 * 24 * time.Hour
)

// Store keeps small files. A Write that returned nil survives a crash, and a Write that did not leaves the old
// bytes or the new ones; Read of what was never written wraps fs.ErrNotExist.
type Store interface {
	Read(name string) ([]byte, error)
	Write(name string, b []byte) error
	Exists(name string) bool
}

const (
	fileSVID       = "svid.pem"
	fileLog        = "authority.log"
	fileMembership = "membership.json"
	fileJoinKey    = "join.key"
	fileDomainKey  = "domain.key"
	fileCA         = "authority-ca.pem"
	fileJWTKey     = "authority-jwt.key"
	fileRegistry   = "registry.json"
)

// Clock tells the time. Nil means time.Now.
type Clock func() time.Time

func (c Clock) now() time.Time {
	if c == nil {
		return time.Now()
	}
	return c()
}
