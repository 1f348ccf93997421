package authority

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"x0tta6bl4/wire/trust"
)

// relay carries the bytes of an exchange to the authority it names. It reads none of them: they are TLS between
// the two ends. It is bounded in number, time and bytes, and happens once on the way: the authority's mesh
// address follows from its name, so there is nobody else to pass on to.
func (s *Server) relay(ctx context.Context, conn net.Conn, p trust.Preamble) error {
	refuse := func(status trust.Status, err error) error {
		_, _ = conn.Write([]byte{byte(status)})
		linger(conn)
		return err
	}
	if s.Dial == nil || p.Relayed || p.Authority == s.Self {
		return refuse(trust.StatusUnreachable, fmt.Errorf("%w: relay to %s", ErrUnreachable, p.Authority))
	}
	done, ok := s.beginRelay(conn)
	if !ok {
		return refuse(trust.StatusBusy, fmt.Errorf("relay to %s: %w", p.Authority, ErrBusy))
	}
	defer done()
	up, err := s.Dial(ctx, p.Authority)
	if err != nil {
		return refuse(trust.StatusUnreachable, fmt.Errorf("%w: relay to %s: %w", ErrUnreachable, p.Authority, err))
	}
	defer func() { _ = up.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = up.Close() })
	defer stop()
	_ = up.SetDeadline(time.Now().Add(maxExchange))
	p.Relayed = true
	if _, err := up.Write(p.Append(nil)); err != nil {
		return refuse(trust.StatusUnreachable, fmt.Errorf("%w: relay to %s: %w", ErrUnreachable, p.Authority, err))
	}
	return carry(conn, up)
}

// beginRelay takes a place for one exchange to be carried. One caller has few of them: it can hold each for as long as
// an exchange may last.
func (s *Server) beginRelay(conn net.Conn) (done func(), ok bool) {
	from, _ := s.caller(conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.relayed[from] >= maxRelaysFrom {
		return nil, false
	}
	select {
	case s.relays <- struct{}{}:
	default:
		return nil, false
	}
	s.relayed[from]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		<-s.relays
		if s.relayed[from]--; s.relayed[from] == 0 {
			delete(s.relayed, from)
		}
	}, true
}

// linger takes in what the client sent ahead, so that closing does not reset the connection under the status byte.
func linger(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, io.LimitReader(conn, maxUp))
	}
}

// carry copies both ways until both ends are done, one fails or one brings too much.
func carry(client, authority net.Conn) error {
	upward := make(chan error, 1)
	go func() { upward <- pump(authority, client, maxUp) }()
	down := pump(client, authority, maxDown)
	// The authority speaks last: whatever the client still has to say is to nobody.
	_ = client.Close()
	_ = authority.Close()
	up := <-upward
	if errors.Is(up, net.ErrClosed) {
		up = nil
	}
	return errors.Join(down, up)
}

// pump copies at most limit bytes and then says that src is at its end.
func pump(dst, src net.Conn, limit int) error {
	_, err := io.Copy(dst, &boundedConn{src, limit})
	if errors.Is(err, ErrLimit) {
		_ = dst.Close()
		_ = src.Close()
		return err
	}
	if half, ok := dst.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite()
	}
	return err
}
