package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/sonic-vs/overlay"
	"sonic-netservices/sonic-vs/testbed"
)

func n2nCommand() *cobra.Command {
	var o N2NOptions
	c := &cobra.Command{
		Use:   "n2n",
		Short: "measure the N2N overlay beside ntop's: TCP, small and large UDP, round trips, supernodes of 10,000 edges",
		Long: `Raises two plain hosts and supernodes on an internet without delay. In each round, for each transform, a pair of our edges and
then a pair of ntop's carry one TCP stream (iperf3); then our edge sends to ntop's; then both pairs carry UDP at a rate that is
searched for, the highest at which less than 1 % is lost; then pings. Supernodes of both makers are filled with 10,000 simulated
edges and forward between them. The codec is measured in this process.
What iperf3 and ping said is kept in out/bench/n2n, and all figures are computed from that.
Exit code 1: something could not be measured, or a figure is below its limit.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return N2N(cmd.Context(), o, cmd.OutOrStdout()) },
	}
	f := c.Flags()
	f.StringVarP(&o.Topology, "topology", "t", "sonic-vs/topologies/overlay.yaml", "topology `file` with left-open, right-open, sn1, sn2")
	f.StringVar(&o.Instance, "instance", "benchn2n", "`name` of the set of hosts, raised anew and taken down")
	f.StringVar(&o.Out, "out", "out", "`folder` that gets bench.jsonl and bench/n2n/; the records of an earlier run are removed")
	f.IntVar(&o.Rounds, "rounds", 3, "of all measurements")
	f.DurationVar(&o.Time, "time", 3*time.Second, "of one TCP stream")
	f.IntVar(&o.Edges, "edges", 10_000, "simulated edges of a supernode, 1000 or more")
	f.StringSliceVar(&o.Only, "only", nil, "only these of "+strings.Join(n2nKinds, ", "))
	return c
}

// N2NOptions of `sonic-vs bench n2n`.
type N2NOptions struct {
	Topology string
	Instance string
	Out      string
	Rounds   int
	Time     time.Duration
	Edges    int
	Only     []string
}

// What is measured.
const (
	kindTCP   = "tcp"
	kindPeer  = "peer" // ours to ntop's, TCP
	kindUDP   = "udp"
	kindRTT   = "rtt"
	kindCrowd = "supernode"
	kindCodec = "codec"
)

var n2nKinds = []string{kindTCP, kindPeer, kindUDP, kindRTT, kindCrowd, kindCodec}

// wireRun is one measurement; what was measured is in its file.
type wireRun struct {
	Kind      string        `json:"kind"`
	Maker     overlay.Maker `json:"maker"`
	Transform string        `json:"transform,omitempty"`
	Round     int           `json:"round"`
	Size      int           `json:"size,omitempty"` // of a datagram
	File      string        `json:"file"`
	Load      float64       `json:"load"`
}

const wireFile = "runs.jsonl"

// wire is a bench of overlays while it runs.
type wire struct {
	N2NOptions
	bed  *overlay.Bed
	dir  string
	runs []wireRun
	sn   map[overlay.Maker]*overlay.Supernode
	next int // number of the next community
}

var benchTransforms = []n2n.TransformID{n2n.TransformNull, n2n.TransformAES, n2n.TransformChaCha20, n2n.TransformSpeck}

// N2N measures overlays.
func N2N(ctx context.Context, o N2NOptions, out io.Writer) (err error) {
	if o.Rounds < 1 || o.Time < time.Second || o.Edges < 1000 {
		return fmt.Errorf("--rounds %d --time %v --edges %d: want 1, 1s and 1000 or more", o.Rounds, o.Time, o.Edges)
	}
	for _, kind := range o.Only {
		if !slices.Contains(n2nKinds, kind) {
			return fmt.Errorf("--only %q: want some of %s", kind, strings.Join(n2nKinds, ", "))
		}
	}
	w := &wire{N2NOptions: o, dir: filepath.Join(o.Out, "bench", "n2n"), sn: map[overlay.Maker]*overlay.Supernode{}}
	if err := os.RemoveAll(w.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return err
	}
	if err := testbed.Down(ctx, o.Instance); err != nil && !errors.Is(err, testbed.ErrNotUp) {
		return err
	}
	bed, err := testbed.Up(ctx, testbed.Options{Topology: o.Topology, Instance: o.Instance})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, testbed.Down(context.WithoutCancel(ctx), o.Instance)) }()
	if w.bed, err = overlay.New(bed, ".", filepath.Join(w.dir, "logs")); err != nil {
		return err
	}
	if err := w.measure(ctx); err != nil {
		return err
	}
	if err := w.writeRuns(); err != nil {
		return err
	}
	all, err := wireFigures(w.dir)
	if err != nil {
		return err
	}
	if err := appendFigures(filepath.Join(o.Out, figureFile), plainFigures(all)); err != nil {
		return err
	}
	return showWire(out, all)
}

func (w *wire) wants(kind string) bool { return len(w.Only) == 0 || slices.Contains(w.Only, kind) }

func (w *wire) measure(ctx context.Context) error {
	if w.wants(kindCodec) {
		if err := w.codec(); err != nil {
			return err
		}
	}
	for site, maker := range map[string]overlay.Maker{"sn1": overlay.Ours, "sn2": overlay.Ntop} {
		sn, err := w.bed.StartSupernode(overlay.SupernodeOptions{Site: site, Maker: maker})
		if err != nil {
			return err
		}
		w.sn[maker] = sn
		defer sn.Stop()
	}
	for _, site := range []string{"left-open", "right-open"} {
		if err := w.bed.CountFlows(site); err != nil {
			return err
		}
	}
	time.Sleep(time.Second)
	for round := 1; round <= w.Rounds; round++ {
		for _, t := range benchTransforms {
			for _, maker := range []overlay.Maker{overlay.Ours, overlay.Ntop} {
				if err := w.pair(ctx, round, maker, maker, t); err != nil {
					return fmt.Errorf("round %d, %s, %s: %w", round, t, maker, err)
				}
			}
		}
		if w.wants(kindPeer) {
			if err := w.pair(ctx, round, overlay.Ours, overlay.Ntop, n2n.TransformNull); err != nil {
				return fmt.Errorf("round %d, ours to ntop's: %w", round, err)
			}
		}
	}
	if w.wants(kindCrowd) {
		return w.crowds(ctx)
	}
	return nil
}

// pair raises two edges and measures between them.
func (w *wire) pair(ctx context.Context, round int, from, to overlay.Maker, t n2n.TransformID) error {
	peer := from != to
	plain := t == n2n.TransformNull && !peer // what is measured once for a pair
	if !w.wants(kindTCP) && !peer && !(plain && (w.wants(kindUDP) || w.wants(kindRTT))) {
		return nil
	}
	number := w.next
	w.next++
	community := overlay.Community{Name: fmt.Sprintf("bench%d", number), Mode: overlay.Plain, Transform: t, Net: benchNet(number)}
	say("round %d: %s to %s, %s", round, from, to, t)
	left, err := w.bed.StartEdge(overlay.EdgeOptions{Site: "left-open", Maker: from, Community: community, Supernode: w.sn[to], Host: 1, Number: number})
	if err != nil {
		return err
	}
	defer left.Stop()
	right, err := w.bed.StartEdge(overlay.EdgeOptions{Site: "right-open", Maker: to, Community: community, Supernode: w.sn[to], Host: 2, Number: number})
	if err != nil {
		return err
	}
	defer right.Stop()
	if _, err := w.bed.Meet(ctx, left, right, 30*time.Second); err != nil {
		return err
	}
	if way, err := w.bed.AwaitDirect(ctx, left, right, 30*time.Second); err != nil || way != overlay.Direct {
		return fmt.Errorf("traffic goes by %s: %w", way, err)
	}
	run := wireRun{Kind: kindTCP, Maker: from, Transform: t.String(), Round: round}
	if peer {
		run.Kind = kindPeer
	}
	if w.wants(run.Kind) {
		seconds := strconv.FormatFloat(w.Time.Seconds(), 'f', -1, 64)
		if err := w.iperf(ctx, run, left, right, "-t", seconds); err != nil {
			return err
		}
	}
	if !plain {
		return nil
	}
	if w.wants(kindRTT) {
		run.Kind = kindRTT
		if err := w.pings(ctx, run, left, right); err != nil {
			return err
		}
	}
	if w.wants(kindUDP) {
		for _, size := range udpSizes {
			run.Kind, run.Size = kindUDP, size
			if err := w.search(ctx, run, left, right); err != nil {
				return err
			}
		}
	}
	return nil
}

// add keeps a measurement.
func (w *wire) add(run wireRun, text []byte) error {
	var err error
	if run.Load, err = loadAverage(); err != nil {
		return err
	}
	run.File = fmt.Sprintf("%03d-%s-%s.json", len(w.runs)+1, run.Kind, run.Maker)
	w.runs = append(w.runs, run)
	return os.WriteFile(filepath.Join(w.dir, run.File), text, 0o644)
}

func (w *wire) writeRuns() error {
	var text strings.Builder
	enc := json.NewEncoder(&text)
	for _, r := range w.runs {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(w.dir, wireFile), []byte(text.String()), 0o644)
}

// iperf sends from left to right.
func (w *wire) iperf(ctx context.Context, run wireRun, left, right *overlay.Edge, args ...string) error {
	text, err := w.iperfText(ctx, left, right, args...)
	if err != nil {
		return err
	}
	return w.add(run, text)
}

func (w *wire) iperfText(ctx context.Context, left, right *overlay.Edge, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, w.Time+30*time.Second)
	defer cancel()
	server := exec.CommandContext(ctx, "iperf3", "-s", "-1", "-B", right.Address.String())
	if err := w.bed.InNetns(right.Site, server.Start); err != nil {
		return nil, err
	}
	defer func() {
		server.Process.Kill() // it has ended, unless the client failed
		server.Wait()
	}()
	var said error
	for range 20 { // until the server listens
		client := exec.CommandContext(ctx, "iperf3", append([]string{"-c", right.Address.String(), "-J"}, args...)...)
		var out strings.Builder
		client.Stdout, client.Stderr = &out, &out
		if err := w.bed.InNetns(left.Site, client.Start); err != nil {
			return nil, err
		}
		// With -J it ends with 0 also when it has found no server.
		err := client.Wait()
		if err == nil && !strings.Contains(out.String(), "\"error\":") {
			return []byte(out.String()), nil
		}
		if said = fmt.Errorf("iperf3 %q: %w: %s", args, err, out.String()); ctx.Err() != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, said
}

func (w *wire) pings(ctx context.Context, run wireRun, left, right *overlay.Edge) error {
	p, err := w.bed.Ping(ctx, left, right, 200, 5*time.Millisecond)
	if err != nil {
		return err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return w.add(run, text)
}

// What UDP is measured with.
var udpSizes = []int{64, 1200}

// search looks for the highest rate of datagrams of which less than 1 % gets lost: twice as many until it is more, then
// between the two.
func (w *wire) search(ctx context.Context, run wireRun, left, right *overlay.Edge) error {
	try := func(packets int) (bool, error) {
		bits := strconv.Itoa(packets * run.Size * 8)
		text, err := w.iperfText(ctx, left, right, "-u", "-t", "1", "-l", strconv.Itoa(run.Size), "-b", bits)
		if err != nil {
			return false, err
		}
		if err := w.add(run, text); err != nil {
			return false, err
		}
		u, err := readUDP(text)
		// A sender that does not keep up cannot find a higher rate.
		return err == nil && u.lost < mostLoss && u.sent > 0.8*float64(packets), err
	}
	good, bad := 0, 0
	for packets := 5000; packets <= 640_000; packets *= 2 {
		ok, err := try(packets)
		if err != nil {
			return err
		}
		if !ok {
			bad = packets
			break
		}
		good = packets
	}
	for range 2 {
		if bad == 0 {
			break
		}
		middle := (good + bad) / 2
		ok, err := try(middle)
		if err != nil {
			return err
		}
		if ok {
			good = middle
		} else {
			bad = middle
		}
	}
	return nil
}
