// Package bed gives the tests of N2N programs hosts to run on: network namespaces on one bridge, and processes in them. It
// runs ip of iproute2 as root, leaves nothing behind, and is told by the tests of n2n-edge and n2n-supernode.
package bed

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Bed is a bridge with hosts at 192.0.2.1, .2, ...
type Bed struct {
	T     *testing.T
	name  string
	hosts map[string]string // by name: namespace
}

// beds numbers them: names are free again only some time after a namespace is gone.
var beds atomic.Int32

// Raise makes the hosts, and takes them away when the test ends. Without root there is nothing to test on.
func Raise(t *testing.T, hosts ...string) *Bed {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("namespaces need root")
	}
	b := &Bed{T: t, name: fmt.Sprintf("n2n%d-%d", os.Getpid()%100000, beds.Add(1)), hosts: map[string]string{}}
	b.space("br")
	b.In("br", "ip", "link", "add", "br0", "type", "bridge")
	b.In("br", "ip", "link", "set", "br0", "up")
	for i, h := range hosts {
		b.space(h)
		b.In("br", "ip", "link", "add", "p"+h, "type", "veth", "peer", "name", "eth0", "netns", b.hosts[h])
		b.In("br", "ip", "link", "set", "p"+h, "master", "br0", "up")
		b.In(h, "ip", "addr", "add", fmt.Sprintf("192.0.2.%d/24", i+1), "dev", "eth0")
		b.In(h, "ip", "link", "set", "eth0", "up")
	}
	return b
}

func (b *Bed) space(host string) {
	b.T.Helper()
	b.hosts[host] = b.name + host
	if out, err := exec.Command("ip", "netns", "add", b.hosts[host]).CombinedOutput(); err != nil {
		b.T.Fatalf("%v: %s", err, out)
	}
	b.T.Cleanup(func() { _ = exec.Command("ip", "netns", "del", b.hosts[host]).Run() })
	b.In(host, "ip", "link", "set", "lo", "up")
}

// Command is one at a host.
func (b *Bed) Command(host, program string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", b.hosts[host], program}, args...)...)
}

// In runs a command at a host, which must succeed, and gives what it says.
func (b *Bed) In(host, program string, args ...string) string {
	b.T.Helper()
	out, err := b.Command(host, program, args...).CombinedOutput()
	if err != nil {
		b.T.Fatalf("%s: %s %s: %v\n%s", host, program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Process is one that runs until the test ends it.
type Process struct {
	*exec.Cmd
	Log *bytes.Buffer
}

// Start starts a command; what it said is shown where the test fails.
func (b *Bed) Start(cmd *exec.Cmd) *Process {
	b.T.Helper()
	p := &Process{cmd, &bytes.Buffer{}}
	p.Stdout, p.Stderr = p.Log, p.Log
	if err := p.Cmd.Start(); err != nil {
		b.T.Fatal(err)
	}
	b.T.Cleanup(func() {
		p.End(syscall.SIGTERM)
		if b.T.Failed() {
			b.T.Logf("%s:\n%s", strings.Join(p.Args, " "), p.Log)
		}
	})
	return p
}

// End ends a process, which may have ended; one that does not is killed.
func (p *Process) End(signal os.Signal) {
	if p.ProcessState != nil {
		return
	}
	_ = p.Process.Signal(signal)
	kill := time.AfterFunc(5*time.Second, func() { _ = p.Process.Kill() })
	_ = p.Wait()
	kill.Stop()
}
