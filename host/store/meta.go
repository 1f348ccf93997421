package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// A meta page of bbolt, in the byte order of the machine: a page header of 16 bytes, then magic (4) ‖ version (4) ‖ page size
// (4) ‖ flags (4) ‖ root (8 + 8) ‖ freelist (8) ‖ number of pages (8) ‖ transaction (8) ‖ FNV-64a of the 56 bytes before (8).
const (
	pageHeader = 16
	metaLen    = 64
	metaMagic  = 0xED0CDAED
	minPage    = 1 << 10
	maxPage    = 64 << 10
)

// checkMeta checks that both meta pages are whole, and that the file is as long as they say. With one of them bbolt would go back
// to the write before the last without a word; of a file that is too short it would read memory that is not there. A crash
// tears neither: a meta page lies within a sector. No file, or an empty one, is good.
func checkMeta(path string) error {
	f, err := os.Open(path) // #nosec G304 -- the daemon's own
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return err
	}
	for size := int64(minPage); size <= maxPage; size *= 2 {
		pages, whole := uint64(0), 0
		for _, at := range [...]int64{0, size} {
			m := make([]byte, pageHeader+metaLen)
			if _, err := f.ReadAt(m, at); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			if n, ok := readMeta(m[pageHeader:], uint32(size)); ok {
				pages, whole = max(pages, n), whole+1
			}
		}
		switch want := pages * uint64(size); {
		case whole == 2 && uint64(st.Size()) < want:
			return fmt.Errorf("%w: %d bytes of %d are there", ErrDamaged, st.Size(), want)
		case whole == 2:
			return nil
		}
	}
	return fmt.Errorf("%w: one of its two beginnings is not whole: the last write may be missing", ErrDamaged)
}

// readMeta returns the number of pages that a valid meta page tells of.
func readMeta(m []byte, page uint32) (pages uint64, ok bool) {
	ne := binary.NativeEndian
	h := fnv.New64a()
	_, _ = h.Write(m[:metaLen-8])
	if ne.Uint32(m) != metaMagic || ne.Uint32(m[8:]) != page || ne.Uint64(m[metaLen-8:]) != h.Sum64() {
		return 0, false
	}
	return ne.Uint64(m[40:]), true
}
