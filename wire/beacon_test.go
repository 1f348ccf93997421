package wire

import (
	"bytes"
	"errors"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

var (
	exampleMesh = spiffeid.RequireTrustDomainFromString("example.mesh")
	testBeacon  = Beacon{Answer: true, Port: 7420, Nonce: 0x1122334455667788, Salt: [16]byte(seq(0x60, 16))}
)

func TestBeaconGolden(t *testing.T) {
	b := testBeacon
	b.Hash = DomainHash(b.Salt, exampleMesh)
	want := golden(t)["beacon"]
	equal(t, "beacon", b.Append(nil), want)
	got, err := ParseBeacon(want)
	same(t, "beacon", got, b, err)
	if !got.Of(exampleMesh) {
		t.Error("not of its own domain")
	}
	if got.Of(spiffeid.RequireTrustDomainFromString("example.mesg")) {
		t.Error("of another domain")
	}
	got.Salt[15]++
	if got.Of(exampleMesh) {
		t.Error("the salt makes no difference")
	}
}

func TestBeaconRefused(t *testing.T) {
	whole := testBeacon.Append(nil)
	if len(whole) != BeaconLen {
		t.Fatalf("%d bytes", len(whole))
	}
	for n := range whole {
		if _, err := ParseBeacon(whole[:n]); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for _, tc := range []struct {
		at    int
		value byte
		want  error
	}{{0, 'y', ErrMalformed}, {3, 'B', ErrMalformed}, {4, 2, ErrVersion}} {
		bad := bytes.Clone(whole)
		bad[tc.at] = tc.value
		if _, err := ParseBeacon(bad); !errors.Is(err, tc.want) {
			t.Errorf("byte %d = %d: %v, want %v", tc.at, tc.value, err, tc.want)
		}
	}
	noPort := testBeacon
	noPort.Port = 0
	if _, err := ParseBeacon(noPort.Append(nil)); !errors.Is(err, ErrMalformed) {
		t.Errorf("port 0: %v", err)
	}
	later := append(bytes.Clone(whole), "of a later version"...)
	later[5] |= 0xfe
	if b, err := ParseBeacon(later); err != nil || b != testBeacon {
		t.Errorf("with reserved bits and trailing bytes: %+v, %v", b, err)
	}
}

func FuzzBeacon(f *testing.F) {
	seeds(f, 0, "beacon")
	f.Fuzz(func(t *testing.T, p []byte) {
		if b, err := ParseBeacon(p); err == nil {
			_ = b.Of(exampleMesh)
			again(t, b, b.Append(nil), ParseBeacon)
		}
	})
}
