package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// page is a page of the documentation: the commands in it, by the heading that they stand under, in order.
type page struct {
	name string
	text string
	runs []*chapter
}

// chapter is what stands under one heading.
type chapter struct {
	heading string
	lines   []string
}

var (
	fence         = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	command       = regexp.MustCompile(`(?m)^(\$ |# )?(sudo|x0t|systemctl|make|curl|ip) `)
	configuration = regexp.MustCompile("(?s)```yaml\n(.*?)```")
)

// readPage reads a page of the repository.
func readPage(t *testing.T, name string) *page {
	t.Helper()
	p := &page{name: name, text: string(must(os.ReadFile("../" + name))(t))}
	for _, block := range fence.FindAllStringSubmatch(p.text, -1) {
		if block[1] != "sh" && block[1] != "yaml" && command.MatchString(block[2]) {
			t.Errorf("%s: a block with commands is to begin with %q:\n%s", name, "```sh", block[2])
		}
	}
	for part := range strings.SplitSeq(p.text, "\n## ") {
		heading, rest, _ := strings.Cut(part, "\n")
		if lines := commands(rest); len(lines) > 0 {
			p.runs = append(p.runs, &chapter{heading, lines})
		}
	}
	return p
}

// commands returns the lines of the fenced blocks of a text.
func commands(text string) (lines []string) {
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		if block[1] == "sh" {
			lines = append(lines, strings.Split(strings.TrimSpace(block[2]), "\n")...)
		}
	}
	return lines
}

// step is one line of a page and what is done with it.
type step struct {
	line string
	run  func(t *testing.T, line string)
}

// follow runs the chapters of a page in their order. A command that the page has and the test has not, or the other way
// round, fails it.
func (p *page) follow(t *testing.T, plan map[string][]step) {
	t.Helper()
	for _, c := range p.runs {
		var known []string
		for _, s := range plan[c.heading] {
			known = append(known, s.line)
		}
		if !slices.Equal(c.lines, known) {
			t.Fatalf("%s, %s: the commands are\n%s\nthis test knows how to run\n%s", p.name, c.heading, strings.Join(c.lines, "\n"), strings.Join(known, "\n"))
		}
	}
	if len(plan) != len(p.runs) {
		t.Fatalf("%s has commands under %d headings, this test knows %d", p.name, len(p.runs), len(plan))
	}
	for _, c := range p.runs {
		for _, s := range plan[c.heading] {
			t.Logf("%s: %s", c.heading, s.line)
			s.run(t, s.line)
		}
	}
}

// block is one piece of configuration of the page, by what it has in it.
func (p *page) block(t *testing.T, has string) string {
	t.Helper()
	for _, b := range configuration.FindAllStringSubmatch(p.text, -1) {
		if strings.Contains(b[1], has) {
			return b[1]
		}
	}
	t.Fatalf("%s has no configuration with %s", p.name, has)
	return ""
}

// Every piece of configuration in the documentation is one that x0t takes.
func TestConfigurationInDocs(t *testing.T) {
	need(t)
	m := machineIn(t, "reader")
	for _, name := range append(must(filepath.Glob("../docs/*.md"))(t), "../README.md") {
		for _, yaml := range configuration.FindAllSubmatch(must(os.ReadFile(name))(t), -1) {
			m.configure(t, string(yaml[1]))
			if r := m.run(t, "x0t", "config", "check"); r.code != 0 {
				t.Errorf("%s: %s\n%s", name, yaml[1], r)
			}
		}
	}
}
