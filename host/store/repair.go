package store

import (
	"errors"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// rebuild makes a new file of what is good in the old one, and puts it in its place.
func rebuild(path string, d *Damage) (*bbolt.DB, error) {
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
		d.Good, err = salvage(old, to)
		_ = old.Close()
		if err != nil {
			return nil, errors.Join(err, to.Close())
		}
	}
	if err := to.Close(); err != nil {
		return nil, err
	}
	if err := errors.Join(os.Link(path, d.Kept), os.Rename(fresh, path), syncFolder(path)); err != nil {
		return nil, err
	}
	return openDB(path)
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
func salvage(from, to *bbolt.DB) (n int, err error) {
	var some []Pair
	flush := func() error {
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
