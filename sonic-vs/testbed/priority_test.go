package testbed

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRaiseWeight(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ file, text, want, after string }{
		{"cpu.shares", "1024\n", "10240", "1024"},
		{"cpu.weight", "100\n", "1000", "100"},
		{"cpu.shares", "20000\n", "20000\n", "20000\n"}, // somebody wanted it so
	} {
		path := filepath.Join(dir, tt.file)
		if err := os.WriteFile(path, []byte(tt.text), 0o644); err != nil {
			t.Fatal(err)
		}
		undo, err := raiseWeight(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != tt.want {
			t.Errorf("%s of %q became %q", tt.file, tt.text, got)
		}
		undo()
		if got, _ := os.ReadFile(path); string(got) != tt.after {
			t.Errorf("%s of %q is %q in the end", tt.file, tt.text, got)
		}
	}
	if undo, err := raiseWeight(filepath.Join(dir, "none", "cpu.shares")); err != nil {
		t.Error(err)
	} else {
		undo()
	}
}
