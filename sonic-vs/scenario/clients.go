package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"sonic-netservices/sonic-vs/load"
)

// loadLimit ends a load whose scenario was killed.
const loadLimit = 20 * time.Minute

// clients is a running `sonic-vs load run`: a process of its own, in the clients' network.
type clients struct {
	cmd   *exec.Cmd
	dir   string
	ended chan error
}

// startLoad returns when the first request is due.
func (s *stage) startLoad(ctx context.Context) (*clients, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &clients{dir: filepath.Join(s.dir, "load"), ended: make(chan error, 1)}
	c.cmd = exec.Command(self, "load", "run", "--target", "http://"+kmsAddress, "--out", c.dir,
		"--rate", strconv.Itoa(s.Rate), "--new", strconv.Itoa(s.Rate/5), "--kept", "20",
		"--netns", s.suite.Bed.Clients[0].Netns, "--duration", loadLimit.String())
	log, err := os.Create(filepath.Join(s.dir, "load.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start load: %w", err)
	}
	go func() { c.ended <- c.cmd.Wait() }()
	for {
		if _, err := os.Stat(filepath.Join(c.dir, "load.json")); err == nil {
			return c, nil
		}
		select {
		case err := <-c.ended:
			return nil, fmt.Errorf("load ended at once: %w; see %s", err, log.Name())
		case <-ctx.Done():
			c.kill()
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (c *clients) kill() { c.cmd.Process.Kill() }

// stop ends the load, copies the volume of the owner beside its records, and has all figures computed.
func (c *clients) stop(s *stage, owner string) (load.Report, error) {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return load.Report{}, fmt.Errorf("stop load: %w", err)
	}
	if err := <-c.ended; err != nil {
		return load.Report{}, fmt.Errorf("load: %w", err)
	}
	if owner != "" {
		from := s.suite.Volume(s.node(owner).Node, replica, volume)
		if err := os.CopyFS(filepath.Join(c.dir, "volume"), os.DirFS(from)); err != nil {
			return load.Report{}, fmt.Errorf("copy volume: %w", err)
		}
	}
	report, err := load.Check(c.dir)
	if err != nil && !errors.Is(err, load.ErrVerify) { // its problems are in the report
		return report, err
	}
	return report, load.WriteReport(c.dir, report)
}
