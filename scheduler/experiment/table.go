package experiment

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Table is one figure or table of a paper, in numbers.
type Table struct {
	Name    string // of its CSV file
	Title   string
	Columns []Column
	Rows    [][]any // string, int, float64 or Interval, one a column; nil: empty
}

// Column of a table.
type Column struct {
	Name   string
	Digits int // after the point
}

// Add a row.
func (t *Table) Add(cells ...any) { t.Rows = append(t.Rows, cells) }

// Text writes the table for people.
func (t Table) Text(w io.Writer) {
	rows := [][]string{{}}
	for _, c := range t.Columns {
		rows[0] = append(rows[0], c.Name)
	}
	for _, r := range t.Rows {
		var row []string
		for i, cell := range r {
			row = append(row, shown(cell, t.Columns[i].Digits))
		}
		rows = append(rows, row)
	}
	fmt.Fprintln(w, t.Title)
	align(w, rows)
}

// align writes rows as columns: words to the left, numbers to the right.
func align(w io.Writer, rows [][]string) {
	width := make([]int, len(rows[0]))
	number := make([]bool, len(rows[0]))
	for i := range width {
		number[i] = true
	}
	for n, r := range rows {
		for i, cell := range r {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
			if n > 0 && cell != "" && cell != "-" && !strings.ContainsAny(cell[:1], "+-0123456789") {
				number[i] = false
			}
		}
	}
	for _, r := range rows {
		var line strings.Builder
		for i, cell := range r {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if number[i] {
				line.WriteString("  " + pad + cell)
			} else {
				line.WriteString("  " + cell + pad)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

func shown(cell any, digits int) string {
	switch v := cell.(type) {
	case nil:
		return ""
	case Interval:
		return v.text(digits)
	case float64:
		if math.IsNaN(v) {
			return "-"
		}
		return strconv.FormatFloat(v, 'f', digits, 64)
	}
	return fmt.Sprint(cell)
}

// CSV writes the table for programs: all digits, an interval as two columns.
func (t Table) CSV(w io.Writer) error {
	intervals := make([]bool, len(t.Columns))
	for _, r := range t.Rows {
		for i, cell := range r {
			if _, ok := cell.(Interval); ok {
				intervals[i] = true
			}
		}
	}
	out := csv.NewWriter(w)
	var head []string
	for i, c := range t.Columns {
		head = append(head, c.Name)
		if intervals[i] {
			head = append(head, c.Name+" ci95")
		}
	}
	rows := [][]string{head}
	for _, r := range t.Rows {
		var row []string
		for i, cell := range r {
			if v, ok := cell.(Interval); ok {
				row = append(row, digits(v.Mean), digits(v.Half))
				continue
			}
			row = append(row, exact(cell))
			if intervals[i] {
				row = append(row, "")
			}
		}
		rows = append(rows, row)
	}
	return out.WriteAll(rows)
}

func exact(cell any) string {
	switch v := cell.(type) {
	case nil:
		return ""
	case float64:
		return digits(v)
	}
	return fmt.Sprint(cell)
}

// digits of a number that make it again; none when there is no number.
func digits(v float64) string {
	if math.IsNaN(v) {
		return ""
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
