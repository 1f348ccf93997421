package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// rebuild makes a new file of what is good in the old one, and puts it in its place. link is os.Link.
func rebuild(ctx context.Context, path string, d *Damage, link func(from, to string) error) (*bbolt.DB, error) {
	d.Kept = path + ".damaged"
	fresh := path + ".new"
	if err := remove(d.Kept, fresh); err != nil {
		return nil, err
	}
	to, err := openDB(fresh)
	if err != nil {
		return nil, err
	}
	if old, err := openOld(path); err == nil {
		d.Good, err = salvage(ctx, old, to)
		_ = old.Close()
		if err != nil {
			return nil, errors.Join(err, to.Close())
		}
	}
	err = to.Update(func(tx *bbolt.Tx) error { return tx.Bucket(headBucket).Put(mendedKey, []byte(d.Reason.Error())) })
	if err := errors.Join(err, to.Close()); err != nil {
		return nil, err
	}
	if err := aside(path, d.Kept, link); err != nil {
		return nil, err
	}
	if err := errors.Join(os.Rename(fresh, path), syncFolder(path)); err != nil {
		return nil, err
	}
	return openDB(path)
}

// unread returns the damage after which a file was made anew, if nobody has written to it since: whoever opened it may not have come so
// far as to draw the consequences.
func unread(db *bbolt.DB) (d *Damage, err error) {
	err = guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			if reason := tx.Bucket(headBucket).Get(mendedKey); reason != nil {
				d = &Damage{
					Reason: fmt.Errorf("%w (when it was opened before): %s", ErrDamaged, reason), Kept: db.Path() + ".damaged", Good: tx.Bucket(pairsBucket).Stats().KeyN,
				}
			}
			return nil
		})
	})
	return d, err
}

// aside gives a file a second name or, on a file system that has no such thing, copies it. At no moment is there none of the first.
func aside(from, to string, link func(from, to string) error) error {
	linked := link(from, to)
	if linked == nil {
		return nil
	}
	if err := copyFile(from, to); err != nil {
		return errors.Join(linked, err, remove(to))
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from) // #nosec G304 -- the daemon's own
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- beside it
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

func remove(names ...string) error {
	for _, name := range names {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func syncFolder(path string) error {
	f, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// salvage copies the good pairs, as far as they can be read.
func salvage(ctx context.Context, from, to *bbolt.DB) (n int, err error) {
	var some []Pair
	flush := func() error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := to.Update(func(tx *bbolt.Tx) error { return apply(tx, some) })
		if err == nil {
			n += len(some)
		}
		some = nil
		return err
	}
	var writing error
	_ = guard(func() error { // what cannot be read is what Damage is about
		return from.View(func(tx *bbolt.Tx) error {
			return tx.Bucket(pairsBucket).ForEach(func(k, v []byte) error {
				if value, ok := open(k, v); ok {
					some = append(some, Pair{append([]byte(nil), k...), append([]byte{}, value...)})
				}
				if len(some) >= maxGroup {
					writing = flush()
				}
				return writing
			})
		})
	})
	if writing == nil {
		writing = flush()
	}
	return n, writing
}
