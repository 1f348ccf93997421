package mesh

import "testing"

// The way past the neighbour is taken where there is one for the label behind, else the way to the neighbour.
func TestAround(t *testing.T) {
	l := ForwardLink{Detours: []Detour{{Behind: 0, Labels: []Label{1}}, {Behind: 7, Labels: []Label{2, 3}}}}
	for behind, want := range map[Label]Label{0: 1, 7: 2, 8: 1} {
		if d, ok := l.Around(behind); !ok || d.Labels[0] != want {
			t.Errorf("behind %d: %v, %v", behind, d, ok)
		}
	}
	l.Detours = l.Detours[1:]
	if d, ok := l.Around(8); ok {
		t.Errorf("a detour that leads elsewhere was taken: %v", d)
	}
}
