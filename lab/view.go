package lab

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// view shows what the demo does. On a terminal, lines that were said scroll by above a block that is drawn again and
// again; otherwise only the lines are written.
type view struct {
	mu    sync.Mutex
	out   io.Writer
	tty   bool
	began time.Time
	drawn int // lines of the block that are on the screen
}

// Control sequences (ECMA-48): to the start of the line n above and clear to the end of the screen, and colours.
const (
	ansiUp    = "\x1b[%dF\x1b[J"
	ansiBold  = "\x1b[1m"
	ansiRed   = "\x1b[31m"
	ansiGreen = "\x1b[32m"
	ansiDim   = "\x1b[2m"
	ansiPlain = "\x1b[0m"
)

func (v *view) colour(code, s string) string {
	if !v.tty {
		return s
	}
	return code + s + ansiPlain
}

// say writes a line that stays.
func (v *view) say(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.erase()
	stamp := fmt.Sprintf("%5.1f s  ", time.Since(v.began).Seconds())
	fmt.Fprintf(v.out, "%s%s\n", v.colour(ansiDim, stamp), fmt.Sprintf(format, args...))
}

// Write makes a view the progress writer of a lab.
func (v *view) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		v.say("%s", strings.TrimPrefix(strings.TrimSpace(string(line)), "lab: "))
	}
	return len(b), nil
}

// draw replaces the block.
func (v *view) draw(lines []string) {
	if !v.tty {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.erase()
	width := v.width()
	for _, l := range lines {
		fmt.Fprintln(v.out, clip(l, width))
	}
	v.drawn = len(lines)
}

func (v *view) erase() {
	if v.drawn > 0 {
		fmt.Fprintf(v.out, ansiUp, v.drawn)
		v.drawn = 0
	}
}

// width is that of the terminal: a line that wraps would spoil the next redraw.
func (v *view) width() int {
	if f, ok := v.out.(*os.File); ok {
		if w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && w.Col > 0 {
			return int(w.Col)
		}
	}
	return 80
}

// clip cuts a line to so many visible characters. Control sequences are kept, as they take no room.
func clip(line string, width int) string {
	var b strings.Builder
	seen, inside := 0, false
	for _, r := range line {
		switch {
		case r == '\x1b':
			inside = true
		case inside:
			inside = r != 'm'
		default:
			if seen++; seen > width {
				continue
			}
		}
		b.WriteRune(r)
	}
	return b.String()
}

// bar is a bar of so many characters, filled in part.
func bar(part float64, width int) string {
	full := int(min(1, max(0, part)) * float64(width))
	return "[" + strings.Repeat("#", full) + strings.Repeat("-", width-full) + "]"
}
