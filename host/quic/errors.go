package quicconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"unicode/utf8"

	"github.com/quic-go/quic-go"
)

// What the errors of Failed, Refused, Closed and Send wrap.
var (
	ErrTimeout     = errors.New("the peer does not answer")
	ErrRefused     = errors.New("the peer refused this node's certificate")
	ErrUnverified  = errors.New("the peer's certificate was refused")
	ErrWrongPeer   = errors.New("another node answered")
	ErrSelf        = errors.New("the peer has this node's own identity")
	ErrNoIdentity  = errors.New("this node has no valid SVID to present")
	ErrBusy        = errors.New("too many connections now")
	ErrCrowded     = errors.New("too many connections with this peer")
	ErrPeerClosed  = errors.New("closed by the peer")
	ErrLocal       = errors.New("closed by this node")
	ErrProtocol    = errors.New("the peer broke the protocol")
	ErrMalformed   = errors.New("malformed message")
	ErrClosed      = errors.New("transport closed")
	ErrNoConn      = errors.New("no such connection")
	ErrQueueFull   = errors.New("send queue full")
	ErrNoStream    = errors.New("the peer takes no stream for the state")
	ErrStreamEnded = errors.New("the stream for the state ended")
	ErrNotOpener   = errors.New("the stream for the state is the peer's to open")
)

// Codes of CONNECTION_CLOSE by the application. They only inform: every one ends the connection.
const (
	codeDone      quic.ApplicationErrorCode = 0
	codeShutdown  quic.ApplicationErrorCode = 1
	codeMalformed quic.ApplicationErrorCode = 2
	codeProtocol  quic.ApplicationErrorCode = 3
	codeInternal  quic.ApplicationErrorCode = 4
)

const textShutdown = "shutting down"

const maxReason = 200

// classify gives an error of QUIC one of this package's names.
func classify(err error) error {
	if te, ok := errors.AsType[*quic.TransportError](err); ok {
		return classifyTransport(te)
	}
	if ae, ok := errors.AsType[*quic.ApplicationError](err); ok {
		if !ae.Remote {
			return ErrLocal
		}
		return fmt.Errorf("%w: %q (code %d)", ErrPeerClosed, clip(ae.ErrorMessage), ae.ErrorCode)
	}
	if _, ok := errors.AsType[*quic.StatelessResetError](err); ok {
		return fmt.Errorf("%w: it has no memory of the connection", ErrPeerClosed)
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, quic.ErrTransportClosed) {
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrProtocol, err)
}

func classifyTransport(te *quic.TransportError) error {
	alert, crypto := alertOf(te)
	switch {
	case crypto && te.Remote:
		return fmt.Errorf("%w: %w", ErrRefused, alert)
	case crypto: // crypto/tls refused by itself: no certificate, a bad signature, no common protocol
		return fmt.Errorf("%w: %w", ErrUnverified, te)
	case te.Remote && te.ErrorCode == quic.ConnectionRefused:
		return fmt.Errorf("%w at the peer", ErrBusy)
	case te.Remote:
		return fmt.Errorf("%w: %s: %q", ErrPeerClosed, te.ErrorCode, clip(te.ErrorMessage))
	}
	return fmt.Errorf("%w: %w", ErrProtocol, te)
}

// alertOf returns the TLS alert that a CRYPTO_ERROR carries (RFC 9001 §4.8).
func alertOf(te *quic.TransportError) (tls.AlertError, bool) {
	return tls.AlertError(te.ErrorCode & 0xff), te.ErrorCode.IsCryptoError()
}

func remoteClose(err error) bool {
	if te, ok := errors.AsType[*quic.TransportError](err); ok {
		return te.Remote
	}
	ae, ok := errors.AsType[*quic.ApplicationError](err)
	return ok && ae.Remote
}

// clip bounds a text that goes to or came from a peer, whole characters only.
func clip(s string) string {
	if len(s) <= maxReason {
		return s
	}
	s = s[:maxReason]
	for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) && !utf8.RuneStart(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s + "…"
}
