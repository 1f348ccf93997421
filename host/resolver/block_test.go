package resolver

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	owner = "alpha.example.mesh"
	begin = "# BEGIN x0t alpha.example.mesh: written by x0t, which keeps it up to date and removes it\n"
	end   = "# END x0t alpha.example.mesh\n"
)

var (
	alphaHost = Host{"alpha.example.mesh", netip.MustParseAddr("fd64:9143:f1ab::1")}
	betaHost  = Host{"beta.example.mesh", netip.MustParseAddr("fd64:9143:f1ab::2")}
	alphaLine = "fd64:9143:f1ab::1 alpha.example.mesh\n"
	betaLine  = "fd64:9143:f1ab::2 beta.example.mesh\n"
)

func TestEdit(t *testing.T) {
	block := begin + alphaLine + end
	other := strings.ReplaceAll(begin+"fd00::9 gamma.other.mesh\n"+end, "alpha.example", "alpha.other")
	joined := strings.Replace(begin, "mesh:", "mesh (after a line without an end):", 1) + alphaLine + end
	for _, c := range []struct {
		what, text string
		hosts      []Host
		want       string
	}{
		{"an empty file", "", []Host{alphaHost}, block},
		{"at the end", "::1 localhost\n", []Host{alphaHost}, "::1 localhost\n" + block},
		{"after a line without an end", "::1 localhost", []Host{alphaHost}, "::1 localhost\n" + joined},
		{"and taken away again", "::1 localhost\n" + joined, nil, "::1 localhost"},
		{"and taken away after somebody wrote behind it", "::1 localhost\n" + joined + "192.0.2.1 a\n", nil, "::1 localhost\n192.0.2.1 a\n"},
		{"and kept up to date", "::1 localhost\n" + joined, []Host{alphaHost}, "::1 localhost\n" + joined},
		{"where it was", "a\n" + block + "b\n", []Host{alphaHost, betaHost}, "a\n" + begin + alphaLine + betaLine + end + "b\n"},
		{"two of them", block + "a\n" + block, []Host{betaHost}, begin + betaLine + end + "a\n"},
		{"taken away", "a\n" + block + "b\n", nil, "a\nb\n"},
		{"none to take away", "a\nb", nil, "a\nb"},
		{"another node's stays", other + block, nil, other},
		{"another node's is no place", other, []Host{alphaHost}, other + block},
		{"a line of somebody in it stays", begin + alphaLine + "192.0.2.1 printer # mine\n" + betaLine + end, nil, "192.0.2.1 printer # mine\n"},
		{"carriage returns of others stay", "::1 localhost\r\n" + block, nil, "::1 localhost\r\n"},
		{"a member by hand stays", alphaLine + block + betaLine, nil, alphaLine + betaLine},
		{"no end", begin + alphaLine + betaLine + "192.0.2.1 a\n" + betaLine, nil, "192.0.2.1 a\n" + betaLine},
		{"no end, at the end", "a\n" + begin + alphaLine, []Host{betaHost}, "a\n" + begin + betaLine + end},
		{"cut off in an address", "a\n" + begin + alphaLine + "fd64:91", nil, "a\n"},
		{"cut off in a name", "a\n" + begin + alphaLine + "fd64:9143:f1ab::2 be", nil, "a\n"},
		{"cut off in the last mark", "a\n" + begin + alphaLine + "# END x0", nil, "a\n"},
		{"cut off in the first mark", "a\n" + begin[:20], nil, "a\n"},
		{"somebody's line at the end of what was cut off", begin + alphaLine + "192.0.2.1 a b", nil, "192.0.2.1 a b"},
		{"a comment like ours", "# BEGIN x0t alpha.example.mesh and more\n", nil, "# BEGIN x0t alpha.example.mesh and more\n"},
		{"an end alone", "a\n" + end + "b\n", nil, "a\nb\n"},
	} {
		if got := string(edit([]byte(c.text), owner, c.hosts)); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.what, got, c.want)
		}
	}
}

// Whatever a file holds: what edit writes does not change if written again, and taking it away gives back the file.
func TestEditAndBack(t *testing.T) {
	line := rapid.SampledFrom([]string{"::1 localhost", "# a comment", "", "192.0.2.1 printer\tp", "\xff\x00", "# END x0t beta.example.mesh", "x\r"})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(line).Draw(t, "lines"), "\n")
		hosts := []Host{alphaHost, betaHost}[:rapid.IntRange(1, 2).Draw(t, "hosts")]
		with := edit([]byte(text), owner, hosts)
		if again := edit(with, owner, hosts); !bytes.Equal(again, with) {
			t.Fatalf("again: %q, was %q", again, with)
		}
		if back := edit(with, owner, nil); string(back) != text {
			t.Fatalf("back: %q, was %q", back, text)
		}
		// However much of the block reached the disk, the rest of the file comes back.
		cut := with[:rapid.IntRange(len(text), len(with)).Draw(t, "cut")]
		if back := string(edit(cut, owner, nil)); strings.TrimRight(back, "\n") != strings.TrimRight(text, "\n") && len(cut) > len(text)+len(beginMark)+1 {
			t.Fatalf("of %q came back %q, was %q", cut, back, text)
		}
	})
}

func FuzzEdit(f *testing.F) {
	f.Add([]byte("::1 localhost\n"+begin+alphaLine+end), true)
	f.Add([]byte(begin+alphaLine+"192.0.2.1 a"), false)
	f.Fuzz(func(t *testing.T, text []byte, some bool) {
		var hosts []Host
		if some {
			hosts = []Host{betaHost}
		}
		once := edit(bytes.Clone(text), owner, hosts)
		if twice := edit(bytes.Clone(once), owner, hosts); !bytes.Equal(once, twice) {
			t.Fatalf("%q becomes %q, and that %q", text, once, twice)
		}
	})
}
