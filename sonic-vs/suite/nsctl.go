package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Instance is a replica as nsctl --json shows it.
type Instance struct {
	Service        string `json:"service"`
	Replica        int    `json:"replica"`
	Node           string `json:"node"`
	NodeAddress    string `json:"node_address"`
	ServiceAddress string `json:"service_address"`
	Container      string `json:"container"`
	State          string `json:"state"`
	Since          string `json:"since"`
	ImageID        string `json:"image_id"`
	Op             string `json:"op"`
}

// Service is a line of `nsctl services --json`.
type Service struct {
	Name      string     `json:"name"`
	Image     string     `json:"image"`
	Migration string     `json:"migration"`
	Problem   string     `json:"problem"` // "": every replica runs
	Instances []Instance `json:"instances"`
}

// Move is the answer of `nsctl migrate --json`.
type Move struct {
	Op              string   `json:"op"`
	Service         string   `json:"service"`
	Replica         int      `json:"replica"`
	From            string   `json:"from"`
	To              string   `json:"to"`
	Mode            string   `json:"mode"`
	TookMS          int64    `json:"took_ms"`
	HeldMS          float64  `json:"held_ms"`
	ImageBytes      int64    `json:"image_bytes"`
	VolumeBytes     int64    `json:"volume_bytes"`
	DeltaBytes      int64    `json:"delta_bytes"`
	CheckpointBytes int64    `json:"checkpoint_bytes"`
	PacketsHeld     int64    `json:"packets_held"`
	Phases          []Phase  `json:"phases"`
	Instance        Instance `json:"instance"`
}

// Phase is one step of a move.
type Phase struct {
	Name    string  `json:"name"`
	StartMS float64 `json:"start_ms"`
	TookMS  float64 `json:"took_ms"`
}

// NsctlError is a failed nsctl.
type NsctlError struct {
	Args []string
	Code int    // 1 failed, 2 refused
	Said string // its progress and error
}

func (e *NsctlError) Error() string {
	return fmt.Sprintf("nsctl %s: exit code %d\n%s", strings.Join(e.Args, " "), e.Code, e.Said)
}

// Nsctl runs nsctl as an operator of this test bed and gives what it answers. A failure is a *NsctlError.
func (s *Suite) Nsctl(ctx context.Context, args ...string) (string, error) {
	config := []string{"--config", filepath.Join(s.out, "nsctl.yaml")}
	cmd := exec.CommandContext(ctx, filepath.Join(s.repo, "out/bin/nsctl"), append(config, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = &NsctlError{Args: args, Code: exit.ExitCode(), Said: strings.TrimSpace(said.String())}
	}
	return out.String(), err
}

// ask runs nsctl --json and reads the answer.
func (s *Suite) ask(ctx context.Context, to any, args ...string) error {
	out, err := s.Nsctl(ctx, append(args, "--json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), to); err != nil {
		return fmt.Errorf("answer of nsctl %s: %w", args[0], err)
	}
	return nil
}

// Deploy runs a service from its spec; node "" leaves the choice to the manager.
func (s *Suite) Deploy(ctx context.Context, spec, node string) ([]Instance, error) {
	var answer struct{ Instances []Instance }
	args := []string{"deploy", "-f", spec}
	if node != "" {
		args = append(args, "--node", node)
	}
	err := s.ask(ctx, &answer, args...)
	return answer.Instances, err
}

// Migrate moves a replica, named like its container.
func (s *Suite) Migrate(ctx context.Context, replica, to, mode string) (Move, error) {
	var m Move
	err := s.ask(ctx, &m, "migrate", replica, "--to", to, "--mode", mode)
	return m, err
}

// Edge of the overlay is a line of `nsctl edges --json`.
type Edge struct {
	Community    string `json:"community"`
	Name         string `json:"name"`
	MAC          string `json:"mac"`
	Address      string `json:"address"`
	Public       string `json:"public"`
	RegisteredMS int64  `json:"registered_ms"`
}

// Edges lists who is registered at the supernode beside the manager.
func (s *Suite) Edges(ctx context.Context) ([]Edge, error) {
	var answer struct{ Edges []Edge }
	err := s.ask(ctx, &answer, "edges")
	return answer.Edges, err
}

// Services lists what is deployed and where it runs.
func (s *Suite) Services(ctx context.Context) ([]Service, error) {
	var answer struct{ Services []Service }
	err := s.ask(ctx, &answer, "services")
	return answer.Services, err
}
