package quicconn

import (
	"fmt"

	"github.com/quic-go/quic-go"
)

// connectionIDs makes quic-go use the IDs that the packet connection recognises.
type connectionIDs struct {
	next func() []byte
	size int
}

func newConnectionIDs(next func() []byte) (quic.ConnectionIDGenerator, error) {
	if next == nil {
		return nil, nil // quic-go's own
	}
	size := len(next())
	if size < 4 || size > 20 {
		return nil, fmt.Errorf("quic: connection IDs of %d bytes: use 4 to 20 (RFC 9000 §17.2)", size)
	}
	return connectionIDs{next, size}, nil
}

// GenerateConnectionID implements quic.ConnectionIDGenerator.
func (c connectionIDs) GenerateConnectionID() (quic.ConnectionID, error) {
	return quic.ConnectionIDFromBytes(c.next()), nil
}

// ConnectionIDLen implements quic.ConnectionIDGenerator.
func (c connectionIDs) ConnectionIDLen() int { return c.size }
