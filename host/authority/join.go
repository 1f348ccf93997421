package authority

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

// JoinOptions says how to join. The zero value dials the token's addresses and keeps nothing.
type JoinOptions struct {
	Addresses []string // tried before the token's
	Store     Store    // keeps the key during the join and the membership after it
	Dial      func(ctx context.Context, addr string) (net.Conn, error)
	Clock     Clock
	Patience  time.Duration                       // how long to try again while no address leads to the authority; 0 = once
	Failed    func(err error, left time.Duration) // told of each round that is not the last; nil = nobody is
}

// betweenRounds is the wait before all addresses are tried again.
const betweenRounds = time.Second

// Join redeems a token: it finds the token's authority through one of the addresses, has it prove itself by the
// pinned domain key, and gets an SVID for a new key. With a Store the membership is saved when Join returns nil,
// and a Join that failed or died half-way can be repeated with the same token.
//
// Errors: ErrInitialized; those of trust.VerifySVID and the log under ErrImpostor; ErrTokenUnknown, ErrTokenUsed,
// trust.ErrTokenExpired, ErrTokenNode, ErrNameTaken under ErrRefused; ErrUnreachable if no address led to the authority.
func Join(ctx context.Context, tok trust.Token, o JoinOptions) (Membership, error) {
	if err := tok.Valid(); err != nil {
		return Membership{}, err
	}
	if o.Store != nil && HasIdentity(o.Store) {
		return Membership{}, fmt.Errorf("%w; to join anew, choose an empty state directory (X0T_STATE)", ErrInitialized)
	}
	key, err := joinKey(o.Store, tok)
	if err != nil {
		return Membership{}, err
	}
	c := &client{
		purpose: trust.PurposeJoin, authority: tok.Authority, node: tok.Node, key: key, secret: tok.Secret, clock: o.Clock,
		trusted: func(l *trust.Log) error { return l.Verify(tok.Domain, tok.DomainKey) },
	}
	a, via, err := c.keepTrying(ctx, slices.Concat(o.Addresses, tok.Addresses), o)
	if err != nil {
		return Membership{}, fmt.Errorf("join %q as %s: %w", tok.Domain, tok.Node, err)
	}
	m := Membership{SVID: a.svid, Log: a.log, Authority: tok.Authority, Skew: a.skew}
	m.Neighbours = unique(slices.Concat([]string{via}, o.Addresses, tok.Addresses, a.neighbours))
	if o.Store == nil {
		return m, nil
	}
	if err := m.Save(o.Store); err != nil {
		return Membership{}, err
	}
	return m, o.Store.Write(fileJoinKey, nil)
}

// keepTrying goes through the addresses until one leads to the authority or the time is over: on a link that loses much a
// first try says little.
func (c *client) keepTrying(ctx context.Context, addrs []string, o JoinOptions) (answer, string, error) {
	end := time.Now().Add(o.Patience)
	for {
		a, via, err := c.tryAll(ctx, addrs, o.Dial)
		left := time.Until(end)
		if err == nil || !errors.Is(err, ErrUnreachable) || errors.Is(err, ErrImpostor) || left <= 0 || len(addrs) == 0 {
			return a, via, err
		}
		if o.Failed != nil {
			o.Failed(err, left)
		}
		select {
		case <-ctx.Done():
			return a, via, err
		case <-time.After(min(betweenRounds, left)):
		}
	}
}

// tryAll goes through the addresses until one leads to the authority. What the authority itself refuses is final.
func (c *client) tryAll(ctx context.Context, addrs []string, dial func(context.Context, string) (net.Conn, error)) (answer, string, error) {
	if dial == nil {
		dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	errs := []error{fmt.Errorf("%w: none of %d addresses led to %s", ErrUnreachable, len(unique(addrs)), c.authority)}
	for _, addr := range unique(addrs) {
		a, err := c.try(ctx, func(ctx context.Context) (net.Conn, error) { return dial(ctx, addr) })
		if err == nil {
			return a, addr, nil
		}
		if final, ok := errors.AsType[*refusal](err); ok {
			return answer{}, "", final
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
		if ctx.Err() != nil {
			break
		}
	}
	return answer{}, "", errors.Join(errs...)
}

func (c *client) try(ctx context.Context, dial func(context.Context) (net.Conn, error)) (answer, error) {
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := dial(dialCtx)
	if err != nil {
		return answer{}, err
	}
	return c.run(ctx, conn)
}

const joinHeader = "Token" // PEM header of join.key: which token the key is for

// joinKey returns the key to join with: the one of an earlier try with the same token, or a new one, kept before
// it is shown to anybody.
func joinKey(store Store, tok trust.Token) (*ecdsa.PrivateKey, error) {
	if store == nil {
		return newKey()
	}
	hash := tokenHash(trust.TokenPrivateKey(tok.Secret).Public().(ed25519.PublicKey))
	b, err := store.Read(fileJoinKey)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if block, _ := pem.Decode(b); block != nil && block.Headers[joinHeader] == hash {
		if key, _, err := readKey[*ecdsa.PrivateKey](store, fileJoinKey); err == nil {
			return key, nil
		}
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	if b, err = marshalKey(key); err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	block.Headers = map[string]string{joinHeader: hash}
	return key, store.Write(fileJoinKey, pem.EncodeToMemory(block))
}

// RenewOptions says what to renew and how to reach an authority. All but Clock are needed.
type RenewOptions struct {
	Source *Source
	Log    *trust.Log // the newest authority log known
	// Dial connects to the join port of the authority, or of any member, which then relays.
	Dial  func(ctx context.Context, authority mesh.NodeID) (net.Conn, error)
	Clock Clock
}

// Renewal is what Renew brings. Nothing of it is kept or in use yet: see Source.Rotate and SaveLog.
type Renewal struct {
	SVID      *SVID
	Log       *trust.Log // continues the one that was known
	Authority mesh.NodeID
	Skew      time.Duration
}

// Renew gets the next SVID, for a new key, by possession of the current one, which may have ended up to
// RenewGrace ago. It asks the authority that issued the current one first and then the others of the log.
func Renew(ctx context.Context, o RenewOptions) (Renewal, error) {
	cur := o.Source.Current()
	order := renewOrder(o.Log, cur)
	errs := []error{fmt.Errorf("%w: renew the SVID of %s at one of %d authorities", ErrUnreachable, cur.Node, len(order))}
	for _, authority := range order {
		key, err := newKey()
		if err != nil {
			return Renewal{}, err
		}
		c := &client{
			purpose: trust.PurposeRenew, authority: authority, node: cur.Node, key: key, current: o.Source, clock: o.Clock,
			trusted: o.Log.Follow,
		}
		a, err := c.try(ctx, func(ctx context.Context) (net.Conn, error) { return o.Dial(ctx, authority) })
		if err == nil {
			return Renewal{a.svid, a.log, authority, a.skew}, nil
		}
		if final, ok := errors.AsType[*refusal](err); ok && len(order) == 1 {
			return Renewal{}, fmt.Errorf("renew the SVID of %s: %w", cur.Node, final)
		}
		errs = append(errs, fmt.Errorf("%s: %w", authority, err))
		if ctx.Err() != nil {
			break
		}
	}
	return Renewal{}, errors.Join(errs...)
}

func renewOrder(l *trust.Log, cur *SVID) []mesh.NodeID {
	var order []mesh.NodeID
	if issuer, ok := issuerOf(l, cur.Chain[0]); ok {
		order = append(order, issuer)
	}
	for _, a := range l.Authorities() {
		order = append(order, a.Node)
	}
	return unique(order)
}

// unique returns s without repetitions and zero values, in order.
func unique[T comparable](s []T) []T {
	var out []T
	var zero T
	for _, v := range s {
		if v != zero && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
