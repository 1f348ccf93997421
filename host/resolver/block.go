package resolver

import (
	"bytes"
	"net/netip"
	"strings"
)

// The lines around what is ours in a hosts file. Between mark and reason stands whose block it is.
const (
	beginMark  = "# BEGIN x0t "
	endMark    = "# END x0t "
	reason     = ": written by x0t, which keeps it up to date and removes it"
	unfinished = " (after a line without an end)" // the text had no newline there
)

// edit returns text with a block of these hosts in place of the blocks of owner that it has, or at its end. Without hosts
// it has none afterwards. Lines that are not the owner's stay as they are, also those between its marks.
func edit(text []byte, owner string, hosts []Host) []byte {
	rest, at, joined := cut(text, owner)
	if len(hosts) == 0 {
		if joined && at == len(rest) {
			return bytes.TrimSuffix(rest, []byte("\n")) // as it was before the block
		}
		return rest
	}
	var b bytes.Buffer
	b.WriteString(beginMark + owner)
	if at < 0 {
		at = len(rest)
		if at > 0 && rest[at-1] != '\n' {
			rest = append(rest[:at:at], '\n')
			at, joined = at+1, true
		}
	}
	if joined {
		b.WriteString(unfinished)
	}
	b.WriteString(reason + "\n")
	for _, h := range hosts {
		b.WriteString(h.Addr.String() + " " + h.Name + "\n")
	}
	b.WriteString(endMark + owner + "\n")
	return append(append(bytes.Clone(rest[:at]), b.Bytes()...), rest[at:]...)
}

// cut returns text without the blocks of owner, where the first of them was (-1 for none), and whether it was put behind
// a line without an end. A block that has lost its last line ends where lines begin that are not the owner's.
func cut(text []byte, owner string) (rest []byte, at int, joined bool) {
	at = -1
	inside, whole := false, false
	_, zone, _ := strings.Cut(owner, ".")
	for line, behind := range lines(text) {
		s := strings.TrimRight(string(line), "\r\n")
		switch {
		case begins(s, owner, len(s) == len(line)):
			inside, whole = true, bytes.Contains(behind, []byte("\n"+endMark+owner+"\n")) || bytes.HasPrefix(behind, []byte(endMark+owner+"\n"))
			joined = joined || strings.Contains(s, unfinished)
			if at < 0 {
				at = len(rest)
			}
		case s == endMark+owner:
			inside = false
		case inside && (ours(s, zone) || !whole && len(behind) == 0 && torn(line, owner)):
		default:
			inside = inside && whole
			rest = append(rest, line...)
		}
	}
	return rest, at, joined
}

// lines yields each line with its newline, and what follows it.
func lines(text []byte) func(func(line, behind []byte) bool) {
	return func(yield func(line, behind []byte) bool) {
		for len(text) > 0 {
			n := bytes.IndexByte(text, '\n') + 1
			if n == 0 {
				n = len(text)
			}
			line := text[:n]
			text = text[n:]
			if !yield(line, text) {
				return
			}
		}
	}
}

// begins reports whether a line is the first of a block; of one that was cut off, the beginning of it.
func begins(line, owner string, cutOff bool) bool {
	plain, joined := beginMark+owner+reason, beginMark+owner+unfinished+reason
	if cutOff {
		return len(line) > len(beginMark) && (strings.HasPrefix(plain, line) || strings.HasPrefix(joined, line))
	}
	return line == plain || line == joined
}

// ours reports whether a line is one that edit writes for a member of a zone.
func ours(line, zone string) bool {
	addr, name, ok := strings.Cut(line, " ")
	if _, err := netip.ParseAddr(addr); !ok || err != nil {
		return false
	}
	label, found := strings.CutSuffix(name, "."+zone)
	return found && label != "" && !strings.ContainsAny(label, " .\t#")
}

// torn reports whether the last line of a file is the beginning of one of ours: a write that was cut off.
func torn(line []byte, owner string) bool {
	if bytes.HasSuffix(line, []byte("\n")) {
		return false
	}
	s := string(line)
	addr, name, _ := strings.Cut(s, " ")
	return strings.HasPrefix(endMark+owner, s) || strings.Trim(addr, "0123456789abcdef:") == "" && !strings.ContainsAny(name, " \t#")
}
