package bench

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

// player is the clients' process: nothing that the bench does delays a request, and the scheduler prefers it.
type player struct {
	cmd   *exec.Cmd
	ended chan error
}

// startPlayer returns when the first request is due.
func startPlayer(ctx context.Context, netns, target, dir string) (*player, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "clients.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args := []string{"-n", testbed.ClientsNice, self, "bench", "play", "--target", target, "--netns", netns, "--out", dir}
	p := &player{exec.Command("nice", args...), make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for the bench, which ends its clients in order
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.ended <- p.cmd.Wait() }()
	for {
		if _, err := os.Stat(filepath.Join(dir, begunFile)); err == nil {
			return p, nil
		}
		if err := p.wait(ctx, 10*time.Millisecond); err != nil {
			p.kill()
			return nil, err
		}
	}
}

// wait lets the clients go on for a while.
func (p *player) wait(ctx context.Context, d time.Duration) error {
	select {
	case err := <-p.ended:
		p.ended <- err
		return fmt.Errorf("the clients ended by themselves: %v, see %s", err, p.log())
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// stop ends the clients in order: open requests are still waited for.
func (p *player) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the clients: %w", err)
	}
	err := <-p.ended
	p.ended <- err
	if err != nil {
		return fmt.Errorf("the clients failed: %w, see %s", err, p.log())
	}
	return nil
}

// kill ends clients that were not stopped.
func (p *player) kill() {
	p.cmd.Process.Kill() // fails if it has ended
	p.ended <- <-p.ended
}

func (p *player) log() string {
	return p.cmd.Stdout.(*os.File).Name()
}
