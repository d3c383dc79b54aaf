// Package load plays the clients of a key service and checks what they saw.
//
// Run reads nothing but the service's answers and the nodes' freezers, and writes raw records into a folder:
//
//	load.json          what was run, and when it began (wall clock)
//	requests.jsonl.gz  one Record a request
//	freezer.jsonl      one Freeze a change of a container's freezer, and a heartbeat each second
//	events.jsonl       one Event a move, written by whoever orders the moves (AppendEvent)
//	volume/            the service's volume as it was after the load, copied by the same
//
// Check reads such folders and computes every figure from them alone. All times in records are nanoseconds of the
// monotonic clock since the load began. It is told by `sonic-vs load`, the demo and the scenarios.
package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"time"
)

// Config of one load.
type Config struct {
	Target   string // URL of the service, http://HOST:PORT
	Dir      string // where the records go; made if it is not there, refused if it holds a load
	Schedule Schedule
	Kept     int       // connections kept open over the whole load
	Freezers []Cgroups // freezers to sample; none: no freezer.jsonl
}

// Patience is how long a client waits for an answer, from the moment the request was due. Later is failed.
const Patience = 5 * time.Second

// warmUp is how long the service may take to answer the first question and to accept the kept connections.
const warmUp = 5 * time.Second

// Run plays the schedule until it ends or ctx does, then waits for open requests, no longer than Patience. It runs in
// the network namespace of the process. load.json appears when the first request is due.
func Run(ctx context.Context, c Config) error {
	target, err := c.check()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return fmt.Errorf("make folder of records: %w", err)
	}
	warm, cancel := context.WithTimeout(ctx, warmUp)
	defer cancel()
	public, err := fetchPublic(warm, target)
	if err != nil {
		return fmt.Errorf("ask %s for its public key: %w", c.Target, err)
	}
	out, err := createRecords(c.Dir)
	if err != nil {
		return err
	}
	clients := newClients(target, c, out)
	clients.dialKept(warm)

	start := time.Now()
	about := About{
		Format: aboutFormat, Start: start.UTC(), Target: c.Target, PublicKey: string(public),
		Steps: c.Schedule.Steps, New: c.Schedule.New, Kept: c.Kept, Duration: c.Schedule.Duration,
		Seed: c.Schedule.Seed,
	}
	if err := about.write(c.Dir); err != nil {
		return errors.Join(err, out.close())
	}
	sampling, stopSampling := context.WithCancel(context.Background())
	defer stopSampling()
	var sampler sync.WaitGroup
	var samplerErr error
	if len(c.Freezers) > 0 {
		sampler.Go(func() { samplerErr = sampleFreezers(sampling, c.Dir, c.Freezers, start) })
	}
	slog.Info("load begins", "target", c.Target, "dir", c.Dir)
	n := clients.play(ctx, start, c.Schedule)
	stopSampling()
	sampler.Wait()

	about.Requests, about.Ended = n, time.Since(start)
	err = errors.Join(out.close(), samplerErr, about.write(c.Dir))
	slog.Info("load ended", "requests", n, "failed", clients.failed.Load(), "broken", clients.broken.Load())
	return err
}

func (c Config) check() (*url.URL, error) {
	u, err := url.Parse(c.Target)
	if err != nil || u.Scheme != "http" || u.Port() == "" {
		return nil, fmt.Errorf("target %q: want http://HOST:PORT", c.Target)
	}
	if c.Dir == "" {
		return nil, errors.New("no folder for the records")
	}
	if c.Kept < 1 {
		return nil, fmt.Errorf("%d kept connections, want 1 or more", c.Kept)
	}
	return u, c.Schedule.check()
}
