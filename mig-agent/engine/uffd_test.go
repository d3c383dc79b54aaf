package engine

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Userfaultfds stay after the process that had them.
func TestUserfaults(t *testing.T) {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		t.Skipf("userfaultfd: %v", errno)
	}
	file := os.NewFile(fd, "userfaultfd")
	daemon := exec.Command("sleep", "60")
	daemon.ExtraFiles = []*os.File{file}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	defer daemon.Process.Kill()
	file.Close()
	var u Userfaults
	for range 2 { // the second finds nothing new
		if err := u.Hold("/proc", daemon.Process.Pid); err != nil {
			t.Fatal(err)
		}
		if u.Held() != 1 {
			t.Fatalf("%d are held, want 1", u.Held())
		}
	}
	daemon.Process.Kill()
	for limit := time.Now().Add(10 * time.Second); u.Hold("/proc", daemon.Process.Pid) == nil; {
		if time.Now().After(limit) {
			t.Fatal("a killed process has userfaultfds")
		}
	}
	for _, reaped := range []bool{false, true} { // a zombie has no files
		if reaped {
			daemon.Wait()
		}
		if err := u.Hold("/proc", daemon.Process.Pid); err == nil {
			t.Errorf("a dead process has userfaultfds; reaped %v", reaped)
		}
		if u.Held() != 1 {
			t.Errorf("%d are held after the death, want 1; reaped %v", u.Held(), reaped)
		}
	}
	u.Release()
	if u.Held() != 0 {
		t.Errorf("%d are held after the release", u.Held())
	}
}
