package dataplane

import (
	"crypto/cipher"
	"sync"
	"sync/atomic"
	"time"

	"x0tta6bl4/wire"
)

const (
	// The key before the present one is kept for so long: more than 3 round trips, and than an error about a packet takes.
	oldKeyAge = 2 * quoteAge

	// A receiver follows so many epochs at once if everything between was lost: 2^25 packets, more than can be sent until a
	// session that hears nothing ends.
	maxEpochsAhead = 8

	aheadBurst    = 16 // tries to follow more than one, for each session
	aheadInterval = 10 * time.Millisecond
)

// keyChain is the keys of one direction of a session. Which one a packet is sealed with follows from its counter (wire.Epoch).
// The way to the next is one way only, and keys are forgotten behind it.
type keyChain struct {
	keys atomic.Pointer[epochKeys]

	mu    sync.Mutex // guards what follows, and changes of keys
	key   [32]byte   // of the present epoch
	next  cipher.AEAD
	ahead allowance
}

// epochKeys is immutable.
type epochKeys struct {
	epoch       uint64
	now, before cipher.AEAD   // before: nil if it is forgotten
	until       time.Duration // when it is, on the plane's clock
}

func newKeyChain(key [32]byte) (*keyChain, error) {
	aead, err := wire.NewAEAD(wire.SuiteAES256GCM, key[:])
	if err != nil {
		return nil, err
	}
	k := &keyChain{key: key}
	k.keys.Store(&epochKeys{now: aead})
	return k, nil
}

// known returns the key for counter c if it is at hand; else ahead reports whether it is still to come.
func (k *keyChain) known(c uint64, now time.Duration) (aead cipher.AEAD, ahead bool) {
	keys := k.keys.Load()
	if keys.before != nil && now >= keys.until {
		k.forget(keys)
		keys = k.keys.Load()
	}
	switch e := wire.Epoch(c); {
	case e == keys.epoch:
		return keys.now, false
	case e+1 == keys.epoch:
		return keys.before, false
	default:
		return nil, e > keys.epoch
	}
}

func (k *keyChain) forget(keys *epochKeys) {
	k.keys.CompareAndSwap(keys, &epochKeys{epoch: keys.epoch, now: keys.now})
}

// sealing returns the key for counter c, which was taken now; nil if that was so long ago that it is forgotten.
func (k *keyChain) sealing(c uint64, now time.Duration) cipher.AEAD {
	aead, ahead := k.known(c, now)
	if !ahead {
		return aead
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.follow(wire.Epoch(c), now); err != nil {
		return nil
	}
	aead, _ = k.known(c, now)
	return aead
}

// open authenticates and decrypts the payload of a data frame in place. If it was not to be, why is what it is counted under.
func (k *keyChain) open(payload []byte, c uint64, now time.Duration) (plain []byte, why counter, ok bool) {
	aead, ahead := k.known(c, now)
	if ahead {
		aead = k.tryAhead(wire.Epoch(c), now)
	}
	if aead == nil {
		return nil, peerBadEpoch, false
	}
	_, plain, err := wire.OpenData(payload, aead)
	if err != nil {
		return nil, peerBadSeal, false
	}
	if ahead { // it is authentic: the sender is there
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.follow(wire.Epoch(c), now) != nil {
			return nil, peerBadEpoch, false
		}
	}
	return plain, 0, true
}

// tryAhead returns the key of an epoch to come, without going there: whoever named it may be anybody. nil: it is too far
// away, or too much was tried.
func (k *keyChain) tryAhead(epoch uint64, now time.Duration) cipher.AEAD {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := k.keys.Load().epoch
	switch {
	case epoch == at+1 && k.next != nil:
		return k.next
	case epoch <= at: // somebody else was faster
		aead, _ := k.known(epoch*wire.EpochPackets, now)
		return aead
	case epoch > at+maxEpochsAhead || epoch > at+1 && !k.ahead.take(now, aheadBurst, aheadInterval):
		return nil
	}
	_, aead, err := stepKey(k.key, epoch-at)
	if err != nil {
		return nil
	}
	if epoch == at+1 {
		k.next = aead
	}
	return aead
}

// follow makes epoch the present one, if it is still to come. k.mu is held.
func (k *keyChain) follow(epoch uint64, now time.Duration) error {
	keys := k.keys.Load()
	if epoch <= keys.epoch {
		return nil
	}
	before := keys.now
	if epoch > keys.epoch+1 {
		key, aead, err := stepKey(k.key, epoch-1-keys.epoch)
		if err != nil {
			return err
		}
		k.key, before = key, aead
	}
	key, aead, err := stepKey(k.key, 1)
	if err != nil {
		return err
	}
	k.key, k.next = key, nil
	k.keys.Store(&epochKeys{epoch: epoch, now: aead, before: before, until: now + oldKeyAge})
	return nil
}

// stepKey returns the key so many epochs behind key.
func stepKey(key [32]byte, steps uint64) ([32]byte, cipher.AEAD, error) {
	for range steps {
		next, err := wire.NextEpoch(key)
		if err != nil {
			return key, nil, err
		}
		key = next
	}
	aead, err := wire.NewAEAD(wire.SuiteAES256GCM, key[:])
	return key, aead, err
}
