// Package chart draws curves with 95 % intervals, as the papers' figures show them.
//
// It reads the values it is given and writes SVG and PNG; it is told by scheduler/experiment (docs/decisions/0060).
package chart

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Chart is one figure.
type Chart struct {
	Name  string // of its files
	Title string
	X, Y  string
	Lines []Line
}

// Line is one curve.
type Line struct {
	Name   string
	Points []Point
	Dashed bool // the paper's own numbers
}

// Point of a curve; Half is the interval's, NaN or 0: none.
type Point struct{ X, Y, Half float64 }

const (
	width  = 8 * vg.Inch
	height = 5 * vg.Inch
	dpi    = 144
)

var colors = []color.Color{
	color.RGBA{0x1f, 0x6f, 0xb4, 0xff}, color.RGBA{0xc2, 0x1f, 0x30, 0xff}, color.RGBA{0x2e, 0x8b, 0x57, 0xff},
	color.RGBA{0xf2, 0x8e, 0x00, 0xff}, color.RGBA{0x6a, 0x3d, 0x9a, 0xff}, color.Gray{0x40},
	color.RGBA{0x00, 0x96, 0x9c, 0xff}, color.RGBA{0x8c, 0x56, 0x4b, 0xff},
}

// Write draws a chart into base.svg and base.png.
func Write(base string, c Chart) error {
	p, err := c.plot()
	if err != nil {
		return fmt.Errorf("draw %s: %w", c.Name, err)
	}
	svg := vgsvg.New(width, height)
	p.Draw(draw.New(svg))
	var text bytes.Buffer
	if _, err := svg.WriteTo(&text); err != nil {
		return fmt.Errorf("draw %s.svg: %w", c.Name, err)
	}
	if err := os.WriteFile(base+".svg", text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("draw: %w", err)
	}
	png := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dpi))}
	p.Draw(draw.New(png))
	text.Reset()
	if _, err := png.WriteTo(&text); err != nil {
		return fmt.Errorf("draw %s.png: %w", c.Name, err)
	}
	if err := os.WriteFile(base+".png", text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("draw: %w", err)
	}
	return nil
}

func (c Chart) plot() (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.Title, c.X, c.Y
	p.Title.Padding = vg.Points(8)
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Points(2)
	p.BackgroundColor = color.White
	p.Add(plotter.NewGrid())
	for i, l := range c.Lines {
		if err := l.add(p, colors[i%len(colors)], i); err != nil {
			return nil, fmt.Errorf("line %s: %w", l.Name, err)
		}
	}
	// Room for the legend above the curves.
	p.Y.Max += (p.Y.Max - p.Y.Min) * 0.07 * float64(len(c.Lines))
	return p, nil
}

func (l Line) add(p *plot.Plot, col color.Color, i int) error {
	xy, bars := plotter.XYs{}, errorBars{}
	for _, pt := range l.Points {
		if math.IsNaN(pt.Y) || math.IsInf(pt.Y, 0) {
			continue
		}
		xy = append(xy, plotter.XY{X: pt.X, Y: pt.Y})
		half := pt.Half
		if math.IsNaN(half) {
			half = 0
		}
		bars.XYs = append(bars.XYs, plotter.XY{X: pt.X, Y: pt.Y})
		bars.YErrors = append(bars.YErrors, struct{ Low, High float64 }{half, half})
	}
	if len(xy) == 0 {
		return nil
	}
	line, points, err := plotter.NewLinePoints(xy)
	if err != nil {
		return err
	}
	line.Color, line.Width = col, vg.Points(1.5)
	points.Color, points.Radius = col, vg.Points(2.5)
	points.Shape = plotGlyph(i)
	if l.Dashed {
		line.Dashes = []vg.Length{vg.Points(5), vg.Points(3)}
	}
	whiskers, err := plotter.NewYErrorBars(bars)
	if err != nil {
		return err
	}
	whiskers.Color = col
	p.Add(line, points, whiskers)
	p.Legend.Add(l.Name, line, points)
	return nil
}

type errorBars struct {
	plotter.XYs
	plotter.YErrors
}

func plotGlyph(i int) draw.GlyphDrawer {
	shapes := []draw.GlyphDrawer{draw.CircleGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.RingGlyph{}, draw.BoxGlyph{}, draw.CrossGlyph{}}
	return shapes[i%len(shapes)]
}
