package tuntest

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
)

func TestBothWays(t *testing.T) {
	d := New("x0t0")
	if d.Name() != "x0t0" {
		t.Errorf("name %q", d.Name())
	}
	p := []byte("packet")
	if err := d.Inject(p); err != nil {
		t.Fatal(err)
	}
	p[0] = 'X' // the device has its own copy
	buf := make([]byte, 3)
	if n, err := d.Read(buf); err != nil || string(buf[:n]) != "pac" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if n, err := d.Write(p); n != len(p) || err != nil {
		t.Fatal(n, err)
	}
	p[0] = 'p'
	if got := <-d.Written(); string(got) != "Xacket" {
		t.Fatalf("%q", got)
	}
}

func TestCloseEndsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New("x0t0")
		for range queue {
			d.Inject(nil)
			d.Write(nil)
		}
		full := make(chan error, 2)
		go func() { full <- d.Inject(nil) }()
		go func() { _, err := d.Write(nil); full <- err }()
		synctest.Wait()
		d.Close()
		for range 2 {
			if err := <-full; !errors.Is(err, net.ErrClosed) {
				t.Errorf("waiting call: %v", err)
			}
		}
		if _, err := d.Read(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after close: %v", err)
		}
		if _, err := d.Write(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write after close: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}

		e := New("x0t1")
		go func() { _, err := e.Read(nil); full <- err }()
		synctest.Wait()
		e.Close()
		if err := <-full; !errors.Is(err, net.ErrClosed) {
			t.Errorf("waiting read: %v", err)
		}
	})
}
