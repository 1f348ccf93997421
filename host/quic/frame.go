package quicconn

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"x0tta6bl4/wire"
)

// firstRead is how much is read before more memory is taken for a longer message.
const firstRead = 4096

// readFrame returns type and body of the next message in a slice of its own. io.EOF means that the stream ended
// between two messages. Memory grows with what arrives, not with what the length announces.
func readFrame(r io.Reader) ([]byte, error) {
	var head [wire.MessageHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, truncated(err)
	}
	n, err := wire.MessageLength(head[:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	b := make([]byte, 0, min(n, firstRead))
	for len(b) < n {
		step := min(n-len(b), max(len(b), firstRead))
		b = slices.Grow(b, step)
		part := b[len(b) : len(b)+step]
		if _, err := io.ReadFull(r, part); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, truncated(err)
		}
		b = b[:len(b)+step]
	}
	return b, nil
}

func truncated(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the stream ended within it", ErrMalformed)
	}
	return err
}
