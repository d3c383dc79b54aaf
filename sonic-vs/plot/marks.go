package plot

import (
	"image/color"
	"math"
	"strconv"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// bands shades spans over the whole height.
type bands struct {
	bands []Band
	top   float64
}

func (b bands) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, band := range b.bands {
		from, to := x(band.From), x(band.To)
		r := vg.Rectangle{Min: vg.Point{X: from, Y: y(0)}, Max: vg.Point{X: max(to, from+vg.Points(1)), Y: y(b.top)}}
		c.SetColor(shade)
		c.Fill(r.Path())
		border := draw.LineStyle{Color: edge, Width: vg.Points(0.8)}
		c.StrokeLine2(border, r.Min.X, r.Min.Y, r.Min.X, r.Max.Y)
		c.StrokeLine2(border, r.Max.X, r.Min.Y, r.Max.X, r.Max.Y)
	}
}

// labels writes each band's label at its top: inside, or beside the band when that is too narrow.
type labels struct{ bands []Band }

func (l labels) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	pad := vg.Points(6)
	for _, band := range l.bands {
		var widest vg.Length
		lines := make([]draw.TextStyle, len(band.Label))
		for i, s := range band.Label {
			lines[i] = style(11, Black)
			if i > 0 {
				lines[i] = style(10.5, grey)
			}
			lines[i].YAlign = draw.YTop
			widest = max(widest, lines[i].Width(s))
		}
		from, to := x(band.From), x(band.To)
		at, align := vg.Point{X: (from + to) / 2, Y: c.Max.Y - vg.Points(5)}, draw.XCenter
		switch {
		case widest+pad <= to-from:
		case to+pad+widest <= c.Max.X:
			at.X, align = to+pad, draw.XLeft
		default:
			at.X, align = from-pad, draw.XRight
		}
		for i, s := range band.Label {
			lines[i].XAlign = align
			c.FillText(lines[i], at, s)
			at.Y -= vg.Points(14)
		}
	}
}

// moments draws dashed lines over the whole height. Each label stands a row below the one before: moments may be close.
type moments struct{ marks []Mark }

func (m moments) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	dashed := draw.LineStyle{Color: grey, Width: vg.Points(1), Dashes: []vg.Length{vg.Points(4), vg.Points(3)}}
	for _, mark := range m.marks {
		c.StrokeLine2(dashed, x(mark.At), c.Min.Y, x(mark.At), c.Max.Y)
	}
	for row, mark := range m.marks {
		label := style(10.5, grey)
		label.YAlign = draw.YTop
		width := label.Width(mark.Label)
		at := vg.Point{X: x(mark.At) - vg.Points(5) - width, Y: c.Max.Y - vg.Points(5+14*float64(row))}
		if at.X < c.Min.X {
			at.X = x(mark.At) + vg.Points(5)
		}
		c.SetColor(color.White) // over the lines of other moments
		c.Fill(vg.Rectangle{Min: vg.Point{X: at.X, Y: at.Y - vg.Points(12)}, Max: vg.Point{X: at.X + width, Y: at.Y}}.Path())
		c.FillText(label, at, mark.Label)
	}
}

// levels draws each level over the curve.
type levels struct {
	levels []Level
	row    int // of the labels
}

func (l levels) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, v := range l.levels {
		at := y(fold(v.MS))
		c.StrokeLine2(draw.LineStyle{Color: level, Width: vg.Points(2)}, x(v.From), at, x(v.To), at)
		label := style(10.5, level)
		label.XAlign, label.YAlign = draw.XCenter, draw.YTop
		label.Font.Weight = xfont.WeightBold
		c.FillText(label, vg.Point{X: x((v.From + v.To) / 2), Y: c.Max.Y - vg.Points(5+14*float64(l.row))}, v.Label)
	}
}

// line joins the points of neighbouring steps; a silent step is zero and gets a mark on the zero line.
type line struct {
	points []Point
	color  color.Color
}

func (l line) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	c.SetColor(silent)
	for _, s := range silences(l.points) {
		r := vg.Rectangle{Min: vg.Point{X: x(s.From), Y: y(0)}, Max: vg.Point{X: x(s.To), Y: y(0) + vg.Points(5)}}
		c.Fill(r.Path())
	}
	stroke := draw.LineStyle{Color: l.color, Width: vg.Points(1.3)}
	var run []vg.Point
	flush := func() {
		switch len(run) {
		case 0:
		case 1:
			c.DrawGlyph(draw.GlyphStyle{Color: l.color, Radius: vg.Points(1), Shape: draw.CircleGlyph{}}, run[0])
		default:
			c.StrokeLines(stroke, run)
		}
		run = nil
	}
	for _, pt := range l.points {
		switch pt.State {
		case Idle:
			flush()
		case Answered:
			run = append(run, vg.Point{X: x((pt.From + pt.To) / 2), Y: y(fold(pt.MS))})
		case Silent:
			run = append(run, vg.Point{X: x((pt.From + pt.To) / 2), Y: y(0)})
		}
	}
	flush()
}

// failures puts a cross above the zero line for each request that failed, at the time it was due.
type failures struct{ at []float64 }

func (f failures) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, at := range f.at {
		cross(c, vg.Point{X: x(at), Y: y(0) + vg.Points(14)})
	}
}

func cross(c draw.Canvas, at vg.Point) {
	c.DrawGlyph(draw.GlyphStyle{Color: Black, Radius: vg.Points(3), Shape: draw.CrossGlyph{}}, at)
}

// silences joins neighbouring silent steps.
func silences(points []Point) []Point {
	var all []Point
	joined := false
	for _, p := range points {
		if p.State == Silent && joined {
			all[len(all)-1].To = p.To
		} else if p.State == Silent {
			all = append(all, p)
		}
		joined = p.State == Silent
	}
	return all
}

// seconds ticks at round steps, about ten of them.
type seconds struct{}

func (seconds) Ticks(from, to float64) []plot.Tick {
	step := 0.0
	for _, s := range []float64{0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600} {
		if step = s; (to-from)/s <= 14 {
			break
		}
	}
	var ticks []plot.Tick
	for i := math.Ceil(from / step); i*step <= to+step/1000; i++ {
		v := math.Round(i*step*10) / 10 // tenths have no exact form
		ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'f', -1, 64)})
	}
	return ticks
}

// latencies ticks at 0, 3, 10, 30, ... up to the highest latency drawn.
type latencies struct{ top float64 }

func (l latencies) Ticks(from, to float64) []plot.Tick {
	ticks := []plot.Tick{{Value: 0, Label: "0"}}
	for decade := 1.0; decade <= l.top; decade *= 10 {
		for _, v := range []float64{3 * decade, 10 * decade} {
			if v <= l.top {
				ticks = append(ticks, plot.Tick{Value: fold(v), Label: strconv.FormatFloat(v, 'f', -1, 64)})
			}
		}
	}
	return ticks
}
