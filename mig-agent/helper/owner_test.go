package helper

import (
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestQuietAfterAnnounce: an order to set the segment that was written before a holder was announced, and comes after
// it, does not take the address away again.
func TestQuietAfterAnnounce(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	holder := exec.Command("sleep", "60")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer holder.Wait()
	defer holder.Process.Kill()
	inside := func(command string) string {
		t.Helper()
		args := append([]string{"-t", strconv.Itoa(holder.Process.Pid), "-n"}, strings.Fields(command)...)
		out, err := exec.Command("nsenter", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	inside("ip link add eth0 type bridge")
	inside("ip link set eth0 up")
	quiet := func() bool { return strings.Contains(inside("nft list table arp netservices"), "drop") }

	s := &Server{owners: map[int32]bool{}}
	pid, addrs := int32(holder.Process.Pid), []netip.Addr{netip.MustParseAddr("10.20.0.10")}
	for _, step := range []struct {
		name string
		do   func() error
		want bool
	}{
		{"a new one keeps quiet", func() error { return s.keepQuiet(pid) }, true},
		{"announced", func() error { return s.own(pid, addrs) }, false},
		{"an older order", func() error { return s.keepQuiet(pid) }, false},
		{"yielded", func() error { return s.yield(pid) }, true},
		{"announced again", func() error { return s.own(pid, addrs) }, false},
		{"another holder with its pid", func() error { s.forgetOwners(nil); return s.keepQuiet(pid) }, true},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if quiet() != step.want {
			t.Errorf("%s: quiet is %t", step.name, !step.want)
		}
	}
}
