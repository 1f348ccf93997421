package config

import (
	"slices"
	"strings"
)

// suggest says what the writer of an unknown key may have meant: a key of a similar name, a key of that name in a
// section (when the key stands outside of any), or else which keys there are.
func suggest(name string, known []string, elsewhere []section) string {
	if near, ok := nearest(name, known); ok {
		return "did you mean " + near + "?"
	}
	for _, s := range elsewhere {
		for _, k := range s.keys {
			if k.name == name {
				return "did you mean " + s.name + "." + name + "?"
			}
		}
	}
	sorted := slices.Sorted(slices.Values(known))
	return "there are " + strings.Join(sorted, ", ")
}

// nearest returns the known word closest to name, if it is close enough to be a slip.
func nearest(name string, known []string) (string, bool) {
	best, least := "", 1+min(2, max(len(name), 2)/2)
	for _, k := range known {
		d := distance(strings.ToLower(name), k)
		if strings.HasPrefix(k, strings.ToLower(name)) && len(name) >= 3 {
			d = min(d, 1)
		}
		if d < least {
			best, least = k, d
		}
	}
	return best, best != ""
}

// distance is the number of single-character insertions, deletions, replacements and swaps of neighbours that turn a into b
// (optimal string alignment), cut off for words that no key resembles.
func distance(a, b string) int {
	if len(a) > 32 {
		return len(a)
	}
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
