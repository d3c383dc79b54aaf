package experiment

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
)

// TestQuick runs every experiment, small, twice: the same seeds give the same digits. What it leaves behind are tables and
// drawings.
func TestQuick(t *testing.T) {
	for _, e := range All() {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			report := func() Report {
				r, err := e.Run(context.Background(), Options{Quick: true, First: 1000})
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			one, two := report(), report()
			var a, b bytes.Buffer
			one.Text(&a)
			two.Text(&b)
			for i := range one.Tables {
				if err := one.Tables[i].CSV(&a); err != nil {
					t.Error(err)
				}
				if err := two.Tables[i].CSV(&b); err != nil {
					t.Error(err)
				}
			}
			if !bytes.Equal(a.Bytes(), b.Bytes()) {
				t.Errorf("two runs differ:\n%s\n%s", a.String(), b.String())
			}
			folder := t.TempDir()
			if err := one.Save(folder, filepath.Join(folder, "bench.jsonl")); err != nil {
				t.Fatal(err)
			}
			for _, c := range one.Charts {
				for _, kind := range []string{".svg", ".png"} {
					if info, err := os.Stat(filepath.Join(folder, c.Name+kind)); err != nil || info.Size() < 2000 {
						t.Errorf("%s%s: %v", c.Name, kind, err)
					}
				}
			}
			if len(one.Tables) == 0 || len(one.Charts) == 0 {
				t.Errorf("%d tables, %d drawings", len(one.Tables), len(one.Charts))
			}
		})
	}
}
