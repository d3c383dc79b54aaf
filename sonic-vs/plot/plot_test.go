package plot

import (
	"bytes"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// figure has everything a drawing can show: two panels, a silence at an end, a narrow band at the right edge.
func figure() Figure {
	live := Panel{Title: "Live", Color: Black, Marks: []Mark{{0.1, "load rises"}, {0.9, "confirmed"}}, Levels: []Level{{0.2, 1, 2, "2.0 ms"}}, Bands: []Band{{1, 3, []string{"leaf1 → leaf2", "0 failed"}}, {3.9, 4, []string{"leaf2 → leaf1", "0 failed"}}}}
	for i := range 40 {
		p := Point{From: float64(i) / 10, To: float64(i+1) / 10, MS: 2, State: Answered}
		switch {
		case i >= 15 && i < 18 || i == 39:
			p = Point{From: p.From, To: p.To, State: Silent}
		case i == 18:
			p.MS = 200
		case i > 30 && i < 35:
			p.State = Idle
		}
		live.Points = append(live.Points, p)
	}
	return Figure{"Latency", "a note", "drawn as 0", "failed", []Panel{live, {Title: "Cold", Color: Red, Failed: []float64{1, 1.01, 2}}}}
}

func TestWrite(t *testing.T) {
	base := filepath.Join(t.TempDir(), "latency")
	if err := Write(base, figure()); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(base + ".svg")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Latency", "a note", "drawn as 0", "failed", "Live", "Cold", "leaf1 → leaf2", "0 failed", "load rises", "confirmed", "2.0 ms", "mean latency (ms)", "time since the load began (s)"} {
		if !strings.Contains(string(svg), ">"+want+"<") {
			t.Errorf("the figure does not say %q", want)
		}
	}
	f, err := os.Open(base + ".png")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	marks := 0
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			r, g, b, _ := img.At(x, y).RGBA()
			if [3]uint32{r >> 8, g >> 8, b >> 8} == [3]uint32{0xf2, 0x8e, 0x00} {
				marks++
			}
		}
	}
	if marks < 1000 {
		t.Errorf("%d pixels in the colour of silence", marks)
	}
	if err := Write(base+"2", figure()); err != nil {
		t.Fatal(err)
	}
	again, err := os.ReadFile(base + "2.svg")
	if err != nil || !bytes.Equal(svg, again) {
		t.Errorf("the same figure gave another drawing (%v)", err)
	}
}

func TestSilencesAreJoined(t *testing.T) {
	var got [][2]float64
	for _, s := range silences(figure().Panels[0].Points) {
		got = append(got, [2]float64{s.From, s.To})
	}
	if diff := cmp.Diff([][2]float64{{1.5, 1.8}, {3.9, 4}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTicks(t *testing.T) {
	labels := func(f Figure, of func(end, top float64) []string) []string { return of(f.extent()) }
	got := labels(figure(), func(end, top float64) []string {
		var all []string
		for _, tick := range (latencies{top}).Ticks(0, fold(top)) {
			all = append(all, tick.Label)
		}
		return all
	})
	if diff := cmp.Diff([]string{"0", "3", "10", "30", "100"}, got); diff != "" {
		t.Error(diff)
	}
	for _, tt := range []struct {
		end   float64
		count int
		last  string
	}{{0.9, 10, "0.9"}, {2, 11, "2"}, {35, 8, "35"}, {3600, 13, "3600"}} {
		ticks := seconds{}.Ticks(0, tt.end)
		if last := ticks[len(ticks)-1].Label; len(ticks) != tt.count || last != tt.last {
			t.Errorf("%v s: %d ticks, last %q; want %d, %q", tt.end, len(ticks), last, tt.count, tt.last)
		}
	}
}
