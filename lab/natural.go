package lab

import (
	"errors"
	"slices"
)

// natural is how a link is when nothing is wrong with it: some of a community's radio links lose packets always.
func (w *wire) natural() (s wireState) {
	for i := range s.dir {
		s.dir[i].Loss = w.loss
	}
	return s
}

// weather makes every link as it is by nature.
func (l *Lab) weather() error {
	for _, w := range l.wires {
		if err := w.apply(w.natural()); err != nil {
			return err
		}
	}
	return nil
}

// mendAll ends all faults that hold.
func (l *Lab) mendAll() error {
	l.injecting.Lock()
	defer l.injecting.Unlock()
	var errs []error
	for _, i := range slices.Clone(l.injector.holding) {
		errs = append(errs, l.injector.mend(i.fault))
	}
	return errors.Join(errs...)
}
