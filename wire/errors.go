package wire

import "errors"

// What a parser or an encoder refuses, and why. Parsers of frames return these bare, the others wrap them.
var (
	ErrTruncated      = errors.New("wire: shorter than its format")
	ErrTooLong        = errors.New("wire: longer than its format allows")
	ErrFrameType      = errors.New("wire: not a mesh frame, or of an unknown type")
	ErrTooManyLabels  = errors.New("wire: more labels than a frame may hold")
	ErrHopIndex       = errors.New("wire: hop index beyond the labels")
	ErrNoMoreLabels   = errors.New("wire: all labels are used up")
	ErrZeroLabel      = errors.New("wire: label 0 names no link")
	ErrInnerKind      = errors.New("wire: unknown kind of inner packet")
	ErrAuth           = errors.New("wire: authentication failed")
	ErrSuite          = errors.New("wire: cipher suite not supported here")
	ErrKeySize        = errors.New("wire: wrong key size")
	ErrErrorCode      = errors.New("wire: unknown error code")
	ErrPart           = errors.New("wire: not a valid part of a frame")
	ErrUnknownMessage = errors.New("wire: unknown message type")
	ErrVersion        = errors.New("wire: unknown protocol version")
	ErrMalformed      = errors.New("wire: field out of range")
	ErrNotSigned      = errors.New("wire: not a signed object of this kind")
	ErrTrailing       = errors.New("wire: bytes behind the signature")
)
