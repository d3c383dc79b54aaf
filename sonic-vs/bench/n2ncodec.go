package bench

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/sonic-vs/overlay"
)

// codecRecord is what the codec takes for a packet.
type codecRecord struct {
	Name   string    `json:"name"`
	Size   int       `json:"size"` // of the frame
	NS     []float64 `json:"ns"`   // of a packet, by run
	Allocs float64   `json:"allocs"`
}

// frameSize is that of a full TCP segment in an overlay of MTU 1290.
const frameSize = 1304

// codec measures a packet's way out and in: header, transform, and header encryption.
func (w *wire) codec() error {
	var jobs []*job
	var records []codecRecord
	add := func(name string, round func()) {
		jobs = append(jobs, &job{round: round})
		records = append(records, codecRecord{Name: name, Size: frameSize, Allocs: testing.AllocsPerRun(100, round)})
	}
	var failed error
	wire := make([]byte, n2n.MaxPacket)
	for id := n2n.TransformNull; id <= n2n.TransformSpeck; id++ {
		t, err := n2n.NewTransform(id, []byte("correct horse"), rand.NewChaCha8([32]byte{1}))
		if err != nil {
			return err
		}
		head := n2n.Packet{Header: n2n.Header{TTL: 2}, Compression: n2n.CompressionNone, Transform: id}
		add("seal_"+id.String(), func() {
			b := head.AppendHeader(wire[:0])
			t.Seal(b, wire[len(b)+t.Overhead():][:frameSize])
		})
		sealed := t.Seal(head.AppendHeader(nil), make([]byte, frameSize))
		buf := make([]byte, len(sealed))
		add("open_"+id.String(), func() {
			copy(buf, sealed)
			var p n2n.Packet
			err := p.Decode(buf)
			if err == nil {
				_, err = t.Open(p.Payload[:t.Overhead()], p.Payload)
			}
			if err != nil {
				failed = err
			}
		})
	}
	key := n2n.NewHeaderKey(n2n.Community{'c'})
	p := n2n.Packet{Header: n2n.Header{Community: n2n.Community{'c'}}, Payload: make([]byte, frameSize)}
	packet := p.Append(nil)
	add("seal_header", func() { key.Seal(packet, p.HeaderLen(), 1, 2) })
	sealed := p.Append(nil)
	key.Seal(sealed, p.HeaderLen(), 1, 2)
	buf := make([]byte, len(sealed))
	add("open_header", func() {
		copy(buf, sealed)
		if _, _, err := key.Open(buf); err != nil {
			failed = err
		}
	})
	for range 20 {
		for _, j := range jobs {
			j.run(2 * time.Millisecond)
		}
	}
	if failed != nil {
		return fmt.Errorf("codec: %w", failed)
	}
	for i, j := range jobs {
		records[i].NS = j.ns
	}
	text, err := json.Marshal(records)
	if err != nil {
		return err
	}
	return w.add(wireRun{Kind: kindCodec, Maker: overlay.Ours, Round: 1}, text)
}

// codecFigures are the least of all runs, since what else the machine does only adds.
func codecFigures(v *wireValues) (all []wireFigure) {
	if len(v.codecs) == 0 {
		return nil
	}
	load := median(v.loads[wireKey{kind: kindCodec, maker: overlay.Ours}])
	allocs := 0.0
	for _, r := range v.codecs {
		j := job{ns: r.NS}
		all = append(all, wireFigure{Figure: Figure{Name: "n2n.codec_" + r.Name, Value: round(j.least(), 10), Unit: "ns/packet", Runs: len(r.NS), Load: load}, most: -1})
		allocs = max(allocs, r.Allocs)
	}
	return append(all, wireFigure{Figure: Figure{Name: "n2n.codec_allocs", Value: allocs, Unit: "allocs/packet", Runs: len(v.codecs), Load: load}})
}
