package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"x0tta6bl4/host/authority"
	"x0tta6bl4/wire/trust"
)

// JoinOptions say with what and by which way to join.
type JoinOptions struct {
	State string           // directory; made if it is not there
	Token string           // as x0t token create printed it
	Via   []netip.AddrPort // members to try before those that the token names

	Patience time.Duration                       // how long to try again while no member leads to the authority; 0 = once
	Failed   func(err error, left time.Duration) // told of each round that is not the last; nil = nobody is
}

// Join redeems a token at the authority that made it and keeps what comes of it in an empty state directory: the
// node's identity, the log of authorities, and the addresses of members, which are dialled as neighbours from then
// on. A Join that failed can be repeated with the same token as long as that is good.
//
// Errors are those of wire/trust for the token's text and of authority.Join and disk.Open for the rest.
func Join(ctx context.Context, opt JoinOptions) (Belonging, error) {
	tok, stale := trust.ParseToken(opt.Token, time.Now())
	if stale != nil && !errors.Is(stale, trust.ErrTokenExpired) {
		return Belonging{}, stale
	}
	dir, err := openState(opt.State)
	if err != nil {
		return Belonging{}, err
	}
	defer dir.Close()
	via := make([]string, len(opt.Via))
	for i, a := range opt.Via {
		via[i] = a.String()
	}
	m, err := authority.Join(ctx, tok, authority.JoinOptions{
		Addresses: via, Store: dir, Patience: opt.Patience, Failed: opt.Failed,
	})
	switch {
	case err != nil && stale != nil && !errors.Is(err, trust.ErrTokenExpired):
		// Our clock may be the one that is wrong, so the authority was asked; now its being late is worth a word.
		return Belonging{}, fmt.Errorf("%w\n%w", err, stale)
	case err != nil:
		return Belonging{}, err
	}
	return belonging(dir, m, "file"), nil
}
