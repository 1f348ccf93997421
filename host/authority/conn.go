package authority

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"x0tta6bl4/wire/trust"
)

// Bounds on what strangers can make a node do. The bytes of each direction hold one exchange with room to spare.
const (
	maxUp         = 64 << 10              // bytes towards the authority
	maxDown       = trust.MaxLog + 96<<10 // bytes from it
	maxExchange   = 15 * time.Second      // the whole of it
	maxPreamble   = 5 * time.Second       // until the preamble is there
	maxConns      = 64                    // connections at once, of which
	maxStrangers  = 48                    // from outside of the mesh: renewals must get through whatever strangers do
	maxPerAddress = 8                     // from one address, or one IPv6 /64 outside of the mesh
	maxRelays     = 8                     // being relayed, of which
	maxRelaysFrom = 4                     // from one caller
)

// writeMessage sends u32 length ‖ body.
func writeMessage(w io.Writer, body []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)) // #nosec G115 -- our own messages
	return err
}

// readMessage reads what writeMessage sent and refuses more than limit bytes before it makes room for them.
func readMessage(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if uint64(n) > uint64(limit) { // #nosec G115 -- not negative
		return nil, fmt.Errorf("%w: a message of %d bytes", ErrLimit, n)
	}
	body := make([]byte, n)
	_, err := io.ReadFull(r, body)
	return body, err
}

// boundedConn ends a connection that brings more than left bytes.
type boundedConn struct {
	net.Conn
	left int
}

func (c *boundedConn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, ErrLimit
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// statusConn is the client's side: it takes the status byte off before TLS reads, which costs no round trip.
type statusConn struct {
	net.Conn
	seen bool
	err  error // what the status byte stands for
}

func (c *statusConn) Read(b []byte) (int, error) {
	if err := c.status(); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// status reads the byte at its first call.
func (c *statusConn) status() error {
	if c.seen {
		return c.err
	}
	var status [1]byte
	if _, err := io.ReadFull(c.Conn, status[:]); err != nil {
		return err
	}
	c.seen = true
	switch trust.Status(status[0]) {
	case trust.StatusOK:
	case trust.StatusUnreachable:
		c.err = fmt.Errorf("%w from %s, which is no authority itself", ErrUnreachable, c.RemoteAddr())
	case trust.StatusBusy:
		c.err = fmt.Errorf("%s: %w", c.RemoteAddr(), ErrBusy)
	default:
		c.err = fmt.Errorf("%w: %s answers with status %d", trust.ErrPreamble, c.RemoteAddr(), status[0])
	}
	return c.err
}

// tlsConfig is what both sides share. Resumption would skip the verification of the peer.
func tlsConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{trust.JoinALPN}, SessionTicketsDisabled: true}
}

func exporter(c *tls.Conn) ([]byte, error) {
	state := c.ConnectionState()
	if state.NegotiatedProtocol != trust.JoinALPN {
		return nil, fmt.Errorf("%w: the peer does not speak %s", trust.ErrMessage, trust.JoinALPN)
	}
	return state.ExportKeyingMaterial(trust.ExporterLabel, nil, trust.ChannelBinding)
}

// codes pairs what travels with the error it stands for, the first match counting.
var codes = []struct {
	code trust.Code
	err  error
}{
	{trust.CodeTokenUnknown, ErrTokenUnknown},
	{trust.CodeTokenExpired, trust.ErrTokenExpired},
	{trust.CodeTokenUsed, ErrTokenUsed},
	{trust.CodeTokenNode, ErrTokenNode},
	{trust.CodeNameTaken, ErrNameTaken},
	{trust.CodeKeyReplaced, ErrKeyReplaced},
	{trust.CodeNotAdmitted, ErrNotAdmitted},
	{trust.CodeBadRequest, trust.ErrMessage},
	{trust.CodeBadRequest, ErrCSR},
	{trust.CodeBadRequest, ErrKeyType},
	{trust.CodeBadRequest, ErrProof},
}

func replyOf(err error) trust.Reply {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return trust.Reply{Code: c.code, Text: err.Error()}
		}
	}
	// What went wrong inside is for this node's log, not for a stranger.
	return trust.Reply{Code: trust.CodeFailed, Text: "it could not issue an SVID; see its log"}
}

// refusal is the verdict of an authority that proved itself: no other address will say otherwise.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refusalOf(p trust.Reply) error {
	for _, c := range codes {
		if p.Code == c.code {
			return &refusal{fmt.Errorf("%w: %w (it says: %q)", ErrRefused, c.err, p.Text)}
		}
	}
	return &refusal{fmt.Errorf("%w: %q", ErrRefused, p.Text)}
}
