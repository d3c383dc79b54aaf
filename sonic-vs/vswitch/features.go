package vswitch

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"sonic-netservices/sonic-vs/vswitch/feature"
)

// retryDocker is the pause before dockerd is asked again after it did not answer.
const retryDocker = 200 * time.Millisecond

// runFeatures keeps the containers of CONFIG_DB FEATURE started or stopped as their rows say.
func (s *Switch) runFeatures(ctx context.Context) error {
	docker, err := DockerAt(dockerSocket)
	if err != nil {
		return fmt.Errorf("connect to dockerd: %w", err)
	}
	defer docker.Close()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for { // features are of no use before dockerd answers, and their starts would count
		if _, err := docker.Ping(ctx); err == nil {
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause(ctx, retryDocker)
	}
	keys, err := s.db.config.Watch(ctx, "FEATURE|*")
	if err != nil {
		return err
	}
	rule := feature.Rule{
		RestartSec: seconds(s.cfg.RestartSec),
		Burst:      s.cfg.StartLimitBurst,
		Window:     seconds(s.cfg.StartLimitSec),
	}
	wishes := map[string]chan map[string]string{}
	for key := range keys {
		row, err := s.db.config.HGetAll(ctx, key)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(key, "FEATURE|")
		wish := wishes[name]
		if wish == nil {
			wish = make(chan map[string]string)
			wishes[name] = wish
			f := &runner{
				s: s, name: name, containers: containers{docker}, wish: wish, machine: feature.New(rule),
				log: slog.With("node", s.cfg.Name, "service", name),
			}
			wg.Go(func() { f.run(ctx) })
		}
		select {
		case wish <- row:
		case <-ctx.Done():
		}
	}
	return errClosed
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// runner is one feature: it does to Docker what the machine says and writes STATE_DB FEATURE.
type runner struct {
	s          *Switch
	name       string
	containers containers
	wish       chan map[string]string // the row of CONFIG_DB; nil = it is gone
	machine    *feature.Machine
	log        *slog.Logger

	row     map[string]string // newest wish
	id      string            // container, while it runs
	version string
}

func (f *runner) run(ctx context.Context) {
	var exited chan int64 // exit code, while the container runs
	wake := time.NewTimer(time.Hour)
	defer wake.Stop()
	for {
		select {
		case f.row = <-f.wish:
			f.machine.Want(f.row["state"] == "enabled" || f.row["state"] == "always_enabled", f.row["auto_restart"] != "disabled")
		case code := <-exited:
			exited = nil
			f.log.Info("container ended", "state", f.machine.State(), "code", code)
			f.id = ""
			f.machine.Ended(time.Now())
		case <-wake.C:
		case <-ctx.Done():
			return
		}
		for {
			act, at := f.machine.Next(time.Now())
			if act == feature.Nothing {
				if !at.IsZero() {
					wake.Reset(time.Until(at))
				}
				break
			}
			if act == feature.Stop {
				if err := f.containers.stop(ctx, f.name); err != nil {
					f.log.Warn("stop container", "err", err)
				}
				break // its end is told by exited
			}
			id, version, err := f.containers.start(ctx, f.name)
			if err != nil {
				f.log.Warn("start container", "err", err)
				f.machine.Ended(time.Now())
				continue
			}
			f.id, f.version = id, version
			f.machine.Started()
			f.log.Info("container runs", "container", id[:12])
			ended := make(chan int64, 1)
			exited = ended
			go func() { ended <- f.containers.ended(ctx, id) }()
		}
		if err := f.write(ctx); err != nil {
			f.log.Warn("write STATE_DB FEATURE", "err", err)
		}
	}
}

// write puts the feature's state where `show feature status` reads it.
func (f *runner) write(ctx context.Context) error {
	key := "FEATURE|" + f.name
	if f.row == nil {
		return f.s.db.state.Del(ctx, key)
	}
	row := map[string]string{
		"state":             f.row["state"],
		"system_state":      "down",
		"current_owner":     "none",
		"container_id":      "",
		"container_version": f.version,
		"remote_state":      "none",
		"update_time":       time.Now().UTC().Format(time.DateTime),
	}
	if f.id != "" {
		row["system_state"], row["current_owner"], row["container_id"] = "up", "local", f.id[:12]
	}
	return f.s.db.state.HSet(ctx, key, row)
}
