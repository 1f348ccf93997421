package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// A watched verb shows its answer again and again, outlives a failure that is not the first, and ends in order.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, errs strings.Builder
		a := &app{out: &out, err: &errs, now: time.Now}
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		err := a.again(ctx, time.Second, func() error {
			n++
			switch n {
			case 2:
				return api.ErrNoDaemon
			case 3:
				cancel()
			}
			out.WriteString("shown\n")
			return nil
		})
		if err != nil || out.String() != "shown\nshown\n" || !strings.Contains(errs.String(), "no x0t daemon answers") {
			t.Errorf("%v after %d: %q, %q", err, n, out.String(), errs.String())
		}
	})
}

func TestWatchFailsAtOnce(t *testing.T) {
	a := &app{out: &strings.Builder{}, err: &strings.Builder{}}
	if err := a.again(t.Context(), time.Hour, func() error { return api.ErrNoDaemon }); !errors.Is(err, api.ErrNoDaemon) {
		t.Error(err)
	}
}

// The colour of who sees a node is that of the best of them: a link that only one side announces is none.
func TestSeenBy(t *testing.T) {
	a := &app{now: func() time.Time { return noon }}
	one := api.Observer{Node: beta, Since: noon.Add(-time.Minute), Quality: mesh.Good}
	doubt := api.Observer{Node: gamma, Quality: mesh.Good, Suspect: true, Mutual: true}
	good := api.Observer{Node: alpha, Quality: mesh.Good, Mutual: true}
	for _, tc := range []struct {
		os   []api.Observer
		want cell
	}{
		{nil, cell{"nobody", red}},
		{[]api.Observer{one}, cell{"beta (1m, one-sided)", red}},
		{[]api.Observer{one, doubt}, cell{"beta (1m, one-sided), gamma (suspect)", yellow}},
		{[]api.Observer{good, doubt}, cell{"alpha (good), gamma (suspect)", plain}},
	} {
		if got := a.seenBy(tc.os); got != tc.want {
			t.Errorf("%+v: %+v, want %+v", tc.os, got, tc.want)
		}
	}
}
