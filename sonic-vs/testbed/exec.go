package testbed

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// runIn runs a command inside a node or client with this process's terminal, and returns when it has ended. A failed
// command is an *exec.ExitError. The command does not outlive this process.
func runIn(t *Testbed, name string, command []string) error {
	// Namespaces belong to the thread, and the child is forked from it; its death signal needs the thread to stay.
	runtime.LockOSThread()
	node, err := t.Node(name)
	if err != nil { // a client, or nobody
		path, err := t.netnsOf(name)
		if err != nil {
			return err
		}
		if err := enterNetns(path); err != nil {
			return err
		}
		return runHere(command, os.Environ())
	}
	if node.Pid == 0 {
		return fmt.Errorf("node %s is dead: sonic-vs up raises it again", name)
	}
	if err := enterNode(t, node); err != nil {
		return fmt.Errorf("enter %s: %w", name, err)
	}
	env := append(os.Environ(), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root")
	return runHere(command, env)
}

// enterNode joins the node's cgroups and all its namespaces. The PID namespace takes only the children.
func enterNode(t *Testbed, n Node) error {
	for _, h := range t.hierarchies {
		dir := h.dir(t.Instance, n.Name)
		if len(t.hierarchies) == 1 && h.v2() {
			dir = filepath.Join(dir, initCgroup)
		}
		if err := enterCgroup(dir); err != nil {
			return err
		}
	}
	// A thread that shares its root and working directory with others may not change mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	pidfd, err := unix.PidfdOpen(n.Pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	const all = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP
	if err := unix.Setns(pidfd, all); err != nil {
		return fmt.Errorf("setns: %w", err)
	}
	return nil
}

func runHere(command, env []string) error {
	// Not SysProcAttr.Pdeathsig: it takes a parent in another PID namespace for a dead one.
	cmd := exec.Command("/usr/bin/setpriv", append([]string{"--pdeathsig", "KILL", "--"}, command...)...)
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP) // SIGINT comes from a terminal, which sends it to both of us
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			if err := cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return err
			}
		case err := <-done:
			return err
		}
	}
}
