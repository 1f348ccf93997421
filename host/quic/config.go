package quicconn

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Config is what a Transport needs. The fields up to Callbacks must be set.
type Config struct {
	Purpose     wire.Purpose
	TrustDomain spiffeid.TrustDomain
	Identity    Identity
	Verify      Verify
	NextConn    func() mesh.ConnID // new handles, unique in the process; called from several goroutines
	Callbacks   Callbacks
	Now         func() time.Time // the wall clock that certificates are held to; nil = time.Now

	// ConnectionID makes the IDs of connections, all of one length of 4 to 20 bytes, by which the packet connection tells
	// what is for us; nil = 8 random bytes.
	ConnectionID func() []byte

	// Networks says where an address is: the smallest network first, then those around it, which may hold more of the
	// half-open handshakes each. None = not counted. nil = /64, /48 and /32, or /24 and /16.
	Networks func(net.Addr) []netip.Prefix

	HandshakeTimeout time.Duration // silence that ends a handshake, and half of its longest duration; 0 = 5 s
	KeepAlive        time.Duration // pings when silent for this long; 0 = 3 s for links, none end to end; negative = none
	IdleTimeout      time.Duration // silence that ends a connection; 0 = 10 s for links, 30 s end to end
	RetryAbove       int           // incoming handshakes a second beyond which sources are validated (RFC 9000 §8.1.2); 0 = 50, negative = always
	MaxHalfOpen      int           // incoming handshakes at once; 0 = 64
	MaxConns         int           // accepted connections at once; 0 = 4096
	MaxPerPeer       int           // connections with one peer at once, whoever dialled; 0 = 48
	PerNetwork       int           // incoming handshakes a second with validated address from one network; 0 = 16 for links, 64 end to end
	QueueBytes       int           // bytes that wait to be sent on one connection; 0 = 1 MiB
}

func (c Config) complete() (Config, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	cb := c.Callbacks
	switch {
	case c.Purpose != wire.PurposeLink && c.Purpose != wire.PurposeE2E:
		return c, fmt.Errorf("quic: purpose %d: use link or end to end", c.Purpose)
	case c.TrustDomain.IsZero() || c.Identity == nil || c.Verify == nil || c.NextConn == nil:
		return c, fmt.Errorf("quic: trust domain, identity, verification and handles must be given")
	case cb.Established == nil || cb.Failed == nil || cb.Message == nil || cb.Closed == nil:
		return c, fmt.Errorf("quic: all callbacks but Refused and State must be given")
	case cb.State != nil && c.Purpose != wire.PurposeLink:
		return c, fmt.Errorf("quic: the state goes by links only")
	}
	keepAlive, idle, perNetwork := 3*time.Second, 10*time.Second, 16
	if c.Purpose == wire.PurposeE2E {
		keepAlive, idle, perNetwork = 0, 30*time.Second, 64
	}
	if c.Networks == nil {
		c.Networks = underlayNetworks
	}
	c.HandshakeTimeout = or(c.HandshakeTimeout, 5*time.Second)
	c.KeepAlive = max(0, or(c.KeepAlive, keepAlive))
	c.IdleTimeout = or(c.IdleTimeout, idle)
	c.RetryAbove = or(c.RetryAbove, 50)
	c.MaxHalfOpen = or(c.MaxHalfOpen, 64)
	c.MaxConns = or(c.MaxConns, 4096)
	c.MaxPerPeer = or(c.MaxPerPeer, 48)
	c.PerNetwork = or(c.PerNetwork, perNetwork)
	c.QueueBytes = or(c.QueueBytes, 1<<20)
	return c, nil
}

func or[T int | time.Duration](v, unset T) T {
	if v == 0 {
		return unset
	}
	return v
}
