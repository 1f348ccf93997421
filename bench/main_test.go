package bench

import (
	"os"
	"testing"

	"x0tta6bl4/lab"
)

func TestMain(m *testing.M) {
	if code, ok := lab.Helper(); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}
