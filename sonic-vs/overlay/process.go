package overlay

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Process is a program that runs at a site.
type Process struct {
	Site string
	Log  string // file
	Pid  int

	cmd   *exec.Cmd
	ended chan struct{}
}

// start runs a program in a site's network. Its output is appended to a log of the name.
func (b *Bed) start(site, name string, program string, args ...string) (*Process, error) {
	p := &Process{Site: site, Log: filepath.Join(b.Logs, name+".log"), ended: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	fmt.Fprintf(log, "# %s %q\n", program, args)
	p.cmd = exec.Command(program, args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for the scenario, which ends them
	if err := b.InNetns(site, p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s at %s: %w", name, site, err)
	}
	p.Pid = p.cmd.Process.Pid
	go func() {
		p.cmd.Wait() // how it ended is seen by what it did not do
		close(p.ended)
	}()
	return p, nil
}

// Stop ends it as an operator would; what does not end is killed. It says how long that took.
func (p *Process) Stop() time.Duration {
	began := time.Now()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
		p.Kill()
	}
	return time.Since(began)
}

// Kill ends it as a crash would.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

// Alive says whether it still runs.
func (p *Process) Alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Tail is the end of its log.
func (p *Process) Tail() string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-1500):])
}
