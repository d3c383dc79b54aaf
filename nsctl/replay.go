package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/btlog"
)

// replayForm is how a log is to be shown.
type replayForm struct {
	pictures bool
	from     time.Duration
	at       time.Duration
	still    bool // at was given
	speed    float64
}

// change is a status change of a node as --json shows it, one object a line.
type change struct {
	At    string `json:"at"`       // RFC 3339
	Since int64  `json:"since_us"` // after the log began
	UID   int    `json:"uid"`
	Path  string `json:"path"`
	From  string `json:"from"`
	To    string `json:"to"`
}

// moment is a tree at one time as --json --tree shows it, one object a line.
type moment struct {
	At    string       `json:"at"`
	Since int64        `json:"since_us"`
	Nodes []momentNode `json:"nodes"`
}

type momentNode struct {
	UID    int    `json:"uid"`
	Parent int    `json:"parent,omitempty"`
	Name   string `json:"name"`
	Type   string `json:"type"`
	Path   string `json:"path"`
	Status string `json:"status"`
}

func (c *cli) replay() *cobra.Command {
	var form replayForm
	var ago int32
	var save string
	cmd := &cobra.Command{
		Use:   "replay FILE.btlog|REPLICA|SERVICE [--from DURATION] [--speed N] [--tree [--at DURATION]]",
		Short: "Show what a behaviour tree did, from its log",
		Long: `Show what a behaviour tree did: when which node went from which status to which. With --tree, the tree as nsctl tree
draws it, each time something changed, or --at one moment. The log is a file, which Groot2 opens, too, or the one the
manager keeps of a replica ("intake": of the intake tree); --ago 1 is the file before the newest. A tree that does again
what it did in its last tick is not logged again. A log whose writer was killed is shown up to there.`,
		Example: "  nsctl replay kms --tree --at 5s\n  nsctl replay kms -o kms.btlog\n  nsctl replay kms.btlog --tree --speed 10",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			form.still = cmd.Flags().Changed("at")
			switch {
			case form.still && !form.pictures:
				return refused(errors.New("--at: only with --tree"))
			case form.from < 0 || form.at < 0 || form.speed < 0:
				return refused(errors.New("--from, --at and --speed: not negative"))
			}
			in, err := c.log(cmd.Context(), args[0], ago)
			if err != nil {
				return err
			}
			defer in.Close()
			if save != "" {
				return saveLog(save, in)
			}
			return c.play(cmd.Context(), in, form)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&form.pictures, "tree", false, "draw the tree, each time something has changed")
	flags.DurationVar(&form.from, "from", 0, "leave out what happened earlier after the beginning of the log")
	flags.DurationVar(&form.at, "at", 0, "with --tree: only as it was that long after the beginning")
	flags.Float64Var(&form.speed, "speed", 0, "so many times as fast as it was; 0: at once")
	flags.Int32Var(&ago, "ago", 0, "of a replica: so many files before the newest")
	flags.StringVarP(&save, "output", "o", "", "save the log to this file")
	return cmd
}

// log opens a log: a file, or what the manager has.
func (c *cli) log(ctx context.Context, name string, ago int32) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if err == nil {
		return f, nil
	}
	if !errors.Is(err, os.ErrNotExist) || strings.HasSuffix(name, ".btlog") {
		return nil, refused(err)
	}
	manager, err := c.connect()
	if err != nil {
		return nil, err
	}
	stream, err := manager.Recording(ctx, &api.RecordingRequest{Replica: name, Ago: ago})
	if err != nil {
		return nil, err
	}
	first, err := stream.Recv() // or what is wrong with the request
	if err != nil {
		return nil, err
	}
	return io.NopCloser(&chunks{stream, first.Data}), nil
}

// chunks reads the bytes of a stream.
type chunks struct {
	stream interface{ Recv() (*api.Chunk, error) }
	rest   []byte
}

func (r *chunks) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		chunk, err := r.stream.Recv()
		if err != nil {
			return 0, err
		}
		r.rest = chunk.Data
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func saveLog(name string, in io.Reader) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o644)
}

// player shows a log as it is read.
type player struct {
	*cli
	replayForm
	log   *btlog.Reader
	now   time.Duration // of the changes that are collected
	state []btlog.Status
	last  []btlog.Status // what nodes answered in this moment, though they may be IDLE again
	dirty bool
}

// play shows a log. What a writer that was killed left unfinished is no error.
func (c *cli) play(ctx context.Context, in io.Reader, form replayForm) error {
	log, err := btlog.NewReader(in)
	if err != nil {
		return badLog(err)
	}
	p := &player{cli: c, replayForm: form, log: log, now: -1,
		state: make([]btlog.Status, len(log.Tree.Nodes)), last: make([]btlog.Status, len(log.Tree.Nodes))}
	for {
		next, err := log.Next()
		if errors.Is(err, btlog.ErrCut) {
			fmt.Fprintf(c.stderr, "nsctl: %v\n", err)
			err = io.EOF
		}
		if err != nil && err != io.EOF {
			return badLog(err)
		}
		over := err == io.EOF || p.still && next.Since > p.at
		if over || next.Since != p.now {
			if err := p.moment(over); err != nil || over {
				return err
			}
			if !p.wait(ctx, next.Since) {
				return nil // Ctrl-C is how playing ends
			}
		}
		if err := p.take(next); err != nil {
			return err
		}
	}
}

// badLog keeps the code of a manager that breaks off; a log that is none is refused input.
func badLog(err error) error {
	if status.Code(err) != codes.Unknown {
		return err
	}
	return refused(err)
}

// wait lets the time pass until a moment, as far as it is to be shown.
func (p *player) wait(ctx context.Context, next time.Duration) bool {
	if p.speed > 0 && next > max(p.now, p.from) && !p.still {
		select {
		case <-time.After(time.Duration(float64(next-max(p.now, p.from, 0)) / p.speed)):
		case <-ctx.Done():
			return false
		}
	}
	p.now = next
	clear(p.last)
	return true
}

// take shows a change, or collects it for the picture of its moment.
func (p *player) take(ch btlog.Change) error {
	p.dirty = true
	p.state[ch.Node.UID-1] = ch.To
	if ch.To != btlog.Idle {
		p.last[ch.Node.UID-1] = ch.To
	}
	if p.pictures || ch.Since < p.from {
		return nil
	}
	at := p.time(ch.Since)
	if p.json {
		return p.line(change{at, ch.Since.Microseconds(), ch.Node.UID, ch.Node.Path, ch.From.String(), ch.To.String()})
	}
	_, err := fmt.Fprintf(p.stdout, "%s  %+12.6f s  %s  %v -> %v\n", at, ch.Since.Seconds(), ch.Node.Path, ch.From, ch.To)
	return err
}

// moment shows the tree as it is now, if that is asked for.
func (p *player) moment(over bool) error {
	if !p.pictures || !p.dirty && !over || p.now < p.from && !p.still || p.still && !over {
		return nil
	}
	p.dirty = false
	shown := max(p.now, 0)
	if p.still {
		shown = p.at
	}
	m := moment{p.time(shown), shown.Microseconds(), []momentNode{}}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %+12.6f s\n", m.At, shown.Seconds())
	for i, n := range p.log.Tree.Nodes {
		st := cmp.Or(p.state[i], p.last[i])
		m.Nodes = append(m.Nodes, momentNode{n.UID, n.Parent, n.Name, n.Type, n.Path, st.String()})
		b.WriteString(n.Line(st, "") + "\n")
	}
	if p.json {
		return p.line(m)
	}
	if !p.still {
		b.WriteByte('\n') // between two pictures
	}
	p.draw(b.String(), p.speed > 0 && !p.still)
	return nil
}

// time of the log's clock.
func (p *player) time(since time.Duration) string {
	return p.log.Began.Add(since).UTC().Format("2006-01-02T15:04:05.000000Z07:00")
}

func (p *player) line(v any) error { return json.NewEncoder(p.stdout).Encode(v) }
