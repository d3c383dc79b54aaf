package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"text/tabwriter"

	"sonic-netservices/sonic-vs/overlay"
)

// mostLoss is how much of UDP may get lost, of 1.
const mostLoss = 0.01

func benchNet(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 98, byte(n), 0}), 24)
}

// wireFigure is a figure of overlays, and how much of its baseline it has to be at least and shall be.
type wireFigure struct {
	Figure
	least, goal float64 // of the ratio; 0: any
	most        float64 // of the value; negative: any
}

func (f wireFigure) check() error {
	switch {
	case f.least > 0 && (f.Ratio == nil || *f.Ratio < f.least):
		return fmt.Errorf("%s: ratio %s, want %v at least", f.Name, optional(f.Ratio), f.least)
	case f.most >= 0 && f.Value > f.most:
		return fmt.Errorf("%s: %v, want %v at most", f.Name, f.Value, f.most)
	}
	return nil
}

func plainFigures(all []wireFigure) (list []Figure) {
	for _, f := range all {
		list = append(list, f.Figure)
	}
	return list
}

// udpRun is what iperf3 says of a run with datagrams.
type udpRun struct {
	sent, received float64 // a second
	lost           float64 // of 1
}

func readUDP(text []byte) (udpRun, error) {
	var r struct {
		End struct {
			Sum struct {
				Seconds     float64 `json:"seconds"`
				Packets     float64 `json:"packets"`
				LostPackets float64 `json:"lost_packets"`
			} `json:"sum"`
		} `json:"end"`
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return udpRun{}, err
	}
	s := r.End.Sum
	if s.Seconds <= 0 || s.Packets <= 0 {
		return udpRun{}, errors.New("iperf3 says nothing of datagrams")
	}
	return udpRun{s.Packets / s.Seconds, (s.Packets - s.LostPackets) / s.Seconds, s.LostPackets / s.Packets}, nil
}

// readTCP gives Mbit/s that were received.
func readTCP(text []byte) (float64, error) {
	var r struct {
		End struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return 0, err
	}
	if r.End.Received.Bits <= 0 {
		return 0, errors.New("iperf3 received nothing")
	}
	return r.End.Received.Bits / 1e6, nil
}

// wireValues are the measurements of a bench by what they are of, one a round.
type wireValues struct {
	values map[wireKey]map[int]float64
	loads  map[wireKey][]float64
	crowds map[overlay.Maker][]crowdRecord
	codecs []codecRecord
}

type wireKey struct {
	kind, transform string
	maker           overlay.Maker
	size            int
}

func (v *wireValues) add(r wireRun, dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, r.File))
	if err != nil {
		return err
	}
	key := wireKey{r.Kind, r.Transform, r.Maker, r.Size}
	var value float64
	switch r.Kind {
	case kindTCP, kindPeer:
		value, err = readTCP(text)
	case kindUDP:
		var u udpRun
		u, err = readUDP(text)
		if u.lost >= mostLoss {
			u.received = 0
		}
		value = max(u.received, v.values[key][r.Round]) // the best of a round
	case kindRTT:
		var p overlay.Pings
		err = json.Unmarshal(text, &p)
		value = p.RTT
	case kindCrowd:
		var c crowdRecord
		if err = json.Unmarshal(text, &c); err == nil {
			v.crowds[r.Maker] = append(v.crowds[r.Maker], c)
		}
	case kindCodec:
		err = json.Unmarshal(text, &v.codecs)
	default:
		err = fmt.Errorf("kind %q", r.Kind)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.File, err)
	}
	if v.values[key] == nil {
		v.values[key] = map[int]float64{}
	}
	v.values[key][r.Round] = value
	v.loads[key] = append(v.loads[key], r.Load)
	return nil
}

// wireFigures computes all figures from the records of a bench.
func wireFigures(dir string) ([]wireFigure, error) {
	f, err := os.Open(filepath.Join(dir, wireFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	v := &wireValues{map[wireKey]map[int]float64{}, map[wireKey][]float64{}, map[overlay.Maker][]crowdRecord{}, nil}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var r wireRun
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		if err := v.add(r, dir); err != nil {
			return nil, err
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	var all []wireFigure
	for _, t := range benchTransforms {
		limits := map[string][2]float64{"null": {5, 10}, "aes": {3, 6}, "chacha20": {3, 5}, "speck": {3, 5}}[t.String()]
		ours, ntop := wireKey{kindTCP, t.String(), overlay.Ours, 0}, wireKey{kindTCP, t.String(), overlay.Ntop, 0}
		all = v.compare(all, "tcp_"+t.String()+"_vs_ntop", "Mbit/s", ours, ntop, limits[0], limits[1])
	}
	null := func(kind string, maker overlay.Maker, size int) wireKey { return wireKey{kind, "null", maker, size} }
	all = v.compare(all, "to_ntop_peer_vs_ntop", "Mbit/s", null(kindPeer, overlay.Ours, 0), null(kindTCP, overlay.Ntop, 0), 1, 0)
	all = v.compare(all, "rtt_vs_ntop", "ms", null(kindRTT, overlay.Ours, 0), null(kindRTT, overlay.Ntop, 0), 0, 0)
	for _, size := range udpSizes {
		all = v.compare(all, fmt.Sprintf("udp_pps_%d_vs_ntop", size), "packets/s", null(kindUDP, overlay.Ours, size), null(kindUDP, overlay.Ntop, size), 0, 0)
	}
	all = append(all, crowdFigures(v)...)
	return append(all, codecFigures(v)...), nil
}

// compare adds a figure with the median of its rounds beside that of ntop's, and the median of the rounds' ratios: what else
// the machine does is the same for both of a round.
func (v *wireValues) compare(all []wireFigure, name, unit string, ours, ntop wireKey, least, goal float64) []wireFigure {
	var values, baselines, ratios []float64
	for round, value := range v.values[ours] {
		values = append(values, value)
		if base, ok := v.values[ntop][round]; ok && base > 0 {
			baselines = append(baselines, base)
			ratios = append(ratios, value/base)
		}
	}
	if len(values) == 0 {
		return all
	}
	f := Figure{Name: "n2n." + name, Value: median(values), Unit: unit, Runs: len(values), Load: median(v.loads[ours])}
	if len(ratios) > 0 {
		base, ratio := median(baselines), median(ratios)
		f.Baseline, f.Ratio = &base, &ratio
	}
	return append(all, wireFigure{Figure: f, least: least, goal: goal, most: -1})
}

// showWire prints the figures, and says which are below their limits.
func showWire(out io.Writer, all []wireFigure) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FIGURE\tVALUE\tUNIT\tNTOP\tRATIO\tLEAST\tGOAL\tRUNS\tLOAD")
	var below error
	for _, f := range all {
		limit := func(v float64) string {
			if v <= 0 {
				return "-"
			}
			return fmt.Sprint(v)
		}
		fmt.Fprintf(table, "%s\t%v\t%s\t%s\t%s\t%s\t%s\t%d\t%.2f\n", f.Name, f.Value, f.Unit, optional(f.Baseline), optional(f.Ratio),
			limit(f.least), limit(f.goal), f.Runs, f.Load)
		below = errors.Join(below, f.check())
	}
	table.Flush()
	return below
}

// checkWire computes the figures of a bench again and compares them with what was written.
func checkWire(dir, lines string, out io.Writer) error {
	all, err := wireFigures(dir)
	if err != nil {
		return err
	}
	below := showWire(out, all)
	written, err := readFigures(lines)
	if err != nil {
		return err
	}
	return errors.Join(compare(plainFigures(all), written), below)
}
