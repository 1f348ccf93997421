package x0tta6bl4

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// read returns a file of the repository.
func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// section returns what stands under a heading of a page.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(read(t, page), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", page, heading)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

var quoted = regexp.MustCompile("`([^`]+)`")

// rows returns the cells of the tables of a text.
func rows(text string) (all [][]string) {
	for line := range strings.Lines(text) {
		if cells := strings.Split(strings.TrimSpace(line), "|"); len(cells) > 3 && !strings.HasPrefix(cells[1], "-") {
			all = append(all, cells[1:len(cells)-1])
		}
	}
	return all
}

// Every folder with a package in it is in the table of docs/architecture.md, and every folder of the table is there.
func TestFoldersAreInTheArchitecture(t *testing.T) {
	named := map[string]bool{}
	for _, row := range rows(section(t, "docs/architecture.md", "The folders")) {
		for _, name := range quoted.FindAllStringSubmatch(row[0], -1) {
			folder := strings.TrimSuffix(name[1], "/")
			named[folder] = true
			if st, err := os.Stat(folder); err != nil || !st.IsDir() {
				t.Errorf("docs/architecture.md names %s: %v", folder, err)
			}
		}
	}
	for _, p := range loadPackages(t) {
		folder := strings.TrimPrefix(strings.TrimPrefix(p.PkgPath, module), "/")
		top, _, _ := strings.Cut(folder, "/")
		if folder != "" && !named[folder] && !named[top] || (top == "core" || top == "host") && !named[folder] {
			t.Errorf("docs/architecture.md does not say what %s is for", folder)
		}
	}
}

// The import table of docs/architecture.md is the one that is enforced.
func TestImportTableIsInTheArchitecture(t *testing.T) {
	said := map[string][]string{}
	for _, row := range rows(section(t, "docs/architecture.md", "Who may import whom"))[1:] {
		folder := strings.Trim(row[0], " `")
		said[folder] = []string{}
		for _, name := range quoted.FindAllStringSubmatch(row[1], -1) {
			said[folder] = append(said[folder], name[1])
		}
		if strings.Contains(row[1], "itself") {
			said[folder] = append(said[folder], folder)
		}
	}
	if got, want := slices.Sorted(maps.Keys(said)), slices.Sorted(maps.Keys(mayImport)); !slices.Equal(got, want) {
		t.Fatalf("docs/architecture.md has the folders %v, the test %v", got, want)
	}
	for folder, allowed := range mayImport {
		// That a folder may import itself goes without saying, but for those that may import nothing else.
		others := func(names []string) []string {
			names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == folder })
			slices.Sort(names)
			return names
		}
		if got, want := others(said[folder]), others(allowed); !slices.Equal(got, want) {
			t.Errorf("docs/architecture.md lets %s import %v, the test %v", folder, got, want)
		}
	}
}

// docs/dependencies.md names every module that go.mod requires directly, and no other.
func TestDependenciesAreExplained(t *testing.T) {
	page := read(t, "docs/dependencies.md")
	required := map[string]bool{}
	for line := range strings.Lines(read(t, "go.mod")) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.Contains(fields[0], ".") {
			continue
		}
		direct := !strings.HasSuffix(strings.TrimSpace(line), "// indirect")
		required[fields[0]] = direct
		if direct && !strings.Contains(page, fields[0]) {
			t.Errorf("docs/dependencies.md does not say why %s is required", fields[0])
		}
	}
	for _, row := range rows(page)[1:] {
		for _, name := range regexp.MustCompile(`[\w.-]+\.[\w./-]+`).FindAllString(row[0], -1) {
			if !required[name] {
				t.Errorf("docs/dependencies.md explains %s, which go.mod does not require directly", name)
			}
		}
	}
}

// Links between the pages lead to a file and, if they say so, to a heading of it.
func TestLinksOfPages(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range tracked(t) {
		if !strings.HasSuffix(page, ".md") || strings.Contains(page, "testdata/") {
			continue
		}
		for _, l := range link.FindAllStringSubmatch(read(t, page), -1) {
			file, anchor, _ := strings.Cut(l[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			to := page
			if file != "" {
				to = filepath.Join(filepath.Dir(page), file)
			}
			b, err := os.ReadFile(to)
			if err != nil || anchor != "" && !slices.Contains(anchors(string(b)), anchor) {
				t.Errorf("%s links to %s, which leads nowhere (%v)", page, l[1], err)
			}
		}
	}
}

// anchors are the names by which the headings of a page are linked to.
func anchors(text string) (all []string) {
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^\w\s-]`).ReplaceAllString(strings.ToLower(h[1]), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}
