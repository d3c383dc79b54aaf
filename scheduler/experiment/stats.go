package experiment

import (
	"fmt"
	"math"
)

// Interval is a mean and how far the true one is from it at most, with a confidence of 95 %, by Student's t over N runs.
type Interval struct {
	Mean float64
	Half float64 // NaN of a single run: unknown
	N    int
}

// Of runs.
func intervalOf(values []float64) Interval {
	n := len(values)
	if n == 0 {
		return Interval{math.NaN(), math.NaN(), 0}
	}
	mean := 0.0
	for _, v := range values {
		mean += v / float64(n)
	}
	if n == 1 {
		return Interval{mean, math.NaN(), 1}
	}
	square := 0.0
	for _, v := range values {
		square += (v - mean) * (v - mean) / float64(n-1)
	}
	return Interval{mean, student(n-1) * math.Sqrt(square/float64(n)), n}
}

// ratioOf pairs: the interval of the mean of a over the mean of b, less 1, in percent; by the delta method on the pairs,
// since both come from the same networks.
func ratioOf(a, b []float64) Interval {
	ma, mb := intervalOf(a).Mean, intervalOf(b).Mean
	linear := make([]float64, len(a))
	for i := range a {
		linear[i] = 100 * (ma/mb - 1 + (a[i]-ma)/mb - ma*(b[i]-mb)/(mb*mb))
	}
	return intervalOf(linear)
}

// differenceOf pairs.
func differenceOf(a, b []float64, factor float64) Interval {
	d := make([]float64, len(a))
	for i := range a {
		d[i] = factor * (a[i] - b[i])
	}
	return intervalOf(d)
}

// student is the two-sided 95 % quantile of Student's t.
func student(freedom int) float64 {
	table := []float64{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
		2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042}
	if freedom <= len(table) {
		return table[freedom-1]
	}
	return 1.960 + 2.44/float64(freedom) // within 0.002
}

// text of an interval, with so many digits after the point.
func (i Interval) text(digits int) string {
	if i.N == 0 || math.IsNaN(i.Mean) {
		return "-"
	}
	if math.IsNaN(i.Half) {
		return fmt.Sprintf("%.*f", digits, i.Mean)
	}
	return fmt.Sprintf("%.*f ±%.*f", digits, i.Mean, digits, i.Half)
}
