package daemon

import (
	"slices"
	"testing"

	"x0tta6bl4/mesh"
)

// A neighbour with a thousand announcements to check does not hold up another's one.
func TestTurnsAreFair(t *testing.T) {
	q := newTurns()
	bad, good, late := mesh.MustNodeID("bad"), mesh.MustNodeID("good"), mesh.MustNodeID("late")
	var ran []string
	job := func(name string) func() { return func() { ran = append(ran, name) } }
	for range 1000 {
		q.put(bad, bad, job("bad"))
	}
	q.put(good, good, job("good 1"))
	q.put(good, good, job("good 2"))
	for range 3 {
		q.take()()
	}
	q.put(late, late, job("late"))
	for f := q.take(); f != nil; f = q.take() {
		f()
	}
	at := func(name string) int { return slices.Index(ran, name) }
	if len(ran) != 1003 || at("good 1") > 1 || at("good 2") > 3 || at("late") > 6 || at("good 2") < at("good 1") {
		t.Errorf("%d jobs ran; good ones at %d and %d, late at %d", len(ran), at("good 1"), at("good 2"), at("late"))
	}
	if len(q.all.of) != 0 || len(q.all.order) != 0 || q.take() != nil {
		t.Errorf("%d clients are kept, %d have a turn", len(q.all.of), len(q.all.order))
	}
}

// A thousand announcements in one node's name do not hold up the one that the same neighbour brings of another node, and a
// neighbour that brings those of many nodes has no more turns for it.
func TestTurnsAreFairToNodes(t *testing.T) {
	q := newTurns()
	by, bad, good, other := mesh.MustNodeID("by"), mesh.MustNodeID("bad"), mesh.MustNodeID("good"), mesh.MustNodeID("other")
	var ran []string
	job := func(name string) func() { return func() { ran = append(ran, name) } }
	for range 1000 {
		q.put(by, bad, job("bad"))
	}
	q.put(by, good, job("good 1"))
	q.put(by, good, job("good 2"))
	for range 3 {
		q.put(other, bad, job("of another's"))
	}
	for f := q.take(); f != nil; f = q.take() {
		f()
	}
	want := []string{"bad", "of another's", "good 1", "of another's", "bad", "of another's", "good 2", "bad", "bad"}
	if len(ran) != 1005 || !slices.Equal(ran[:len(want)], want) {
		t.Errorf("%d jobs ran, first %q", len(ran), ran[:len(want)])
	}
}

func TestTurnsEndWithTheirContext(t *testing.T) {
	q := newTurns()
	ran, done := make(chan int, 2), make(chan struct{})
	q.put(mesh.MustNodeID("a"), mesh.MustNodeID("b"), func() { ran <- 1 })
	go func() { q.work(t.Context()); close(done) }()
	<-ran
	q.put(mesh.MustNodeID("a"), mesh.MustNodeID("b"), func() { ran <- 2 })
	<-ran
	t.Cleanup(func() { <-done })
}
