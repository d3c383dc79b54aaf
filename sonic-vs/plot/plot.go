// Package plot draws latency over time the way the behaviour-tree paper does (figure 8, P1-71 to P1-73): one line a
// load, and zero where requests were due and none was answered.
//
// It reads the values it is given and writes SVG and PNG; it is told by sonic-vs/load.
package plot

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Figure is a title and panels below each other that share both axes, so that they can be compared by eye.
type Figure struct {
	Title  string
	Note   string // below the title: what a point is
	Silent string // what the marks on the zero line mean
	Failed string // what the crosses mean
	Panels []Panel
}

// Panel is one load.
type Panel struct {
	Title  string
	Color  color.Color
	Points []Point
	Failed []float64 // seconds: when a request was due that failed
	Bands  []Band
	Marks  []Mark
	Levels []Level
}

// Point is the mean over one step of time.
type Point struct {
	From, To float64 // seconds
	MS       float64
	State    State
}

// State of a point.
type State int

const (
	Idle     State = iota // nobody asked: nothing is drawn
	Answered              // MS holds
	Silent                // somebody waited and nobody was answered: drawn as 0, and marked
)

// Band is a shaded span with a label above it.
type Band struct {
	From, To float64 // seconds
	Label    []string
}

// Mark is a moment with a label left of it.
type Mark struct {
	At    float64 // seconds
	Label string
}

// Level is what a span is about: a line at its height, and its label in the middle, below those of moments.
type Level struct {
	From, To float64 // seconds
	MS       float64
	Label    string
}

// Colors of the paper's figure 8, and of what we add to it.
var (
	Black  = color.Gray{0x18}
	Red    = color.RGBA{0xc2, 0x1f, 0x30, 0xff}
	silent = color.RGBA{0xf2, 0x8e, 0x00, 0xff}
	shade  = color.RGBA{0xdd, 0xe6, 0xf0, 0xff}
	edge   = color.RGBA{0x9a, 0xb0, 0xc8, 0xff}
	level  = color.RGBA{0x1f, 0x6f, 0xb4, 0xff}
	grey   = color.Gray{0x55}
	faint  = color.Gray{0xe2}
)

// Sizes of the drawing.
const (
	width       = 12 * vg.Inch
	panelHeight = 3 * vg.Inch
	headHeight  = 1.05 * vg.Inch
	titleHeight = vg.Length(22) // of a panel, points
	margin      = 0.2 * vg.Inch
	pngDPI      = 144
)

// Write draws a figure into base.svg and base.png.
func Write(base string, f Figure) error {
	height := headHeight + panelHeight*vg.Length(len(f.Panels))
	svg := vgsvg.New(width, height)
	f.draw(draw.New(svg))
	var text bytes.Buffer
	if _, err := svg.WriteTo(&text); err != nil {
		return fmt.Errorf("draw %s.svg: %w", base, err)
	}
	png := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(pngDPI))}
	f.draw(draw.New(png))
	// gonum names only the font it measured with; a viewer that lacks it shall not fall back to a serif one.
	const family = "font-family:Liberation Sans"
	named := bytes.ReplaceAll(text.Bytes(), []byte(family), []byte(family+",Arial,Helvetica,sans-serif"))
	if err := os.WriteFile(base+".svg", named, 0o644); err != nil {
		return fmt.Errorf("draw: %w", err)
	}
	return save(base+".png", png)
}

func save(path string, c vg.CanvasWriterTo) error {
	w, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("draw: %w", err)
	}
	if _, err := c.WriteTo(w); err != nil {
		w.Close()
		return fmt.Errorf("draw %s: %w", path, err)
	}
	return w.Close()
}

func (f Figure) draw(c draw.Canvas) {
	c.SetColor(color.White)
	c.Fill(c.Rectangle.Path())
	c = draw.Crop(c, margin, -margin, margin, -margin)
	f.drawHead(c)

	end, top := f.extent()
	plots := make([][]*plot.Plot, len(f.Panels))
	for i, p := range f.Panels {
		plots[i] = []*plot.Plot{p.plot(end, top)}
	}
	plots[len(plots)-1][0].X.Label.Text = "time since the load began (s)"
	tiles := draw.Tiles{Rows: len(f.Panels), Cols: 1, PadTop: titleHeight, PadY: titleHeight + vg.Points(8)}
	body := draw.Crop(c, 0, 0, 0, -(headHeight - margin))
	for i, row := range plot.Align(plots, tiles, body) {
		plots[i][0].Draw(row[0])
		title := style(13, f.Panels[i].Color)
		title.Font.Weight = xfont.WeightBold
		c.FillText(title, vg.Point{X: c.Min.X, Y: row[0].Max.Y + vg.Points(6)}, f.Panels[i].Title)
	}
}

// drawHead writes title, note and the meaning of the marks.
func (f Figure) drawHead(c draw.Canvas) {
	at := vg.Point{X: c.Min.X, Y: c.Max.Y}
	title := style(17, Black)
	title.Font.Weight = xfont.WeightBold
	title.YAlign = draw.YTop
	c.FillText(title, at, f.Title)
	at.Y -= 0.34 * vg.Inch
	note := style(11, grey)
	note.YAlign = draw.YTop
	c.FillText(note, at, f.Note)
	if f.Silent == "" {
		return
	}
	at.Y -= 0.21 * vg.Inch
	mark := vg.Points(5)
	c.SetColor(silent)
	box := vg.Rectangle{Min: vg.Point{X: at.X, Y: at.Y - 2*mark}, Max: vg.Point{X: at.X + 5*mark, Y: at.Y - mark}}
	c.Fill(box.Path())
	at.X += 6.2 * mark
	c.FillText(note, at, f.Silent)
	at.X += note.Width(f.Silent) + 5*mark
	cross(c, vg.Point{X: at.X, Y: at.Y - 1.5*mark})
	at.X += 2 * mark
	c.FillText(note, at, f.Failed)
}

// extent is the end of the time axis and the top of the latency axis, for all panels.
func (f Figure) extent() (end, top float64) {
	top = 10
	for _, p := range f.Panels {
		for _, x := range p.Points {
			end = max(end, x.To)
			if x.State == Answered {
				top = max(top, x.MS)
			}
		}
	}
	return end, top
}

func (p Panel) plot(end, top float64) *plot.Plot {
	pl := plot.New()
	pl.X.Min, pl.X.Max = 0, end
	pl.X.Tick.Marker = seconds{}
	pl.Y.Min, pl.Y.Max = 0, fold(top)*1.5 // room for the labels of the bands
	pl.Y.Tick.Marker = latencies{top}
	pl.Y.Label.Text = "mean latency (ms)"
	for _, a := range []*plot.Axis{&pl.X, &pl.Y} {
		a.Color, a.Tick.Color = grey, grey
		for _, ts := range []*text.Style{&a.Label.TextStyle, &a.Tick.Label} {
			ts.Color, ts.Font.Variant, ts.Font.Size = grey, "Sans", 11
		}
		a.Label.Padding = vg.Points(6)
		a.Padding = 0
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color = nil
	grid.Horizontal.Color, grid.Horizontal.Width = faint, vg.Points(0.6)
	pl.Add(bands{p.Bands, pl.Y.Max}, grid, line{p.Points, p.Color}, failures{p.Failed}, labels{p.Bands}, moments{p.Marks}, levels{p.Levels, len(p.Marks)})
	return pl
}

// style is upright text in the embedded sans-serif font.
func style(size float64, c color.Color) text.Style {
	return text.Style{
		Color:   c,
		Font:    font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, font.Length(size)),
		Handler: plot.DefaultTextHandler,
	}
}

// fold places a latency on its axis: logarithmic, and yet with a zero, so that 1 ms, 300 ms and no answer are all seen.
func fold(ms float64) float64 { return math.Log10(1 + ms) }
