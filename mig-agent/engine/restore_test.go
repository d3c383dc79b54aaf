package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// restoringRunc restores as CRIU does: inventory first, then the rest of the image.
const restoringRunc = `#!/bin/sh
set -e
while [ $# -gt 1 ]; do
	case $1 in
	--image-path) image=$2; shift ;;
	--work-path) work=$2; shift ;;
	--pid-file) pid=$2; shift ;;
	esac
	shift
done
cat "$image/descriptors.json" >"$work/seen"
: >"$work/restore.log"
cat "$image/inventory.img" >>"$work/seen"
grep -q inventory "$work/seen"
cat "$image/pages-1.img" >>"$work/seen"
echo 4711 >"$pid"
`

// A restore begins before there is an image, waits, and restores from what has come then; or is not wanted any more.
func TestReadyRestore(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		dir := t.TempDir()
		h := Host{Dir: dir}
		runc := filepath.Join(dir, "runc")
		if err := os.WriteFile(runc, []byte(restoringRunc), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := h.ReadyRestore("op", "id1", false, []byte("[]")); err == nil || !strings.Contains(err.Error(), "not armed") {
			t.Errorf("of a container that is not armed: %v", err)
		}
		if err := Arm(dir, "id1"); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			ended <- restoreArmed(runc, h.armed("id1"), runtimeCall{id: "id1", pidFile: filepath.Join(dir, "pid"), log: filepath.Join(dir, "log")})
		}()
		ready, err := h.ReadyRestore("op", "id1", false, []byte("descriptors "))
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
		if !wanted {
			ready.Close()
			if err := Disarm(dir, "id1", "no more"); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err == nil {
				t.Error("restored what was taken back")
			}
			continue
		}
		if err := os.MkdirAll(h.ImageFolder("op"), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(h.ImageFolder("op"), "descriptors.json"), "as before")
		put(t, filepath.Join(h.ImageFolder("op"), "inventory.img"), "inventory ")
		put(t, filepath.Join(h.ImageFolder("op"), "pages-1.img"), "pages")
		res, err := h.Restore(t.Context(), "op", "id1", false, ready)
		if err != nil || res.PID != 4711 || res.TookMS <= 0 {
			t.Errorf("%+v, %v", res, err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if got := read(t, filepath.Join(h.workFolder("op"), "seen")); got != "descriptors inventory pages" {
			t.Errorf("restored from %q", got)
		}
	}
}
