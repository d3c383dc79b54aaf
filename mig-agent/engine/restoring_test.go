package engine

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// restoreThatIsKilled is runc as it restores: its CRIU is killed, and what CRIU had begun stays.
func restoreThatIsKilled() error {
	criu := os.Getenv("KILLED_RESTORE")
	first, left := exec.Command(criu, "60"), exec.Command(criu, "60")
	if err := first.Start(); err != nil {
		return err
	}
	if err := left.Start(); err != nil {
		return err
	}
	if err := first.Process.Kill(); err != nil {
		return err
	}
	return left.Wait()
}

// A CRIU that is killed as it restores leaves processes that keep runc: they are ended, and the restore fails at once.
func TestKilledRestore(t *testing.T) {
	dir := t.TempDir()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	criu := filepath.Join(dir, "criu")
	if err := os.Symlink(sleep, criu); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KILLED_RESTORE", criu)
	if err := Arm(dir, "id1"); err != nil {
		t.Fatal(err)
	}
	armed := filepath.Join(dir, "work", armedDir, "id1")
	if err := writeJSON(filepath.Join(armed, wordFile), word{Image: "/i", Work: "/w"}); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err = restoreArmed(self, armed, runtimeCall{id: "id1", log: filepath.Join(dir, "log")})
	if err == nil || !strings.Contains(err.Error(), "runc restore: exit status 1") {
		t.Errorf("restore: %v", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	var res RestoreResult
	if err := readJSON(armed+resultSuffix, &res); err != nil || res.Error == "" {
		t.Errorf("result %+v, %v", res, err)
	}
}

func TestReadStat(t *testing.T) {
	cmd := exec.Command("sh", "-c", "kill -9 $$")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		p, ok := readStat(cmd.Process.Pid)
		if !ok {
			t.Fatal("not readable")
		}
		if p.state == "Z" {
			if p.parent != os.Getpid() || p.name != "sh" || p.exit != 9 {
				t.Errorf("read %+v", p)
			}
			return
		}
		if time.Now().After(limit) {
			t.Fatal(fmt.Sprintf("never a zombie: %+v", p))
		}
	}
}
