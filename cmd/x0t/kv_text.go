package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"x0tta6bl4/api"
)

// keyFormat is how keys stand on the command line and in what is printed for people.
type keyFormat string

// The formats. Text takes the bytes of an argument as they are, and shows unprintable ones as Go and C write them.
const (
	keyText   keyFormat = "text"
	keyHex    keyFormat = "hex"
	keyBase64 keyFormat = "base64"
)

var keyFormats = []string{string(keyText), string(keyHex), string(keyBase64)}

// String, Set and Type make a keyFormat a flag.
func (f *keyFormat) String() string { return string(*f) }
func (f *keyFormat) Type() string   { return "format" }
func (f *keyFormat) Set(s string) error {
	switch v := keyFormat(s); v {
	case keyText, keyHex, keyBase64:
		*f = v
		return nil
	}
	return errors.New("use " + strings.Join(keyFormats, ", "))
}

// bytes reads an argument; name is what the usage calls it.
func (f *keyFormat) bytes(name, arg string) ([]byte, error) {
	var b []byte
	var err error
	switch *f {
	case keyHex:
		b, err = hex.DecodeString(arg)
	case keyBase64:
		b, err = base64.StdEncoding.DecodeString(arg)
	default:
		return []byte(arg), nil
	}
	if err != nil {
		return nil, usagef("%s %q is not %s: %v", name, arg, *f, err)
	}
	return b, nil
}

// key reads an argument that is a whole key.
func (f *keyFormat) key(arg string) ([]byte, error) {
	b, err := f.bytes("KEY", arg)
	if err != nil {
		return nil, err
	}
	if err := api.CheckKey(b); err != nil {
		return nil, usageError{err}
	}
	return b, nil
}

// prefix reads the prefix that may stand as the only argument.
func (f *keyFormat) prefix(args []string) ([]byte, error) {
	if len(args) == 0 {
		return nil, nil
	}
	return f.bytes("PREFIX", args[0])
}

// show writes a key for people, in a form that bytes reads unless it has backslashes.
func (f *keyFormat) show(key []byte) string {
	switch *f {
	case keyHex:
		return hex.EncodeToString(key)
	case keyBase64:
		return base64.StdEncoding.EncodeToString(key)
	}
	return escaped(key)
}

// escaped shows any bytes on one line without moving the cursor or lying about what is there: what is unprintable as
// backslash escapes, a backslash as two.
func escaped(b []byte) string {
	q := strconv.Quote(string(b))
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// maxShown is how much of a value stands in a line, in characters.
const maxShown = 60

// glance shows the beginning of a value.
func glance(b []byte) string {
	head := b
	if len(head) > maxShown*utf8.UTFMax {
		head = head[:maxShown*utf8.UTFMax]
		for i := 1; i < utf8.UTFMax && !utf8.FullRune(head[len(head)-i:]); i++ { // not through the middle of a character
			if utf8.RuneStart(head[len(head)-i]) {
				head = head[:len(head)-i]
				break
			}
		}
	}
	s := []rune(escaped(head))
	if len(s) <= maxShown && len(head) == len(b) {
		return string(s)
	}
	return string(s[:min(len(s), maxShown-1)]) + "…"
}

// freshness says what an answer out of the shared state is worth.
func freshness(f api.Freshness) string {
	parts := []string{"consistency: " + f.Consistency}
	if !f.Settled {
		parts = append(parts, "this node has not learnt yet what others have, and does not write")
	}
	agreed := "never agreed with another yet"
	if f.Agreed != nil {
		agreed = "last agreed " + span(f.Agreed.Duration()) + " ago"
	}
	switch {
	case f.Neighbours == 0:
		parts = append(parts, "no neighbour to compare with, "+agreed)
	case f.Agreeing == f.Neighbours:
		parts = append(parts, "all neighbours hold the same, "+agreed)
	default:
		parts = append(parts, fmt.Sprintf("%d of %d neighbours hold the same, %s", f.Agreeing, f.Neighbours, agreed))
	}
	if f.Held > 0 {
		parts = append(parts, fmt.Sprintf("entries that wait for their time: %d", f.Held))
	}
	if f.Aside > 0 {
		parts = append(parts, fmt.Sprintf("entries set aside: %d", f.Aside))
	}
	if f.Uncovered > 0 {
		parts = append(parts, fmt.Sprintf("entries without the checkpoint they need: %d", f.Uncovered))
	}
	return strings.Join(parts, "; ")
}

// sayFresh tells people how fresh the answer is. It goes to stderr: stdout is for what was asked.
func (a *app) sayFresh(f api.Freshness) {
	if !a.json {
		a.aside(freshness(f))
	}
}

// aside is a line on stderr that may be missed.
func (a *app) aside(line string) {
	if wantColour(a.err) {
		line = "\x1b[" + dim + "m" + line + "\x1b[0m"
	}
	fmt.Fprintln(a.err, line)
}
