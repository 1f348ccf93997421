package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile is far more than every key at its longest.
const maxFile = 1 << 20

// Problem is one mistake in a configuration file.
type Problem struct {
	File    string `json:"file"` // empty: it is no file's
	Line    int    `json:"line"` // 0 = the file as a whole
	Key     string `json:"key"`  // dotted; "" = none in particular
	Message string `json:"message"`
	Remedy  string `json:"remedy"`
}

func (p *Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Message)
	if p.Remedy != "" {
		b.WriteString("; " + p.Remedy)
	}
	return b.String()
}

// Problems are all mistakes in a file, in the order of their lines.
type Problems []*Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Load reads the file at path. An error is Problems, or that of the file system.
func Load(path string) (Config, error) {
	c, _, err := LoadGiven(path)
	return c, err
}

// LoadGiven is Load and returns too which keys the file gives a value, dotted and in its order.
func LoadGiven(path string) (Config, []string, error) {
	f, err := os.Open(path) // #nosec G304 -- the user names the file
	if err != nil {
		return Config{}, nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, nil, fmt.Errorf("configuration: %w", err)
	}
	return ParseGiven(path, b)
}

// Parse reads a configuration. The name stands in errors, which are Problems.
func Parse(name string, b []byte) (Config, error) {
	c, _, err := ParseGiven(name, b)
	return c, err
}

// ParseGiven is Parse and returns too which keys are given a value, dotted and in their order.
func ParseGiven(name string, b []byte) (Config, []string, error) {
	p := &parser{file: name}
	c := p.parse(b)
	if len(p.problems) > 0 {
		slices.SortStableFunc(p.problems, func(a, b *Problem) int { return a.Line - b.Line })
		return Config{}, nil, p.problems
	}
	return c.withDefaults(), p.given, nil
}

type parser struct {
	file     string
	problems Problems
	given    []string // keys that were read, dotted
	last     []func() // what can be judged only when all was read
}

// complain notes a mistake. A message may end in "; remedy".
func (p *parser) complain(line int, key, message string) {
	message, remedy, _ := strings.Cut(message, "; ")
	p.problems = append(p.problems, &Problem{p.file, line, key, message, remedy})
}

func (p *parser) parse(b []byte) Config {
	var c Config
	if len(b) > maxFile {
		p.complain(0, "", fmt.Sprintf("the file is longer than %d bytes; is it the right one?", maxFile))
		return c
	}
	if doc := p.document(b); doc != nil && len(doc.Content) == 1 {
		p.sections(doc.Content[0], schema(&c))
		for _, f := range p.last {
			f()
		}
	}
	return c
}

// document reads the one document there may be; nil: there is none, or it is none.
func (p *parser) document(b []byte) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		p.syntax(err)
		return nil
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		p.complain(second.Line, "", "a second document begins here; keep one, without ---")
		return nil
	case !errors.Is(err, io.EOF):
		p.syntax(err)
		return nil
	}
	return &doc
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// syntax turns an error of the YAML library into a Problem.
func (p *parser) syntax(err error) {
	msg := err.Error()
	m := yamlLine.FindStringSubmatch(msg)
	line, _ := strconv.Atoi(m[1])
	p.complain(line, "", "not YAML: "+msg[len(m[0]):]+"; check indentation, quotes and brackets here and just above")
}

func (p *parser) sections(root *yaml.Node, all []section) {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.name
	}
	p.mapping(root, "", names, func(i int, n *yaml.Node) {
		s := all[i]
		keys := make([]string, len(s.keys))
		for j, k := range s.keys {
			keys[j] = k.name
		}
		p.mapping(n, s.name, keys, func(j int, n *yaml.Node) {
			at := s.name + "." + s.keys[j].name
			p.given = append(p.given, at)
			s.keys[j].read(p, at, n)
		})
	}, all...)
}

// mapping calls each with the index of every key of n in known and its value. No value at all is an empty mapping.
func (p *parser) mapping(n *yaml.Node, at string, known []string, each func(int, *yaml.Node), elsewhere ...section) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		p.complain(n.Line, at, kindOf(n)+" where keys are expected; write "+strings.Join(known, ", ")+" with a colon, one a line")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		name := k.Value
		if k.Kind != yaml.ScalarNode {
			p.complain(k.Line, at, kindOf(k)+" where a key is expected; use one of "+strings.Join(known, ", "))
			continue
		}
		if first, twice := seen[name]; twice {
			p.complain(k.Line, join(at, name), fmt.Sprintf("given twice, first in line %d; keep one", first))
			continue
		}
		seen[name] = k.Line
		if i := slices.Index(known, name); i >= 0 {
			each(i, v)
			continue
		}
		p.complain(k.Line, join(at, name), "unknown key; "+suggest(name, known, elsewhere))
	}
}

func join(at, name string) string {
	name = printable(name)
	if at == "" {
		return name
	}
	return at + "." + name
}

// printable keeps what a file says from taking over the terminal or the line that shows it.
func printable(s string) string {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	if q := strconv.Quote(s); q != `"`+s+`"` || s == "" {
		return q
	}
	return s
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	if isNull(n) {
		return "nothing"
	}
	return "the value " + printable(n.Value)
}
