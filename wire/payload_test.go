package wire

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"x0tta6bl4/mesh"
)

// payloads are the formats of fixed fields: append, and parse as a value to compare.
var payloads = map[string]struct {
	encoded []byte
	parse   func([]byte) (any, error)
	want    any
}{
	"hello":     {testHello.Append(nil), func(b []byte) (any, error) { return ParseHello(b) }, testHello},
	"error":     {testError.Append(nil), func(b []byte) (any, error) { return ParseErrorFrame(b) }, testError},
	"probe":     {testProbe.Append(nil), func(b []byte) (any, error) { return ParseProbe(b) }, testProbe},
	"challenge": {Challenge(testQuote).Append(nil), func(b []byte) (any, error) { return ParseChallenge(b) }, Challenge(testQuote)},
	"inner": {Inner{InnerProbe, 1, true, 31}.Append(nil), func(b []byte) (any, error) {
		i, _, err := ParseInner(b)
		return i, err
	}, Inner{InnerProbe, 1, true, 31}},
}

func TestPayloadTruncation(t *testing.T) {
	for name, p := range payloads {
		for n := range p.encoded {
			if _, err := p.parse(p.encoded[:n:n]); !errors.Is(err, ErrTruncated) {
				t.Errorf("%s of %d bytes: %v", name, n, err)
			}
		}
		got, err := p.parse(append(bytes.Clone(p.encoded), 1, 2, 3))
		same(t, name+" with trailing bytes", got, p.want, err)
	}
	hs := testHandshake.Append(nil)
	for n := range hs {
		h, err := ParseHandshake(hs[:n:n])
		if short := n <= HandshakeHeader; short != errors.Is(err, ErrTruncated) {
			t.Errorf("handshake of %d bytes: %v", n, err)
		} else if !short && len(h.Datagram) != n-HandshakeHeader {
			t.Errorf("handshake of %d bytes: datagram of %d", n, len(h.Datagram))
		}
	}
	if _, err := ParseHandshake(make([]byte, HandshakeHeader+MaxDatagram+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("handshake too long: %v", err)
	}
}

// Counts are there whole or not at all: a probe without them is one of a node that does not count.
func TestProbeCounts(t *testing.T) {
	p := testProbe
	p.Counts = &ProbeCounts{Index: 0x01020304, Sent: 5, Received: 0xfffffffe}
	b := p.Append(nil)
	want := append(testProbe.Append(nil), 1, 2, 3, 4, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xfe)
	if !bytes.Equal(b, want) {
		t.Fatalf("probe\n%x, want\n%x", b, want)
	}
	got, err := ParseProbe(append(b, 0, 0, 0)) // and padding
	same(t, "probe with counts", got, p, err)
	for cut := 1; cut <= probeCounts; cut++ {
		got, err := ParseProbe(b[:len(b)-cut])
		same(t, "probe with its counts cut", got, testProbe, err)
	}
}

func TestErrorFrameRefuses(t *testing.T) {
	for _, code := range []ErrorCode{0, ErrorUTurn + 1, 255} {
		e := testError
		e.Code = code
		if _, err := ParseErrorFrame(e.Append(nil)); !errors.Is(err, ErrErrorCode) {
			t.Errorf("code %d: %v", code, err)
		}
	}
	e := testError
	e.Hop = MaxLabels + 1
	if _, err := ParseErrorFrame(e.Append(nil)); !errors.Is(err, ErrHopIndex) {
		t.Errorf("hop 33: %v", err)
	}
	if q := QuoteOf([]byte{1, 2}); q != [16]byte{1, 2} {
		t.Errorf("quote of a short payload: %x", q)
	}
}

func TestPayloadRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := Hello{
			Seq: rapid.Uint32().Draw(t, "seq"), SentAt: rapid.Uint64().Draw(t, "sent"), EchoSeq: rapid.Uint32().Draw(t, "echo"),
			EchoSentAt: rapid.Uint64().Draw(t, "echo sent"), EchoDelay: rapid.Uint32().Draw(t, "delay"), Heard: rapid.Uint32().Draw(t, "heard"),
			HeardFrom: rapid.Uint32().Draw(t, "from"), Interval: rapid.Uint32().Draw(t, "interval"), Probe: rapid.Bool().Draw(t, "probe"),
		}
		if got, err := ParseHello(h.Append(nil)); err != nil || got != h {
			t.Fatalf("hello %+v, %v", got, err)
		}
		e := ErrorFrame{
			Code: ErrorCode(rapid.IntRange(1, 6).Draw(t, "code")), Label: mesh.Label(rapid.Uint16().Draw(t, "label")),
			MTU: rapid.Uint16().Draw(t, "mtu"), Quote: QuoteOf(rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "quote")),
			Hop: rapid.Uint8Max(MaxLabels).Draw(t, "hop"),
		}
		if got, err := ParseErrorFrame(e.Append(nil)); err != nil || got != e {
			t.Fatalf("error %+v, %v", got, err)
		}
		p := Probe{ID: rapid.Uint64().Draw(t, "id"), SentAt: rapid.Int64().Draw(t, "at"), Path: rapid.Byte().Draw(t, "path")}
		for range drawLength(t, 0, MaxLabels) {
			p.Labels = append(p.Labels, mesh.Label(rapid.Uint16().Draw(t, "l")))
		}
		if rapid.Bool().Draw(t, "counts") {
			p.Counts = &ProbeCounts{rapid.Uint32().Draw(t, "index"), rapid.Uint32().Draw(t, "sent"), rapid.Uint32().Draw(t, "received")}
		}
		if got, err := ParseProbe(p.Append(nil)); err != nil || !reflect.DeepEqual(got, p) {
			t.Fatalf("probe %+v, %v", got, err)
		}
		hs := Handshake{rapid.Bool().Draw(t, "initiator"), rapid.Uint64().Draw(t, "conversation"),
			drawBytes(t, 1, MaxDatagram)}
		if got, err := ParseHandshake(hs.Append(nil)); err != nil || !reflect.DeepEqual(got, hs) {
			t.Fatalf("handshake %+v, %v", got, err)
		}
	})
}
