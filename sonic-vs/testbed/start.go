package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// runStage starts a node's first process and returns when it has become the node's tini, or with what it says went wrong.
func runStage(binary string, lock *os.File, c stageConfig) error {
	configR, configW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer configW.Close()
	reportR, reportW, err := os.Pipe()
	if err != nil {
		configR.Close()
		return err
	}
	defer reportR.Close()
	log, err := os.OpenFile(filepath.Join(c.Dir, switchLog), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()

	cmd := exec.Command(binary, "node-stage", c.Instance, c.Name) // the names only serve who reads ps
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{stageConfigFD - 3: configR, stageErrorFD - 3: reportW, stageLockFD - 3: lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Setsid:     true, // a Ctrl-C at the terminal of `up` is not for the node
	}
	err = cmd.Start()
	configR.Close()
	reportW.Close()
	if err != nil {
		return err
	}
	go cmd.Wait() // the node outlives us, as a rule; if it does not, no zombie stays
	if err := json.NewEncoder(configW).Encode(c); err != nil {
		return err
	}
	configW.Close()
	said, err := io.ReadAll(reportR)
	if err != nil {
		return err
	}
	if len(said) > 0 {
		return errors.New(string(said))
	}
	return nil
}

const (
	switchLog    = "switch.log"     // in the node's folder: what its switch daemon says
	readyTimeout = 90 * time.Second // dockerd needs 2 s on a quiet machine; this one may be compiling
)

// waitReady waits until the node's dockerd and Redis answer.
func (u *raising) waitReady(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		node := Node{Name: name, Pid: findInit(u.hierarchies, u.Instance, name)}
		if node.Pid == 0 {
			return fmt.Errorf("%s died while it started; its log ends:\n%s", name, u.logTail(name))
		}
		errDocker, errRedis := pingDocker(ctx, node), pingRedis(node)
		if errDocker == nil && errRedis == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w; its log ends:\n%s", name, errors.Join(errDocker, errRedis), u.logTail(name))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (u *raising) logTail(node string) string {
	text, err := os.ReadFile(dataDir(u.Instance, node, switchLog))
	if err != nil {
		return err.Error()
	}
	lines := strings.SplitAfter(string(text), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "")
}

func pingDocker(ctx context.Context, n Node) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", n.DockerSocket())
	}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	if err != nil {
		return err
	}
	answer, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("docker: %w", err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("docker: %s", answer.Status)
	}
	return nil
}

func pingRedis(n Node) error {
	c, err := net.DialTimeout("unix", n.RedisSocket(), 2*time.Second)
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	answer := make([]byte, len("+PONG"))
	if _, err := io.WriteString(c, "PING\r\n"); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "+PONG" {
		return fmt.Errorf("redis: answered %q: %w", answer, err)
	}
	return nil
}
