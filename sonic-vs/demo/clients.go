package demo

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"sonic-netservices/sonic-vs/testbed"
)

// clients is a running `sonic-vs load run`: a process of its own, so that nothing the demo does delays a request.
type clients struct {
	cmd   *exec.Cmd
	ended chan error
}

// startLoad returns when the first request is due. Rate and more are flags of `sonic-vs load run`.
func (d *demo) startLoad(ctx context.Context, dir string, s subject, rate string, more ...string) (*clients, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	args := []string{"load", "run", "--target", fmt.Sprintf("http://%s:%d", s.address, port), "--out", dir,
		"--rate", rate, "--kept", fmt.Sprint(kept), "--new", "20"}
	args = append(args, more...)
	for _, c := range d.bed.Clients {
		if c.Name == client {
			args = append(args, "--netns", c.Netns)
		}
	}
	for _, n := range d.bed.Nodes {
		args = append(args, "--freezer", n.Name+"="+d.suite.Freezers(n))
	}
	log, err := os.Create(filepath.Join(dir, "load.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c := &clients{exec.Command("nice", append([]string{"-n", testbed.ClientsNice, self}, args...)...), make(chan error, 1)}
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for the demo, which ends its load in order
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { c.ended <- c.cmd.Wait() }()
	for begun := time.Now(); ; {
		if _, err := os.Stat(filepath.Join(dir, "load.json")); err == nil {
			return c, nil
		}
		if time.Since(begun) > 15*time.Second {
			c.kill()
			return nil, fmt.Errorf("the load does not begin, see %s", log.Name())
		}
		if err := c.wait(ctx, 20*time.Millisecond); err != nil {
			c.kill()
			return nil, err
		}
	}
}

// wait lets the load go on for a while.
func (c *clients) wait(ctx context.Context, d time.Duration) error {
	select {
	case err := <-c.ended:
		c.ended <- err
		return fmt.Errorf("the load ended by itself: %v, see load.log", err)
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// stop ends the load in order: open requests are still waited for.
func (c *clients) stop() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the load: %w", err)
	}
	err := <-c.ended
	c.ended <- err
	if err != nil {
		return fmt.Errorf("the load failed: %v, see load.log", err)
	}
	return nil
}

// kill ends a load that was not stopped.
func (c *clients) kill() {
	c.cmd.Process.Kill() // fails if it has ended
	c.ended <- <-c.ended
}
