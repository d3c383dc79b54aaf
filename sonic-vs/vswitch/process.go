package vswitch

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process is one daemon of the switch. It is started again a second after it ended, for whatever reason.
type process struct {
	name    string
	argv    []string
	socket  string                      // listened at over all its lives, and given to each as systemd does; "" = none
	before  []string                    // files to remove before a start
	started func(context.Context) error // tried until it succeeds after every start; nil = nothing to do
}

// stopWait is how long a daemon may take to end on SIGTERM. dockerd stops its containers first.
const stopWait = 10 * time.Second

func (p process) keep(ctx context.Context) {
	var socket *os.File
	for ctx.Err() == nil {
		var err error
		if p.socket != "" && socket == nil {
			socket, err = listenUnix(p.socket)
		}
		if err == nil {
			err = p.run(ctx, socket)
		}
		if ctx.Err() != nil {
			return
		}
		slog.Warn("daemon ended", "op", p.name, "err", err)
		pause(ctx, time.Second)
	}
}

// listenUnix makes a socket that stays while daemons come and go.
func listenUnix(path string) (*os.File, error) {
	os.Remove(path) // of the life of the node before
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	ln.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, err
	}
	return ln.File()
}

// run starts the daemon and returns when it has ended.
func (p process) run(ctx context.Context, socket *os.File) error {
	for _, file := range p.before {
		os.Remove(file) // it may not be there
	}
	argv := p.argv
	if socket != nil { // a daemon looks whether the socket is meant for its own PID, which the shell hands on to it
		argv = append([]string{"sh", "-c", `export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"`, "sh"}, argv...)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if socket != nil {
		cmd.ExtraFiles = []*os.File{socket}
	}
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
