package main

import (
	"bytes"
	"strings"
	"testing"
)

const run = `{"Action":"output","Package":"p","Test":"TestA","Output":"fine\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":0.5}
`

func check(t *testing.T, in string, allowed []string, wantOK bool, want ...string) {
	t.Helper()
	var out bytes.Buffer
	ok, err := report(strings.NewReader(in), &out, allowed)
	if err != nil || ok != wantOK {
		t.Fatalf("ok = %v, err = %v, want ok = %v; printed %s", ok, err, wantOK, out.String())
	}
	for _, w := range want {
		if !strings.Contains(out.String(), w) {
			t.Errorf("%q is not in %s", w, out.String())
		}
	}
}

func TestReport(t *testing.T) {
	skip := `{"Action":"skip","Package":"p","Test":"TestB"}` + "\n"
	fail := `{"Action":"output","Package":"p","Test":"TestC","Output":"why it failed\n"}` + "\n" +
		`{"Action":"fail","Package":"p","Test":"TestC"}` + "\n" + `{"Action":"fail","Package":"p"}` + "\n"
	check(t, run, nil, true, "1 passed, 0 failed\n", "ok    p")
	check(t, run+skip, nil, false, "1 passed, 1 failed\n", "p.TestB")
	check(t, run+skip, []string{"p.TestB"}, true, "1 passed, 0 failed\n", "as allowed: p.TestB")
	check(t, run+fail, nil, false, "1 passed, 1 failed\n", "why it failed")
	check(t, run+`{"Action":"fail","Package":"q"}`+"\n", nil, false, "1 passed, 0 failed\n", "FAIL  q")
	check(t, "# q\nq.go:1: no such thing\n"+run, nil, true, "no such thing")
}

func TestReadAllowList(t *testing.T) {
	if _, err := readAllowList("no such file"); err == nil {
		t.Error("a missing allow-list was accepted")
	}
	names, err := readAllowList("")
	if err != nil || names != nil {
		t.Errorf("no list: %v, %v", names, err)
	}
}
