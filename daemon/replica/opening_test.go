package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
)

// asked is a context that ends when it was asked so often whether it has.
type asked struct {
	context.Context
	left int
}

func (c *asked) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// Who does not wait any more for a replica to be opened leaves its file as it was: what was read until then is not all of it.
func TestOpeningIsGivenUp(t *testing.T) {
	a := newDomain(t).member(t, "a")
	var puts sync.WaitGroup
	for i := range 3 * lookUp {
		puts.Go(func() { a.put(fmt.Sprint(i), "v") })
	}
	puts.Wait()
	digest := a.info().Digest
	a.close()
	file, err := os.ReadFile(a.cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for left := range 6 { // three looks while the store checks the file, and three while it is read
		if _, err := OpenContext(&asked{ended, left}, a.cfg); !errors.Is(err, context.Canceled) {
			t.Fatalf("%d looks: %v", left, err)
		}
		if now, err := os.ReadFile(a.cfg.Path); err != nil || !bytes.Equal(now, file) {
			t.Fatalf("%d looks: the file is another now, %v", left, err)
		}
	}
	a.open()
	defer a.close()
	if i := a.info(); i.Digest != digest || len(i.Warnings) > 0 {
		t.Errorf("%+v", i)
	}
}
