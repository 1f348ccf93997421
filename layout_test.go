// Package x0tta6bl4 holds no code: its test keeps the layout of the repository as docs/architecture.md draws it.
package x0tta6bl4

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

const module = "x0tta6bl4"

// mayImport says which top-level folders of ours a folder may import. The reason for each line is in
// docs/architecture.md: core decides and never acts, host acts and never decides, daemon is where they meet.
var mayImport = map[string][]string{
	"mesh":   {"mesh"},
	"wire":   {"wire", "mesh"},
	"core":   {"wire", "mesh"},
	"host":   {"wire", "mesh"},
	"api":    {"mesh"},
	"daemon": {"daemon", "core", "host", "api", "wire", "mesh"},
	"sim":    {"sim", "core", "wire", "mesh"},
	"lab":    {"lab", "api", "mesh"},
	"bench":  {"bench", "lab", "api", "mesh", "core", "host", "wire", "sim"},
	"deploy": {},
	"cmd":    {"cmd", "deploy", "daemon", "api", "lab", "sim", "bench", "mesh", "host", "wire"},
	"e2e":    {"api", "mesh", "lab", "wire"}, // lab floods; wire: some tests play a member that lies
	"tools":  {},
}

// pure folders use neither the outside world nor concurrency.
var pure = []string{"mesh", "wire", "core"}

// pureImports are the only packages from outside that pure folders may use.
var pureImports = []string{
	"github.com/spiffe/go-spiffe/v2/spiffeid", "github.com/spiffe/go-spiffe/v2/svid/x509svid",
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle", "github.com/spiffe/go-spiffe/v2/svid/jwtsvid",
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle",
}

// impureStd are packages of the standard library that do I/O, know the time or share memory.
var impureStd = []string{
	"os", "os/exec", "os/signal", "net", "net/http", "crypto/tls", "syscall", "log", "log/slog", "sync", "sync/atomic",
	"io/ioutil", "runtime", "context", "math/rand", "crypto/rand", "testing", "embed", "plugin", "unsafe",
}

// largeFiles may be bigger than a megabyte.
var largeFiles = []string{}

func loadPackages(t *testing.T) []*packages.Package {
	t.Helper()
	pkgs, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports,
	}, "./...")
	if err != nil {
		t.Fatal(err)
	}
	if packages.PrintErrors(pkgs) > 0 {
		t.Fatal("the module does not type-check")
	}
	return pkgs
}

func folder(pkg string) string {
	rel := strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/")
	top, _, _ := strings.Cut(rel, "/")
	return top
}

func TestImports(t *testing.T) {
	for _, p := range loadPackages(t) {
		from := folder(p.PkgPath)
		if from == "" {
			continue
		}
		allowed, known := mayImport[from]
		if !known {
			t.Errorf("%s: the folder %q is not in the import table; say there what it may import", p.PkgPath, from)
		}
		for imp := range p.Imports {
			if imp != module && !strings.HasPrefix(imp, module+"/") {
				continue
			}
			switch {
			case within(p.PkgPath, imp):
			case from == folder(imp) && (from == "core" || from == "host"):
				if p.PkgPath != module+"/core/node" {
					t.Errorf("%s imports its sibling %s: only core/node joins the parts of core", p.PkgPath, imp)
				}
			case !slices.Contains(allowed, folder(imp)):
				t.Errorf("%s imports %s: %s may import only %v", p.PkgPath, imp, from, allowed)
			}
		}
	}
}

// within reports whether imp is pkg's own subfolder or parent below the top folder.
func within(pkg, imp string) bool {
	return strings.HasPrefix(imp, pkg+"/") || strings.HasPrefix(pkg, imp+"/")
}

func TestPackageComments(t *testing.T) {
	for _, p := range loadPackages(t) {
		if !slices.ContainsFunc(p.Syntax, func(f *ast.File) bool { return f.Doc != nil }) && len(p.Syntax) > 0 {
			t.Errorf("%s has no package comment", p.PkgPath)
		}
	}
}

func TestPurity(t *testing.T) {
	for _, p := range loadPackages(t) {
		if !slices.Contains(pure, folder(p.PkgPath)) {
			continue
		}
		for imp := range p.Imports {
			outside := strings.Contains(strings.Split(imp, "/")[0], ".")
			if slices.Contains(impureStd, imp) || outside && !slices.Contains(pureImports, imp) {
				t.Errorf("%s imports %s: %v are pure", p.PkgPath, imp, pure)
			}
		}
		for _, f := range p.Syntax {
			checkPure(t, p, f)
		}
	}
}

func checkPure(t *testing.T, p *packages.Package, f *ast.File) {
	at := func(n ast.Node) string { return p.Fset.Position(n.Pos()).String() }
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
			t.Errorf("%s: %T in a pure package", at(n), n)
		case *ast.RangeStmt:
			if call, ok := n.X.(*ast.CallExpr); ok {
				if name := types.ExprString(call.Fun); name == "maps.Keys" || name == "maps.Values" || name == "maps.All" {
					t.Errorf("%s: ranges over %s in no order; range over slices.Sorted(maps.Keys(m))", at(n), name)
				}
			}
			if tv, ok := p.TypesInfo.Types[n.X]; ok {
				if _, isMap := tv.Type.Underlying().(*types.Map); isMap {
					t.Errorf("%s: ranges over a map in no order; range over slices.Sorted(maps.Keys(m))", at(n))
				}
			}
		case *ast.SelectorExpr:
			id, ok := n.X.(*ast.Ident)
			if !ok {
				break
			}
			pkg, ok := p.TypesInfo.Uses[id].(*types.PkgName)
			if !ok {
				break
			}
			name := pkg.Imported().Path() + "." + n.Sel.Name
			if impureCall(name, p.TypesInfo.Uses[n.Sel]) {
				t.Errorf("%s: %s in a pure package", at(n), name)
			}
		}
		return true
	})
}

// impureCall reports uses of the clock and of global randomness.
func impureCall(name string, obj types.Object) bool {
	switch name {
	case "time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.AfterFunc", "time.NewTimer", "time.NewTicker", "time.Tick":
		return true
	}
	pkg, fn := path.Split(strings.Replace(name, "rand/v2.", "rand/v2/", 1))
	if pkg != "math/rand/v2/" {
		return false
	}
	_, isFunc := obj.(*types.Func)
	return isFunc && !strings.HasPrefix(fn, "New")
}

func TestNothingUnfinished(t *testing.T) {
	for _, name := range tracked(t) {
		if strings.Contains(name, "testdata/") || !strings.HasSuffix(name, ".go") || name == "layout_test.go" {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, g := range f.Comments {
			for _, word := range []string{"TODO", "FIXME", "XXX"} {
				if strings.Contains(g.Text(), word) {
					t.Errorf("%s: %s in a comment: finish it, or write down in docs what is missing", fset.Position(g.Pos()), word)
				}
			}
		}
	}
}

func TestFileSizes(t *testing.T) {
	for _, name := range tracked(t) {
		st, err := os.Stat(name)
		if err != nil {
			continue // deleted in the work tree
		}
		if st.Size() > 1<<20 && !slices.Contains(largeFiles, name) {
			t.Errorf("%s has %d bytes: files over 1 MiB need a place in largeFiles", name, st.Size())
		}
	}
}

// tracked lists the files of the repository, or all files where git is not there.
func tracked(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard").Output()
	if err == nil {
		return strings.Fields(string(out))
	}
	var names []string
	err = filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(fmt.Errorf("list files: %w", err))
	}
	return names
}

// TestDocsNameRealTests keeps the pages true that say which test shows a claim.
func TestDocsNameRealTests(t *testing.T) {
	declared := map[string]bool{}
	for _, name := range tracked(t) {
		if !strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			continue // deleted in the work tree, or said by the compiler
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				declared[fn.Name.Name] = true
			}
		}
	}
	word := regexp.MustCompile(`\b(Test|Fuzz|Benchmark)[A-Z]\w*`)
	for _, name := range tracked(t) {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for _, w := range word.FindAllString(string(b), -1) {
			if !declared[w] {
				t.Errorf("%s names %s, which is no test", name, w)
			}
		}
	}
}
