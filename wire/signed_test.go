package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"x0tta6bl4/mesh"
)

func parseLSA(b []byte) error    { _, _, _, err := ParseLSA(b); return err }
func parseRecord(b []byte) error { _, _, _, err := ParseRecord(b); return err }

// cutBody returns a signed object with only the first n bytes of its body, its lengths being right.
func cutBody(raw []byte, prefix string, n int) []byte {
	body := raw[len(prefix)+4:]
	b := append(beginSigned(prefix), body[:n]...)
	return appendSignature(nil, endSigned(b, prefix), []byte("s"))
}

func TestSignedTruncation(t *testing.T) {
	for _, c := range []struct {
		prefix string
		raw    []byte
		input  []byte
		parse  func([]byte) error
	}{
		{lsaPrefix, testLSA.AppendSigned(nil, []byte("sig")), testLSA.SigningInput(), parseLSA},
		{recordPrefix, testRecord.AppendSigned(nil, []byte("sig")), testRecord.SigningInput(), parseRecord},
	} {
		if err := c.parse(c.raw); err != nil {
			t.Fatal(err)
		}
		for n := range c.raw {
			if err := c.parse(c.raw[:n:n]); !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrNotSigned) {
				t.Errorf("%q, %d bytes: %v", c.prefix, n, err)
			}
		}
		for n := range len(c.input) - len(c.prefix) - 4 {
			if err := c.parse(cutBody(c.raw, c.prefix, n)); !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrMalformed) {
				t.Errorf("%q, body of %d bytes: %v", c.prefix, n, err)
			}
		}
		if err := c.parse(append(bytes.Clone(c.raw), 0)); !errors.Is(err, ErrTrailing) {
			t.Errorf("%q, trailing byte: %v", c.prefix, err)
		}
		if err := c.parse(appendSignature(nil, c.input, nil)); !errors.Is(err, ErrTruncated) {
			t.Errorf("%q, no signature: %v", c.prefix, err)
		}
		if err := c.parse(appendSignature(nil, c.input, make([]byte, MaxSignature+1))); !errors.Is(err, ErrTooLong) {
			t.Errorf("%q, long signature: %v", c.prefix, err)
		}
		if err := c.parse(make([]byte, MaxLSA+1)); !errors.Is(err, ErrTooLong) {
			t.Errorf("%q, too long: %v", c.prefix, err)
		}
		other := append([]byte(strings.Replace(c.prefix, "/1", "/2", 1)), c.raw[len(c.prefix):]...)
		if err := c.parse(other); !errors.Is(err, ErrNotSigned) {
			t.Errorf("%q, next version: %v", c.prefix, err)
		}
	}
	if parseLSA(testRecord.AppendSigned(nil, []byte("s"))) == nil || parseRecord(testLSA.AppendSigned(nil, []byte("s"))) == nil {
		t.Error("one kind passes for the other")
	}
}

// A later version may add fields at the end of the body; they are covered by what the signature is checked over.
func TestSignedExtension(t *testing.T) {
	in := append(testLSA.SigningInput(), "new field"...)
	in = endSigned(in, lsaPrefix)
	lsa, signed, sig, err := ParseLSA(appendSignature(nil, in, []byte("sig")))
	same(t, "extended LSA", lsa, testLSA, err)
	equal(t, "signed", signed, in)
	equal(t, "signature", sig, []byte("sig"))
}

func TestLSARefuses(t *testing.T) {
	with := func(f func(*LSA)) LSA {
		l := testLSA
		l.Links = slices.Clone(l.Links)
		f(&l)
		return l
	}
	for _, c := range []struct {
		name string
		l    LSA
		want error
	}{
		{"no origin", with(func(l *LSA) { l.Origin = mesh.NodeID{} }), mesh.ErrNodeName},
		{"no neighbour", with(func(l *LSA) { l.Links[0].Neighbour = mesh.NodeID{} }), mesh.ErrNodeName},
		{"itself as neighbour", with(func(l *LSA) { l.Links[0].Neighbour = l.Origin }), ErrMalformed},
		{"before 1970", with(func(l *LSA) { l.Time = time.Time{} }), ErrMalformed},
		{"after 9999", with(func(l *LSA) { l.Time = time.UnixMilli(maxUnixMilli + 1) }), ErrMalformed},
		{"negative lifetime", with(func(l *LSA) { l.Lifetime = -time.Second }), ErrMalformed},
		{"label 0", with(func(l *LSA) { l.Links[0].Label = 0 }), ErrZeroLabel},
		{"remote 0", with(func(l *LSA) { l.Links[0].Remote = 0 }), ErrZeroLabel},
		{"label twice", with(func(l *LSA) { l.Links[1].Label = l.Links[0].Label }), ErrMalformed},
		{"cost 0", with(func(l *LSA) { l.Links[0].Cost = 0 }), ErrMalformed},
		{"cost", with(func(l *LSA) { l.Links[0].Cost = mesh.MaxCost + 1 }), ErrMalformed},
		{"quality", with(func(l *LSA) { l.Links[0].Quality = 6 }), ErrMalformed},
		{"17 groups", with(func(l *LSA) { l.Links[0].Groups = manyGroups(17) }), ErrTooLong},
		{"300 groups", with(func(l *LSA) { l.Links[0].Groups = manyGroups(300) }), ErrTooLong},
		{"513 links", with(func(l *LSA) { l.Links = manyLinks(513) }), ErrTooLong},
		{"65536 links", with(func(l *LSA) { l.Links = make([]mesh.Adjacency, 1<<16) }), ErrTooLong},
	} {
		if err := c.l.Validate(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	full := with(func(l *LSA) { l.Links = manyLinks(MaxLinks) })
	raw := full.AppendSigned(nil, make([]byte, MaxSignature))
	if err := full.Validate(); err != nil || len(raw) > MaxLSA {
		t.Errorf("the largest LSA: %d bytes, %v", len(raw), err)
	}
	groups := testLSA.SigningInput()
	copy(groups[len(groups)-4:], []byte{0, 0, 0, 5}) // 5, 5 instead of 5, 6
	if err := parseLSA(appendSignature(nil, groups, []byte("s"))); !errors.Is(err, ErrMalformed) {
		t.Errorf("groups not ascending: %v", err)
	}
}

func manyGroups(n int) (g []uint32) {
	for i := range n {
		g = append(g, uint32(i))
	}
	return g
}

func manyLinks(n int) (links []mesh.Adjacency) {
	long := mesh.MustNodeID(strings.Repeat("n", mesh.MaxName))
	for i := range n {
		links = append(links, mesh.Adjacency{Neighbour: long, Label: mesh.Label(i + 1), Remote: 1, Cost: 1, Groups: manyGroups(MaxGroups)})
	}
	return links
}

func TestRecordRefuses(t *testing.T) {
	with := func(f func(*Record)) Record { r := testRecord; f(&r); return r }
	for _, c := range []struct {
		name string
		r    Record
		want error
	}{
		{"no origin", with(func(r *Record) { r.Origin = mesh.NodeID{} }), mesh.ErrNodeName},
		{"no chain", with(func(r *Record) { r.Chain = nil }), ErrMalformed},
		{"five certificates", with(func(r *Record) { r.Chain = make([][]byte, 5) }), ErrTooLong},
		{"empty certificate", with(func(r *Record) { r.Chain = [][]byte{{}} }), ErrMalformed},
		{"long certificate", with(func(r *Record) { r.Chain = [][]byte{make([]byte, MaxCertificate+1)} }), ErrTooLong},
		{"longer than its length says", with(func(r *Record) { r.Chain = [][]byte{make([]byte, 70000)} }), ErrTooLong},
		{"17 addresses", with(func(r *Record) { r.Addresses = make([]string, 17) }), ErrTooLong},
		{"empty address", with(func(r *Record) { r.Addresses = []string{"", "1.2.3.4:5"} }), ErrMalformed},
		{"long address", with(func(r *Record) { r.Addresses = []string{strings.Repeat("a", 256), "1.2.3.4:5"} }), ErrMalformed},
		{"space", with(func(r *Record) { r.Addresses = []string{"a b"} }), ErrMalformed},
		{"beyond ASCII", with(func(r *Record) { r.Addresses = []string{"a\x7f"} }), ErrMalformed},
		{"control character", with(func(r *Record) { r.Addresses = []string{"a\n"} }), ErrMalformed},
	} {
		if err := c.r.Validate(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	full := with(func(r *Record) {
		der := make([]byte, MaxCertificate)
		r.Chain = [][]byte{der, der, der, der}
		r.Addresses = slices.Repeat([]string{strings.Repeat("a", MaxAddress)}, MaxAddresses)
	})
	if raw := full.AppendSigned(nil, make([]byte, MaxSignature)); full.Validate() != nil || len(raw) > MaxRecord {
		t.Errorf("the largest record: %d bytes, %v", len(raw), full.Validate())
	}
}

func drawLabels(t *rapid.T) []uint16 {
	n := drawLength(t, 0, 60)
	return rapid.SliceOfNDistinct(rapid.Uint16Min(1), n, n, rapid.ID[uint16]).Draw(t, "labels")
}

func drawChain(t *rapid.T) (chain [][]byte) {
	for range drawLength(t, 1, MaxChain) {
		chain = append(chain, drawBytes(t, 1, MaxCertificate))
	}
	return chain
}

func TestSignedRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(rapid.Int64Range(0, maxUnixMilli).Draw(t, "time")).UTC()
		l := LSA{Origin: mesh.MustNodeID("0-origin"), Incarnation: rapid.Uint64().Draw(t, "inc"), Boot: rapid.Uint64().Draw(t, "boot"),
			Seq: rapid.Uint64().Draw(t, "seq"), Time: at, Lifetime: time.Duration(rapid.Uint32().Draw(t, "life")) * time.Second,
			SVID: drawHash(t), Capabilities: rapid.Uint32().Draw(t, "caps")}
		for _, label := range drawLabels(t) {
			l.Links = append(l.Links, mesh.Adjacency{Neighbour: drawNode(t), Label: mesh.Label(label),
				Remote: mesh.Label(rapid.Uint16Min(1).Draw(t, "remote")), Cost: mesh.Cost(rapid.Uint32Range(1, uint32(mesh.MaxCost)).Draw(t, "cost")),
				Quality: mesh.Quality(rapid.IntRange(0, int(mesh.Excellent)).Draw(t, "quality")), MTU: rapid.Uint16().Draw(t, "mtu"),
				Capacity: mesh.BitsPerSecond(rapid.Uint64().Draw(t, "capacity")), Suspect: rapid.Bool().Draw(t, "suspect"),
				Groups: manyGroups(drawLength(t, 0, MaxGroups))})
		}
		got, signed, sig, err := ParseLSA(l.AppendSigned([]byte("front"), []byte("sig"))[5:])
		slices.SortFunc(l.Links, func(a, b mesh.Adjacency) int { return int(a.Label) - int(b.Label) })
		if err != nil || !reflect.DeepEqual(got, l) || string(sig) != "sig" || !bytes.Equal(signed, l.SigningInput()) {
			t.Fatalf("%+v\nread back as %+v, %v", l, got, err)
		}

		r := Record{Origin: drawNode(t), Incarnation: l.Incarnation, Seq: l.Seq, Time: at, Roles: l.Capabilities,
			Chain:     drawChain(t),
			Addresses: rapid.SliceOfN(rapid.StringMatching(`[!-~]{1,40}`), 1, MaxAddresses).Draw(t, "addresses")}
		back, signed, sig, err := ParseRecord(r.AppendSigned(nil, []byte("sig")))
		if err != nil || !reflect.DeepEqual(back, r) || string(sig) != "sig" || !bytes.Equal(signed, r.SigningInput()) {
			t.Fatalf("%+v\nread back as %+v, %v", r, back, err)
		}
	})
}

// The origin may list links and groups in any order; what it signs is the same.
func TestLSAOrder(t *testing.T) {
	l := testLSA
	l.Links = slices.Clone(l.Links)
	slices.Reverse(l.Links)
	l.Links[0].Groups = []uint32{6, 5, 6}
	equal(t, "signing input", l.SigningInput(), testLSA.SigningInput())
	if l.Links[0].Groups[0] != 6 || l.Links[0].Label != 70 {
		t.Error("the caller's LSA was changed")
	}
	if n := binary.BigEndian.Uint32(l.SigningInput()[len(lsaPrefix):]); int(n) != len(l.SigningInput())-len(lsaPrefix)-4 {
		t.Errorf("body length %d", n)
	}
}
