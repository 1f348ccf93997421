// Package store keeps pairs of bytes on disk, in one file (bbolt): what is written together is there together after a
// crash or not at all, and what Write has answered for is there. It knows nothing of what the pairs mean.
//
//	bucket pairs   key → CRC-32C of key and value (4) ‖ value
//	bucket head    "format" → number of the format (1)
//	               "sum"    → number of pairs (8) ‖ sum of their CRCs (8)
//	               "mended" → what had been damaged when the file was made, until the first write
//
// bbolt checks its two meta pages and nothing else. So every pair carries a checksum, and the head says what all of them
// together are: a changed byte shows, and so does a pair that is gone. Open looks at all of it. What it finds damaged it
// keeps beside, and goes on with a new file that holds what was good; whoever gave the rest can give it again.
package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// What can be wrong with a store.
var (
	ErrLocked  = errors.New("the store is in use by another process")
	ErrNewer   = errors.New("the store was written by a newer version")
	ErrDamaged = errors.New("the store is damaged")
	ErrClosed  = errors.New("the store is closed")
	ErrPair    = errors.New("not a pair that can be stored")
)

// Limits of a pair in bytes.
const (
	MaxKey   = 1 << 10
	MaxValue = 4 << 20
)

const (
	format   = 1
	lockWait = time.Second
	lookUp   = 1 << 10 // pairs that are looked at between two looks whether anybody waits for it
)

var (
	pairsBucket = []byte("pairs")
	headBucket  = []byte("head")
	formatKey   = []byte("format")
	sumKey      = []byte("sum")
	mendedKey   = []byte("mended")
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
)

// Pair is a key with its value; a nil value removes the key.
type Pair struct{ Key, Value []byte }

// Damage says what Open found wrong. What is kept was written once, but a page of an earlier time may have come in place of a
// newer one: only pairs that never change are certainly the last.
type Damage struct {
	Reason error  // wraps ErrDamaged
	Kept   string // the damaged file
	Good   int    // pairs that are in the new one
}

func (d *Damage) Error() string {
	return fmt.Sprintf("%v; %d pairs are kept, the damaged file is %s", d.Reason, d.Good, d.Kept)
}

// Store is an open store. Its methods may be called from several goroutines.
type Store struct {
	db     *bbolt.DB
	writes chan request
	failed atomic.Pointer[error] // nothing is written before Resume

	mu     sync.RWMutex // held while something is put into writes; guards closed
	closed bool
	ended  chan struct{} // the writer has
}

// Open opens the store in the file at path, and makes it if it is not there. A store that was damaged comes with a Damage,
// each time until something is written.
// It refuses one that is in use (ErrLocked), and one of a newer format (ErrNewer), which it leaves as it is.
func Open(path string) (*Store, *Damage, error) { return OpenContext(context.Background(), path) }

// OpenContext does the same, and gives up when ctx ends: to look at all of a large store takes a while. The file stays as it is.
func OpenContext(ctx context.Context, path string) (*Store, *Damage, error) {
	db, err := openDB(path)
	if err == nil {
		err = verify(ctx, db)
		if err != nil {
			_ = db.Close()
		}
	}
	var damage *Damage
	if err == nil {
		if damage, err = unread(db); err != nil {
			_ = db.Close()
		}
	}
	if errors.Is(err, ErrDamaged) {
		damage = &Damage{Reason: err}
		if db, err = rebuild(ctx, path, damage, os.Link); err != nil {
			return nil, nil, fmt.Errorf("store %s: %w; it could not be made anew: %w", path, damage.Reason, err)
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("store %s: %w", path, err)
	}
	s := &Store{db: db, writes: make(chan request, maxQueued), ended: make(chan struct{})}
	go s.run()
	return s, damage, nil
}

// guard calls f and makes an error of what a damaged file does to bbolt: assertions that panic, pages that are not there.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return f()
}

// openDB opens the file and checks what can be checked without looking at the pairs.
func openDB(path string) (*bbolt.DB, error) {
	if err := checkMeta(path); err != nil {
		return nil, err
	}
	return openOld(path)
}

// openOld does the same for a file whose beginning may be damaged.
func openOld(path string) (db *bbolt.DB, err error) {
	var file *os.File
	err = guard(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, mode) // #nosec G304 -- the daemon's own
			file = f
			return f, err
		}})
		return err
	})
	switch {
	case err == nil:
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, ErrLocked
	case errors.Is(err, ErrDamaged):
		_ = file.Close() // or its lock would stay
		return nil, err
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	default:
		return nil, err
	}
	err = guard(func() error {
		fresh := false
		if err := db.View(func(tx *bbolt.Tx) (err error) { fresh, err = checkHead(tx); return err }); err != nil || !fresh {
			return err
		}
		return db.Update(begin)
	})
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// begin makes what a new file must have.
func begin(tx *bbolt.Tx) error {
	head, err := tx.CreateBucket(headBucket)
	if err != nil {
		return err
	}
	if _, err = tx.CreateBucket(pairsBucket); err != nil {
		return err
	}
	return errors.Join(head.Put(formatKey, []byte{format}), sum{}.put(head))
}

// checkHead checks the format of a file; fresh: it has none yet.
func checkHead(tx *bbolt.Tx) (fresh bool, err error) {
	head, pairs := tx.Bucket(headBucket), tx.Bucket(pairsBucket)
	if head == nil && pairs == nil {
		return true, nil
	}
	if head == nil || pairs == nil {
		return false, fmt.Errorf("%w: half of it is missing", ErrDamaged)
	}
	switch f := head.Get(formatKey); {
	case len(f) != 1 || f[0] == 0:
		return false, fmt.Errorf("%w: its head is not one", ErrDamaged)
	case f[0] > format:
		return false, fmt.Errorf("%w: format %d, this program knows %d", ErrNewer, f[0], format)
	}
	return false, nil
}

// verify looks at every pair.
func verify(ctx context.Context, db *bbolt.DB) error {
	return guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			var got sum
			seen, bad := 0, 0
			err := tx.Bucket(pairsBucket).ForEach(func(k, v []byte) error {
				if seen++; seen%lookUp == 0 && ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if _, ok := open(k, v); !ok {
					bad++
					return nil
				}
				got.add(v)
				return nil
			})
			want, ok := readSum(tx.Bucket(headBucket))
			switch {
			case err != nil && ctx.Err() != nil:
				return err
			case err != nil:
				return fmt.Errorf("%w: %w", ErrDamaged, err)
			case bad > 0:
				return fmt.Errorf("%w: %d of %d pairs do not match their checksums", ErrDamaged, bad, bad+int(got.n))
			case !ok || got != want:
				return fmt.Errorf("%w: %d pairs are there, %d were written", ErrDamaged, got.n, want.n)
			}
			return nil
		})
	})
}

// All yields all pairs, ascending by key; they are good until the next step. It may be ranged over while others write: it shows
// the store as it was at the beginning. The error is that of the file underneath, after the last pair.
func (s *Store) All(failed *error) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		*failed = guard(func() error {
			return s.db.View(func(tx *bbolt.Tx) error {
				c := tx.Bucket(pairsBucket).Cursor()
				for k, v := c.First(); k != nil; k, v = c.Next() {
					value, ok := open(k, v)
					if !ok {
						return fmt.Errorf("%w: pair %x", ErrDamaged, k)
					}
					if !yield(k, value) {
						return nil
					}
				}
				return nil
			})
		})
	}
}

// open checks the checksum of a stored value and takes it off.
func open(k, v []byte) ([]byte, bool) {
	if len(v) < 4 || binary.BigEndian.Uint32(v) != crcOf(k, v[4:]) {
		return nil, false
	}
	return v[4:], true
}

func crcOf(k, v []byte) uint32 { return crc32.Update(crc32.Checksum(k, castagnoli), castagnoli, v) }

// sum stands for all pairs: how many, and the sum of their checksums.
type sum struct{ n, crcs uint64 }

func (s *sum) add(v []byte) { s.n, s.crcs = s.n+1, s.crcs+uint64(binary.BigEndian.Uint32(v)) }
func (s *sum) take(v []byte) {
	s.n, s.crcs = s.n-1, s.crcs-uint64(binary.BigEndian.Uint32(v))
}

func (s sum) put(head *bbolt.Bucket) error {
	return head.Put(sumKey, binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.n), s.crcs))
}

func readSum(head *bbolt.Bucket) (sum, bool) {
	b := head.Get(sumKey)
	if len(b) != 16 {
		return sum{}, false
	}
	return sum{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, true
}
