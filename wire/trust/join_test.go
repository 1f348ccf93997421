package trust

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"x0tta6bl4/mesh"
)

func TestPreamble(t *testing.T) {
	for _, p := range []Preamble{
		{PurposeJoin, false, mesh.MustNodeID("alpha")}, {PurposeRenew, true, mesh.MustNodeID("a")},
	} {
		b := p.Append(nil)
		if got, err := ParsePreamble(b); err != nil || got != p {
			t.Errorf("%+v: %+v, %v", p, got, err)
		}
		for n := range b {
			if _, err := ParsePreamble(b[:n]); !errors.Is(err, ErrPreamble) {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	}
	for _, s := range []string{"x0tj\x02\x01\x01a", "x0tj\x01\x03\x01a", "x0tj\x01\x01\x01A", "x0tj\x01\x01\x00", "GET / HTTP/1.1"} {
		if _, err := ParsePreamble([]byte(s)); !errors.Is(err, ErrPreamble) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestMessagesRoundTripAndTruncate(t *testing.T) {
	g := Greeting{now, []byte("log")}
	q := Request{Node: mesh.MustNodeID("beta"), CSR: []byte("csr")}
	join := q
	join.JoinProof([]byte("secret secret secret"), make([]byte, ChannelBinding))
	done := Reply{Chain: [][]byte{[]byte("leaf"), []byte("next")}, Neighbours: []string{"192.0.2.1:7420"}}
	for name, c := range map[string]struct {
		in    any
		bytes []byte
		parse func([]byte) (any, error)
	}{
		"greeting": {g, g.Append(nil), func(b []byte) (any, error) { v, err := ParseGreeting(b); v.Time = v.Time.UTC(); return v, err }},
		"renew":    {q, q.Append(nil), func(b []byte) (any, error) { return ParseRequest(b, PurposeRenew) }},
		"join":     {join, join.Append(nil), func(b []byte) (any, error) { return ParseRequest(b, PurposeJoin) }},
		"done":     {done, done.Append(nil), func(b []byte) (any, error) { return ParseReply(b) }},
		"refused":  {Reply{Code: CodeTokenUsed, Text: "used"}, Reply{Code: CodeTokenUsed, Text: "used"}.Append(nil), func(b []byte) (any, error) { return ParseReply(b) }},
	} {
		got, err := c.parse(append(bytes.Clone(c.bytes), "trailing bytes are of a later version"...))
		if err != nil || fmtOf(got) != fmtOf(c.in) {
			t.Errorf("%s: %v\n%+v\n%+v", name, err, got, c.in)
		}
		for n := range c.bytes {
			if _, err := c.parse(c.bytes[:n]); !errors.Is(err, ErrMessage) {
				t.Errorf("%s: first %d of %d bytes: %v", name, n, len(c.bytes), err)
			}
		}
	}
}

// fmtOf shows a message; nil and empty are the same on the wire.
func fmtOf(v any) string { return fmt.Sprintf("%+v", v) }

func TestReplyBounds(t *testing.T) {
	long := Reply{Code: CodeFailed, Text: strings.Repeat("x", 5000)}
	if got, err := ParseReply(long.Append(nil)); err != nil || len(got.Text) != maxText {
		t.Errorf("%v, %d", err, len(got.Text))
	}
	many := Reply{Chain: [][]byte{{1}}, Neighbours: make([]string, 100)}
	if got, err := ParseReply(many.Append(nil)); err != nil || len(got.Neighbours) != MaxAddresses {
		t.Errorf("%v, %d", err, len(got.Neighbours))
	}
	for name, bad := range map[string]Reply{"no chain": {}, "long chain": {Chain: make([][]byte, MaxChain+1)}} {
		if _, err := ParseReply(bad.Append(nil)); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseRequest(Request{Node: mesh.MustNodeID("a"), CSR: make([]byte, maxCSR+1)}.Append(nil), PurposeRenew); !errors.Is(err, ErrMessage) {
		t.Errorf("large CSR: %v", err)
	}
	if _, err := ParseRequest([]byte("\x01A\x00\x00"), PurposeRenew); !errors.Is(err, ErrMessage) {
		t.Errorf("odd name: %v", err)
	}
}

// A proof is good on its channel, for its request and by its secret only.
func TestJoinProof(t *testing.T) {
	secret, channel := []byte("twenty bytes of luck"), bytes.Repeat([]byte{1}, ChannelBinding)
	made := func() Request {
		q := Request{Node: mesh.MustNodeID("beta"), CSR: []byte("csr")}
		q.JoinProof(secret, channel)
		return q
	}
	if q := made(); !q.CheckProof(channel) {
		t.Fatal("the proof does not check")
	}
	if q := made(); q.CheckProof(bytes.Repeat([]byte{2}, ChannelBinding)) {
		t.Error("good on another channel")
	}
	for name, spoil := range map[string]func(*Request){
		"node":      func(q *Request) { q.Node = mesh.MustNodeID("gamma") },
		"CSR":       func(q *Request) { q.CSR = []byte("cst") },
		"proof":     func(q *Request) { q.Proof[3] ^= 1 },
		"no proof":  func(q *Request) { q.Proof = nil },
		"no key":    func(q *Request) { q.TokenKey = nil },
		"other key": func(q *Request) { q.TokenKey = domainKey(5)[32:] },
	} {
		q := made()
		if spoil(&q); q.CheckProof(channel) {
			t.Errorf("good with another %s", name)
		}
	}
	if q := made(); bytes.Contains(q.Append(nil), secret) {
		t.Error("the secret travels")
	}
}

func FuzzJoinMessages(f *testing.F) {
	q := Request{Node: mesh.MustNodeID("beta"), CSR: []byte("csr")}
	q.JoinProof([]byte("secret secret secret"), make([]byte, ChannelBinding))
	f.Add(q.Append(nil))
	f.Add(Greeting{now, []byte("log")}.Append(nil))
	f.Add(Reply{Chain: [][]byte{{1}}, Neighbours: []string{"a"}}.Append(nil))
	f.Add(Preamble{PurposeJoin, true, mesh.MustNodeID("alpha")}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ParsePreamble(b); err == nil && !bytes.HasPrefix(b, p.Append(nil)) {
			t.Fatal("preamble")
		}
		if g, err := ParseGreeting(b); err == nil && !bytes.HasPrefix(b, g.Append(nil)) {
			t.Fatal("greeting")
		}
		for _, purpose := range []Purpose{PurposeJoin, PurposeRenew} {
			if q, err := ParseRequest(b, purpose); err == nil && !bytes.HasPrefix(b, q.Append(nil)) {
				t.Fatal("request")
			}
		}
		if p, err := ParseReply(b); err == nil && !bytes.HasPrefix(b, p.Append(nil)) {
			t.Fatal("reply")
		}
	})
}
