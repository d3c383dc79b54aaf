package engine

import (
	"os"
	"os/exec"
	"testing"

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
	daemon.Wait()
	if err := u.Hold("/proc", daemon.Process.Pid); err == nil {
		t.Error("a dead process has userfaultfds")
	}
	if u.Held() != 1 {
		t.Errorf("%d are held after the death, want 1", u.Held())
	}
	u.Release()
	if u.Held() != 0 {
		t.Errorf("%d are held after the release", u.Held())
	}
}
