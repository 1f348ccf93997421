package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"x0tta6bl4/mesh"
)

// Messages whose body is one opaque object have no truncation of their own: a shorter one is another object.
func opaque(m Message) bool {
	switch m.(type) {
	case RecordMsg, LSAMsg, LogMsg:
		return true
	}
	return false
}

func TestMessageTruncation(t *testing.T) {
	for name, m := range testMessages {
		if opaque(m) {
			continue
		}
		b, err := AppendMessage(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		b = b[MessageHeader:]
		for n := range b {
			if got, err := ParseMessage(b[:n:n]); !errors.Is(err, ErrTruncated) {
				t.Errorf("%s of %d bytes: %+v, %v", name, n, got, err)
			}
		}
		got, err := ParseMessage(append(bytes.Clone(b), 1, 2, 3))
		same(t, name+" with trailing bytes", got, m, err)
	}
}

func TestMessageLength(t *testing.T) {
	for n := range MessageHeader {
		if _, err := MessageLength(make([]byte, n)); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := MessageLength(make([]byte, 4)); !errors.Is(err, ErrTruncated) {
		t.Errorf("length 0: %v", err)
	}
	if _, err := MessageLength([]byte{0, 4, 0, 1}); !errors.Is(err, ErrTooLong) {
		t.Errorf("256 KiB + 1: %v", err)
	}
	if n, err := MessageLength([]byte{0, 4, 0, 0}); n != MaxMessage || err != nil {
		t.Errorf("256 KiB: %d, %v", n, err)
	}
}

func TestAppendMessageRefuses(t *testing.T) {
	open := testMessages["msg-link-open"].(LinkOpen)
	with := func(f func(*LinkOpen)) LinkOpen { o := open; f(&o); return o }
	for _, c := range []struct {
		name string
		m    Message
		want error
	}{
		{"nil", nil, ErrUnknownMessage},
		{"a pointer", &open, ErrUnknownMessage},
		{"link version", with(func(o *LinkOpen) { o.Version = 2 }), ErrVersion},
		{"link label", with(func(o *LinkOpen) { o.Label = 0 }), ErrZeroLabel},
		{"no hello", with(func(o *LinkOpen) { o.Hello = 999 * time.Nanosecond }), ErrMalformed},
		{"hello too long", with(func(o *LinkOpen) { o.Hello = (math.MaxUint32 + 1) * time.Microsecond }), ErrMalformed},
		{"peer version", PeerOpen{}, ErrVersion},
		{"too long", LogMsg{make([]byte, MaxMessage)}, ErrTooLong},
	} {
		b, err := AppendMessage([]byte("before"), c.m)
		if !errors.Is(err, c.want) || string(b) != "before" {
			t.Errorf("%s: %q, %v; want %v", c.name, b, err, c.want)
		}
	}
	if b, err := AppendMessage(nil, LogMsg{make([]byte, MaxMessage-1)}); err != nil || len(b) != MessageHeader+MaxMessage {
		t.Errorf("the longest message: %d bytes, %v", len(b), err)
	}
}

func TestParseMessageRefuses(t *testing.T) {
	g := golden(t)
	edit := func(name string, i int, v ...byte) []byte {
		b := bytes.Clone(g[name][MessageHeader:])
		copy(b[i:], v)
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"type 0", []byte{0}, ErrUnknownMessage},
		{"type 10", []byte{10, 1, 2}, ErrUnknownMessage},
		{"link version", edit("msg-link-open", 1, 2), ErrVersion},
		{"another version, otherwise unreadable", []byte{1, 2}, ErrVersion},
		{"peer version", edit("msg-peer-open", 1, 0), ErrVersion},
		{"label 0", edit("msg-link-open", 6, 0, 0), ErrZeroLabel},
		{"hello 0", edit("msg-link-open", 8, 0, 0, 0, 0), ErrMalformed},
		{"summary of more than came", edit("msg-summary", 1, 0, 0, 0, 2), ErrTruncated},
		{"summary of 2^32-1", edit("msg-summary", 1, 255, 255, 255, 255), ErrTooLong},
		{"summary name", edit("msg-summary", 6, 'A'), mesh.ErrNodeName},
		{"request of more than came", edit("msg-record-request", 1, 0, 0, 0, 3), ErrTruncated},
		{"request of 2^31", edit("msg-record-request", 1, 128), ErrTooLong},
		{"too long", make([]byte, MaxMessage+1), ErrTooLong},
	} {
		if m, err := ParseMessage(c.b); !errors.Is(err, c.want) || m != nil {
			t.Errorf("%s: %+v, %v; want %v", c.name, m, err, c.want)
		}
	}
}

func TestByeIsOneSafeLine(t *testing.T) {
	for in, want := range map[string]string{
		"a\nb\x1b[2Jc\x7f":               "a?b?[2Jc?",
		"\xff\xfe":                       "??",
		"Gruß":                           "Gruß",
		strings.Repeat("x", 300):         strings.Repeat("x", 255),
		strings.Repeat("é", 200):         strings.Repeat("é", 127),
		"x" + strings.Repeat("\xff", 99): "x" + strings.Repeat("?", 99),
	} {
		b, err := AppendMessage(nil, Bye{in})
		if err != nil {
			t.Fatal(err)
		}
		m, err := ParseMessage(b[MessageHeader:])
		same(t, in, m, Bye{want}, err)
	}
	m, err := ParseMessage([]byte{msgBye, 2, '\n', 0xff})
	same(t, "from a careless peer", m, Bye{"??"}, err)
}

func drawNode(t *rapid.T) mesh.NodeID {
	return mesh.MustNodeID(rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?`).Draw(t, "node"))
}

func drawHash(t *rapid.T) (h [32]byte) {
	copy(h[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
	return h
}

func TestMessageRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sum := Summary{}
		for range drawLength(t, 0, 20) {
			sum.Entries = append(sum.Entries, SummaryEntry{drawNode(t), rapid.Uint64().Draw(t, "boot"), rapid.Uint64().Draw(t, "seq"),
				drawHash(t), rapid.Uint64().Draw(t, "rec")})
		}
		req := RecordRequest{}
		for range drawLength(t, 0, 20) {
			req.SVIDs = append(req.SVIDs, drawHash(t))
		}
		open := LinkOpen{Version, rapid.Uint32().Draw(t, "index"), mesh.Label(rapid.Uint16Min(1).Draw(t, "label")),
			time.Duration(rapid.Uint32Min(1).Draw(t, "hello")) * time.Microsecond, rapid.Uint16().Draw(t, "mtu"),
			rapid.Uint32().Draw(t, "caps"), rapid.Uint64().Draw(t, "boot")}
		for _, m := range []Message{sum, req, open, PeerOpen{Version, open.Index, open.MTU, open.Boot}, Digest{drawHash(t)}, sum.Digest()} {
			b, err := AppendMessage(nil, m)
			if err != nil {
				t.Fatal(err)
			}
			if n := binary.BigEndian.Uint32(b); int(n) != len(b)-MessageHeader {
				t.Fatalf("%T: length %d of %d", m, n, len(b))
			}
			got, err := ParseMessage(b[MessageHeader:])
			if err != nil || !reflect.DeepEqual(got, m) {
				t.Fatalf("%+v\nread back as %+v, %v", m, got, err)
			}
		}
		if r := clipReason(rapid.StringN(0, -1, 1000).Draw(t, "reason") + string(drawBytes(t, 0, 400))); len(r) > MaxReason || !utf8.ValidString(r) {
			t.Fatalf("reason %q", r)
		}
	})
}
