// Package transcript holds value machines to recorded conversations: text files with what is told to a machine and, below
// it, what it answered when the file was recorded. It reads, and with -update writes, testdata/*.txt of the package under
// test, and is told by its tests alone.
package transcript

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "record the transcripts anew")

// Test plays each testdata/*.txt and holds what comes of it against the file. play gets the file and gives it back with
// the answers of now.
func Test(t *testing.T, play func(t *testing.T, recorded string) string) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			recorded, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			now := play(t, string(recorded))
			if *update {
				if err := os.WriteFile(file, []byte(now), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(recorded), now); diff != "" {
				t.Errorf("it behaves in another way (-recorded +now); look at every line, then -update:\n%s", diff)
			}
		})
	}
}
