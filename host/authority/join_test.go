package authority

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/wire/trust"
)

func TestJoin(t *testing.T) {
	w := newWorld(t)
	w.server.Neighbours = func() []string { return []string{"192.0.2.9:7420", w.addr} }
	// The text is what the operator carries over.
	tok, err := trust.ParseToken(w.token(beta, nil).String(), start)
	if err != nil {
		t.Fatal(err)
	}
	store := newMemory()
	m, err := w.join(tok, store)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := trust.VerifySVID(m.SVID.Chain, m.Log.Roots(), start, trust.VerifyOptions{}); n != beta || err != nil {
		t.Errorf("%v, %v", n, err)
	}
	if m.Authority != alpha || m.Log.Verify(td, tok.DomainKey) != nil || m.Skew != 0 ||
		strings.Join(m.Neighbours, " ") != w.addr+" 192.0.2.9:7420" {
		t.Errorf("%+v", m)
	}
	kept, err := LoadMembership(store)
	if err != nil || kept.SVID.Hash() != m.SVID.Hash() || kept.Log.Head() != m.Log.Head() || kept.Authority != alpha || len(kept.Neighbours) != 2 {
		t.Errorf("%v: %+v", err, kept)
	}
	if b, _ := store.Read(fileJoinKey); len(b) != 0 {
		t.Error("the pending key stays")
	}
	if x := <-w.done; x.Err != nil || x.Node != beta || x.Purpose != trust.PurposeJoin || x.Relayed {
		t.Errorf("%+v", x)
	}
	if _, err := w.join(w.token(gamma, nil), store); !errors.Is(err, ErrInitialized) {
		t.Errorf("joined twice: %v", err)
	}
	if IsAuthority(store) {
		t.Error("a member is no authority")
	}
}

// The registry holds nothing that would let its reader join.
func TestTokenIsStoredAsHash(t *testing.T) {
	w := newWorld(t)
	tok := w.token(beta, nil)
	key := trust.TokenPrivateKey(tok.Secret)
	for name, b := range w.store.files {
		for what, secret := range map[string][]byte{"secret": tok.Secret, "seed": key.Seed(), "token key": key[32:]} {
			if bytes.Contains(b, secret) || bytes.Contains(b, []byte(hexOf(secret))) {
				t.Errorf("%s holds the %s", name, what)
			}
		}
	}
	if len(tok.Secret)*8 < 128 || !tok.Expires.Equal(start.Add(DefaultTokenTTL).Truncate(time.Second)) {
		t.Errorf("%d bits until %s", len(tok.Secret)*8, tok.Expires)
	}
	if l := w.auth.Tokens(); len(l) != 1 || l[0].Node != beta || l[0].Used || len(l[0].Hash) != 16 {
		t.Errorf("%+v", l)
	}
	if other := w.token(gamma, nil); bytes.Equal(other.Secret, tok.Secret) {
		t.Error("two tokens of one secret")
	}
}

// Each token has one defect; the same token without it joins afterwards.
func TestJoinRefusesBadTokens(t *testing.T) {
	other := must(Init(newMemory(), td, alpha, 0, start)) // another domain of the same name, with other keys
	for _, tc := range []struct {
		name  string
		spoil func(*world, *trust.Token)
		want  error
	}{
		{"wrong secret", func(_ *world, t *trust.Token) { t.Secret = bytes.Repeat([]byte{1}, 20) }, ErrTokenUnknown},
		{"other node", func(_ *world, t *trust.Token) { t.Node = gamma }, ErrTokenNode},
		{"other domain key", func(_ *world, t *trust.Token) { t.DomainKey = other.Log().DomainKey() }, trust.ErrLogDomain},
		{"other domain", func(_ *world, t *trust.Token) { t.Domain = spiffeid.RequireTrustDomainFromString("other.mesh") }, trust.ErrLogDomain},
		{"other authority", func(_ *world, t *trust.Token) { t.Authority = gamma }, ErrUnreachable},
		{"expired", func(w *world, _ *trust.Token) { w.clock.set(start.Add(DefaultTokenTTL)) }, trust.ErrTokenExpired},
		{"no addresses", func(_ *world, t *trust.Token) { t.Addresses = nil }, ErrUnreachable},
		{"dead address", func(_ *world, t *trust.Token) { t.Addresses = []string{deadAddress()} }, ErrUnreachable},
		{"incomplete", func(_ *world, t *trust.Token) { t.Secret = nil }, trust.ErrTokenFormat},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			tok := w.token(beta, nil)
			bad := tok
			tc.spoil(w, &bad)
			if _, err := w.join(bad, nil); !errors.Is(err, tc.want) {
				t.Errorf("with the defect: %v, want %v", err, tc.want)
			}
			w.clock.set(start)
			if m, err := w.join(tok, nil); err != nil || m.SVID.Node != beta {
				t.Errorf("without it: %v", err)
			}
		})
	}
}

// A member that cannot be reached at first is asked again for as long as the patience lasts; who proves to be another is not.
func TestJoinIsPatient(t *testing.T) {
	w := newWorld(t)
	tok := w.token(beta, nil)
	rounds, told := 0, 0
	late := func(ctx context.Context, addr string) (net.Conn, error) {
		if rounds++; rounds == 1 {
			return nil, errors.New("lost on the way")
		}
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	o := JoinOptions{Dial: late, Clock: w.clock.now, Failed: func(error, time.Duration) { told++ }}
	if _, err := Join(t.Context(), tok, o); !errors.Is(err, ErrUnreachable) || rounds != 1 || told != 0 {
		t.Errorf("without patience: %v after %d rounds", err, rounds)
	}
	rounds, o.Patience = 0, time.Minute
	if m, err := Join(t.Context(), tok, o); err != nil || m.SVID.Node != beta || rounds != 2 || told != 1 {
		t.Errorf("%v after %d rounds", err, rounds)
	}
	foreign := w.token(gamma, nil)
	foreign.DomainKey = must(Init(newMemory(), td, alpha, 0, start)).Log().DomainKey()
	if _, err := Join(t.Context(), foreign, o); !errors.Is(err, ErrImpostor) || told != 1 {
		t.Errorf("of another domain: %v, tried again %d times", err, told-1)
	}
}

func deadAddress() string {
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

func TestTokenIsSingleUse(t *testing.T) {
	w := newWorld(t)
	tok := w.token(beta, nil)
	if _, err := w.join(tok, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.join(tok, nil); !errors.Is(err, ErrTokenUsed) || !errors.Is(err, ErrRefused) {
		t.Errorf("reused: %v", err)
	}
	// Used stays used when the authority restarts, and after the token's end.
	again := must(Open(w.store, 0))
	key := must(newKey())
	tokenKey := trust.TokenPrivateKey(tok.Secret)[32:]
	for _, at := range []time.Time{start, tok.Expires.Add(time.Hour)} {
		if _, err := again.redeem(tokenKey, beta, &key.PublicKey, at); !errors.Is(err, ErrTokenUsed) {
			t.Errorf("at %s after a restart: %v", at, err)
		}
	}
	if l := again.Tokens(); len(l) != 1 || !l[0].Used {
		t.Errorf("%+v", l)
	}
}

func TestTokenSurvivesRestart(t *testing.T) {
	w := newWorld(t)
	tok := w.token(beta, nil)
	w.server.Authority = must(Open(w.store, 0))
	if _, err := w.join(tok, nil); err != nil {
		t.Error(err)
	}
}

// Many race for one token: exactly one gets the name.
func TestTokenRace(t *testing.T) {
	w := newWorld(t)
	tokenKey := trust.TokenPrivateKey(w.token(beta, nil).Secret)[32:]
	const n = 16
	errs := make(chan error, n)
	for range n {
		go func() {
			key := must(newKey())
			_, err := w.auth.redeem(tokenKey, beta, &key.PublicKey, start)
			errs <- err
		}()
	}
	won := 0
	for range n {
		if err := <-errs; err == nil {
			won++
		} else if !errors.Is(err, ErrTokenUsed) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d won", won)
	}
}

// The disk fails at the authority before, or the line after, the moment of redemption: the same try succeeds
// later, and another key's never does.
func TestJoinLosesNothingToACrash(t *testing.T) {
	w := newWorld(t)
	tok := w.token(beta, nil)
	store := newMemory()
	w.store.failing(fileRegistry)
	if _, err := w.join(tok, store); !errors.Is(err, ErrRefused) {
		t.Errorf("authority cannot write: %v", err)
	}
	if x := <-w.done; !errors.Is(x.Err, errDisk) {
		t.Errorf("the authority was not told: %v", x.Err)
	}
	w.store.failing("")
	// Redeemed, but the answer does not get through.
	cut := func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		return &cutConn{Conn: c, w: w}, err
	}
	_, err := Join(context.Background(), tok, JoinOptions{Store: store, Clock: w.clock.now, Dial: cut})
	if err == nil || !w.auth.Tokens()[0].Used {
		t.Fatalf("%v: the answer was not lost", err)
	}
	if _, err := w.join(tok, nil); !errors.Is(err, ErrTokenUsed) {
		t.Errorf("another key: %v", err)
	}
	// The node dies and comes back with the same store; its own disk fails once.
	store.failing(fileSVID)
	if _, err := w.join(tok, store); !errors.Is(err, errDisk) || HasIdentity(store) {
		t.Errorf("node cannot write: %v", err)
	}
	store.failing("")
	m, err := w.join(tok, store)
	if err != nil {
		t.Fatal(err)
	}
	if names := w.auth.Names(start); len(names) != 2 || !w.auth.reg.holds(beta, must(keyHash(&m.SVID.Key.PublicKey))) || len(w.auth.reg.Names[beta].Keys) != 1 {
		t.Errorf("%+v", names)
	}
	// A key that cannot be kept is shown to nobody.
	fresh := newMemory()
	fresh.failing(fileJoinKey)
	tok = w.token(gamma, nil)
	if _, err := w.join(tok, fresh); !errors.Is(err, errDisk) || w.auth.Tokens()[0].Used && w.auth.Tokens()[1].Used {
		t.Errorf("%v", err)
	}
}

// cutConn breaks once the authority has redeemed the token.
type cutConn struct {
	net.Conn
	w *world
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.w.auth.Tokens()[0].Used {
		_ = c.Close()
		return 0, errors.New("line cut")
	}
	return n, err
}

func TestJoinKeyIsOfItsToken(t *testing.T) {
	w := newWorld(t)
	store := newMemory()
	one, two := w.token(beta, nil), w.token(gamma, nil)
	a := must(joinKey(store, one))
	if b := must(joinKey(store, one)); !a.Equal(b) {
		t.Error("the same try has another key")
	}
	if b := must(joinKey(store, two)); a.Equal(b) {
		t.Error("two tokens share a key")
	}
	store.files[fileJoinKey] = []byte("torn")
	if _, err := joinKey(store, one); err != nil {
		t.Error(err)
	}
}

func TestNameTakenAndReplace(t *testing.T) {
	w := newWorld(t)
	early := w.token(beta, nil) // made while the name was free
	old := w.mustJoin(beta)
	if _, err := w.auth.CreateToken(TokenOptions{Node: beta}, start); !errors.Is(err, ErrNameTaken) {
		t.Errorf("token for a live name: %v", err)
	}
	if _, err := w.join(early, nil); !errors.Is(err, ErrNameTaken) {
		t.Errorf("join of a name that was taken meanwhile: %v", err)
	}
	for _, replace := range []bool{false, true} {
		if _, err := w.auth.CreateToken(TokenOptions{Node: alpha, Replace: replace}, start); !errors.Is(err, ErrNameTaken) {
			t.Errorf("the authority's own name: %v", err)
		}
	}
	next, err := w.join(w.token(beta, func(o *TokenOptions) { o.Replace = true }), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.renew(NewSource(nil, old.SVID), old.Log); !errors.Is(err, ErrKeyReplaced) {
		t.Errorf("the old machine renews: %v", err)
	}
	if _, err := w.renew(NewSource(nil, next.SVID), next.Log); err != nil {
		t.Errorf("the new one: %v", err)
	}
}

// Who joined, was replaced and tries its own used token again is told that it lost the name.
func TestReplacedTokenCannotReturn(t *testing.T) {
	w := newWorld(t)
	tok := w.token(beta, nil)
	key := must(newKey())
	tokenKey := trust.TokenPrivateKey(tok.Secret)[32:]
	must(w.auth.redeem(tokenKey, beta, &key.PublicKey, start))
	if _, err := w.join(w.token(beta, func(o *TokenOptions) { o.Replace = true }), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.auth.redeem(tokenKey, beta, &key.PublicKey, start); !errors.Is(err, ErrKeyReplaced) {
		t.Error(err)
	}
}

func TestCreateTokenRefuses(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		o    TokenOptions
		want error
	}{
		"no node":        {TokenOptions{}, trust.ErrTokenFormat},
		"short":          {TokenOptions{Node: beta, TTL: time.Millisecond}, ErrTTL},
		"long":           {TokenOptions{Node: beta, TTL: MaxTokenTTL + 1}, ErrTTL},
		"many addresses": {TokenOptions{Node: beta, Addresses: make([]string, 17)}, trust.ErrTokenFormat},
	} {
		if _, err := w.auth.CreateToken(c.o, start); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.store.failing(fileRegistry)
	if _, err := w.auth.CreateToken(TokenOptions{Node: beta}, start); !errors.Is(err, errDisk) || len(w.auth.Tokens()) != 0 {
		t.Errorf("unwritable: %v", err)
	}
	w.store.failing("")
	for i := range maxTokens {
		w.auth.reg.Tokens[string(rune(i))] = &tokenEntry{Node: beta, Expires: start}
	}
	if _, err := w.auth.CreateToken(TokenOptions{Node: beta}, start); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
	if _, err := w.auth.CreateToken(TokenOptions{Node: beta}, start.Add(keepToken+time.Second)); err != nil || len(w.auth.Tokens()) != 1 {
		t.Errorf("old tokens are not forgotten: %v", err)
	}
}

// A clock that is off is named as the cause.
func TestJoinTellsTheSkew(t *testing.T) {
	w := newWorld(t)
	tok := w.token(beta, nil)
	behind := func() time.Time { return start.Add(-time.Hour) }
	_, err := Join(context.Background(), tok, JoinOptions{Clock: behind})
	if !errors.Is(err, trust.ErrNotYetValid) || !strings.Contains(err.Error(), "1h0m0s ahead") {
		t.Error(err)
	}
	little := func() time.Time { return start.Add(-30 * time.Second) }
	if m, err := Join(context.Background(), tok, JoinOptions{Clock: little}); err != nil || m.Skew != 30*time.Second {
		t.Errorf("%v: %s", err, m.Skew)
	}
}

func TestJoinTriesAddressesInOrder(t *testing.T) {
	w := newWorld(t)
	var tried []string
	dial := func(ctx context.Context, addr string) (net.Conn, error) {
		tried = append(tried, addr)
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	dead := deadAddress()
	tok := w.token(beta, func(o *TokenOptions) { o.Addresses = []string{dead, w.addr} })
	m, err := Join(context.Background(), tok, JoinOptions{Addresses: []string{dead}, Clock: w.clock.now, Dial: dial})
	if err != nil || strings.Join(tried, " ") != dead+" "+w.addr || m.Neighbours[0] != w.addr {
		t.Errorf("%v: %v, %v", err, tried, m.Neighbours)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Join(ctx, w.token(gamma, nil), JoinOptions{Clock: w.clock.now}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s []byte
	for _, c := range b {
		s = append(s, digits[c>>4], digits[c&15])
	}
	return string(s)
}

// Whoever answers in the authority's place is found out before anything is asked of it.
func TestImpostorsLearnNothing(t *testing.T) {
	w := newWorld(t)
	tok := w.token(beta, nil)
	member := w.mustJoin(gamma)
	otherStore := newMemory()
	other := must(Init(otherStore, td, alpha, 0, start))
	otherSelf := NewSource(nil, must(LoadMembership(otherStore)).SVID)
	revoked := must(Open(w.store.copy(), 0))
	revoked.store = newMemory()
	must(0, revoked.keepLog(revoked.Log()))
	revoked.store.(*memory).files[fileDomainKey] = w.store.files[fileDomainKey]
	must(0, revoked.Append(trust.RevokeAuthority{CA: w.auth.Log().Authorities()[0].ID()}, start))
	for _, tc := range []struct {
		name   string
		server *Server
		want   error
	}{
		{"another domain of the same name", &Server{Authority: other, Source: otherSelf}, trust.ErrLogDomain},
		{"the right log, a stranger's SVID", &Server{Authority: w.auth, Source: otherSelf}, trust.ErrUnknownAuthority},
		{"the right log, a member's SVID", &Server{Authority: w.auth, Source: NewSource(nil, member.SVID)}, ErrImpostor},
		{"a revoked authority", &Server{Authority: revoked, Source: w.source}, ErrImpostor},
	} {
		tc.server.Self, tc.server.Clock = alpha, w.clock.now
		tok.Addresses = []string{w.serve(tc.server)}
		_, err := w.join(tok, nil)
		if !errors.Is(err, tc.want) || !errors.Is(err, ErrImpostor) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	tok.Addresses = []string{w.addr}
	if _, err := w.join(tok, nil); err != nil {
		t.Errorf("the authority itself: %v", err)
	}
}
