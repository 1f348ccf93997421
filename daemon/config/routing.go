package config

import (
	"fmt"
	"strconv"

	"x0tta6bl4/mesh"
)

// budget reads a share from 0 to 1.
func budget(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 0 && v <= 1) {
		return 0, fmt.Errorf("%s is not a share from 0 to 1; write 0.1 for a tenth of what each link carries, 0 for no copies", printable(s))
	}
	if v == 0 {
		return NoDuplicates, nil
	}
	return v, nil
}

func spreadMode(s string) (SpreadMode, error) {
	switch m := SpreadMode(s); m {
	case SpreadAuto, SpreadAlways, SpreadOff:
		return m, nil
	}
	return "", fmt.Errorf("%s is not a way to spread flows; use auto, always or off", printable(s))
}

func (r *Routing) keys() []key {
	return []key{
		{"k", scalar(&r.K, number(1, maxK)), func() string { return strconv.Itoa(r.K) }, true},
		{"protect", list(&r.Protect, mesh.ParseProtect), r.protect, true},
		{"duplicate_budget", scalar(&r.DuplicateBudget, budget), r.budget, true},
		{"spread", scalar(&r.Spread, spreadMode), func() string { return string(r.Spread) }, true},
	}
}

func (r *Routing) protect() string {
	rules := make([]string, len(r.Protect))
	for i, p := range r.Protect {
		rules[i] = p.String()
	}
	return texts(rules)
}

func (r *Routing) budget() string {
	return strconv.FormatFloat(max(r.DuplicateBudget, 0), 'g', -1, 64) // NoDuplicates is written 0
}
