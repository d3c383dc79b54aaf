package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/suite"
)

// settle is the pause before and after each move: the switches clean up behind the last one, and the clients see the
// service without one.
const settle = 2 * time.Second

// bench is one call of Migrate.
type bench struct {
	Options
	suite *suite.Suite
	dir   string // of the runs
	runs  []run

	begun time.Time
	steps int // to do in all
}

// Migrate measures moves and prints what came of them to out; progress goes to standard error.
func Migrate(ctx context.Context, o Options, out io.Writer) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	slices.Sort(o.Sizes)
	b := &bench{Options: o, dir: filepath.Join(o.Out, "bench", "migrate"), begun: time.Now()}
	for _, mb := range o.Sizes {
		b.steps += o.Runs * len(b.modes(mb))
	}
	if err := clearRuns(b.dir); err != nil {
		return err
	}
	down, err := b.raise(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, down()) }()
	b.begun = time.Now() // the first estimate is to be about moves
	for _, mb := range o.Sizes {
		if err := b.size(ctx, mb); err != nil {
			return fmt.Errorf("%d MiB: %w", mb, err)
		}
	}
	// From the disk, as anyone else will.
	runs, err := readRuns(b.dir)
	if err != nil {
		return err
	}
	all := figures(runs)
	if err := appendFigures(filepath.Join(o.Out, figureFile), all); err != nil {
		return err
	}
	report(out, runs, all)
	fmt.Fprintf(out, "\nrecords in %s; compute again: sonic-vs bench check %s\n", b.dir, b.dir)
	return faults(runs)
}

// modes of a size: lazy pages and memory ahead of the freeze pay for the largest, and a warm move takes no memory along whatever its size.
func (b *bench) modes(mb int) []string {
	list := []string{live, bare, cold}
	if mb == b.Sizes[len(b.Sizes)-1] {
		list = append(list, plain, lazy)
	}
	if mb == b.Sizes[0] {
		list = append(list, warm)
	}
	if len(b.Only) > 0 {
		list = slices.DeleteFunc(list, func(mode string) bool { return !slices.Contains(b.Only, mode) })
	}
	return list
}

// size measures one size, its modes in turn: what slows this machine down for a while does so for all of them.
func (b *bench) size(ctx context.Context, mb int) (err error) {
	s, err := b.deploy(ctx, mb)
	if err != nil {
		return err
	}
	var container *bareContainer
	if slices.Contains(b.modes(mb), bare) {
		if container, err = newBare(ctx, b.suite, s.node, s.container); err != nil {
			return fmt.Errorf("bare container: %w", err)
		}
		defer container.remove(ctx)
	}
	skipped := map[string]string{}
	for n := 1; n <= b.Runs; n++ {
		for _, mode := range b.modes(mb) {
			r := run{Mode: mode, MB: mb, N: n, Begun: time.Now().UTC(), Skipped: skipped[mode]}
			if r.Load, err = loadAverage(); err != nil {
				return err
			}
			dir := filepath.Join(b.dir, r.name())
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
			switch {
			case r.Skipped != "":
			case mode == bare:
				r, err = b.bare(ctx, dir, r, container)
			default:
				r, err = b.move(ctx, dir, r, s)
			}
			if err == nil {
				err = r.write(dir)
			}
			if err == nil {
				r, err = readRun(dir)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", r.name(), err)
			}
			skipped[mode] = r.Skipped
			b.runs = append(b.runs, r)
			b.tell(r)
		}
	}
	_, err = b.suite.Nsctl(ctx, "remove", s.name)
	return err
}

// unfinished is the error of a run whose bench was killed.
const unfinished = "the bench ended before this run did"

// move orders one move while the clients ask. That it fails is a result; so is that nobody here does such moves.
func (b *bench) move(ctx context.Context, dir string, r run, s *subject) (run, error) {
	r.From, r.To = s.node.Name, s.other()
	r.Error = unfinished
	if err := r.write(dir); err != nil {
		return r, err
	}
	clients, err := startPlayer(ctx, b.suite.Bed.Clients[0].Netns, s.address, dir)
	if err != nil {
		return r, err
	}
	defer clients.kill()
	if err := clients.wait(ctx, settle); err != nil {
		return r, err
	}
	args := []string{"migrate", s.replica, "--to", r.To, "--json"}
	switch r.Mode {
	case lazy:
		args = append(args, "--mode", string(netmap.Live), "--lazy")
	case plain:
		args = append(args, "--mode", string(netmap.Live), "--precopy", "off")
	default:
		args = append(args, "--mode", r.Mode)
	}
	trace, moved := b.suite.Nsctl(ctx, args...)
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	r.Error = ""
	no := (*suite.NsctlError)(nil)
	switch {
	case moved == nil:
		if err := os.WriteFile(filepath.Join(dir, traceFile), []byte(trace), 0o644); err != nil {
			return r, err
		}
	case errors.As(moved, &no) && no.Code == 2 && (r.Mode == lazy || r.Mode == warm):
		r.Skipped = no.Said
	default:
		r.Error = moved.Error()
	}
	if err := clients.wait(ctx, settle); err != nil {
		return r, err
	}
	if err := clients.stop(); err != nil {
		return r, err
	}
	return r, s.find(ctx, b.suite)
}

// bare takes the bare container through one checkpoint and restore. That they fail is a result, too.
func (b *bench) bare(ctx context.Context, dir string, r run, container *bareContainer) (run, error) {
	r.Error = unfinished
	if err := r.write(dir); err != nil {
		return r, err
	}
	result, err := container.measure(ctx)
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	if err != nil {
		r.Error = err.Error()
		return r, nil
	}
	r.Error = ""
	return r, writeJSON(filepath.Join(dir, bareFile), result)
}

// tell says what came of a run and when the last one will have ended.
func (b *bench) tell(r run) {
	done := len(b.runs)
	left := time.Since(b.begun) * time.Duration(b.steps-done) / time.Duration(done)
	var what string
	switch {
	case r.Skipped != "":
		what = "skipped: " + r.Skipped
	case r.Error != "":
		what = "failed: " + r.Error
	case r.Mode == bare:
		what = fmt.Sprintf("checkpoint %.0f ms + restore %.0f ms", r.bare.CheckpointMS, r.bare.RestoreMS)
	default:
		what = fmt.Sprintf("%s to %s, gap %.0f ms, %d of %d requests failed, %d connections broken",
			r.From, r.To, r.gapMS(), r.seen.Failed, r.seen.Requests, r.seen.Broken)
	}
	say("%d of %d, about %v left: %s (load %.2f): %s", done, b.steps, left.Round(time.Second), r.name(), r.Load, what)
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
