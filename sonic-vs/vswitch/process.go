package vswitch

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process is one daemon of the switch. It is started again a second after it ended, for whatever reason.
type process struct {
	name    string
	argv    []string
	before  []string                    // files to remove before a start
	started func(context.Context) error // tried until it succeeds after every start; nil = nothing to do
}

// stopWait is how long a daemon may take to end on SIGTERM. dockerd stops its containers first.
const stopWait = 10 * time.Second

func (p process) keep(ctx context.Context) {
	for ctx.Err() == nil {
		err := p.run(ctx)
		if ctx.Err() != nil {
			return
		}
		slog.Warn("daemon ended", "op", p.name, "err", err)
		pause(ctx, time.Second)
	}
}

// run starts the daemon and returns when it has ended.
func (p process) run(ctx context.Context) error {
	for _, file := range p.before {
		os.Remove(file) // it may not be there
	}
	cmd := exec.CommandContext(ctx, p.argv[0], p.argv[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopWait
	log, err := os.OpenFile("/var/log/"+p.name+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	alive, ended := context.WithCancel(ctx)
	defer ended()
	if p.started != nil {
		go p.retry(alive)
	}
	return cmd.Wait()
}

func (p process) retry(alive context.Context) {
	var err error
	for n := 0; alive.Err() == nil; n++ {
		if err = p.started(alive); err == nil {
			return
		}
		if n == 100 {
			slog.Warn("daemon is not ready yet", "op", p.name, "err", err)
		}
		pause(alive, 50*time.Millisecond)
	}
}

// output runs a program that answers and ends.
func output(ctx context.Context, argv ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
	if exit, ok := err.(*exec.ExitError); ok && len(exit.Stderr) > 0 {
		return nil, fmt.Errorf("%s: %w: %s", argv[0], err, exit.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", argv[0], err)
	}
	return out, nil
}
