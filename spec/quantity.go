package spec

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

var units = []struct {
	suffix string
	bytes  float64
}{
	{"Ti", 1 << 40}, {"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10},
}

var numberPattern = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// most is the greatest amount: every whole number up to it is exact in a float64.
const most = 1 << 53

// parseNumber reads an amount without a unit.
func parseNumber(text string) (float64, error) {
	if !numberPattern.MatchString(text) {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	if text[0] == '-' {
		return 0, fmt.Errorf("%s is negative", text)
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v > most {
		return 0, fmt.Errorf("%s is too large", text)
	}
	return v, nil
}

// parseBytes reads a number of bytes: 512, 64Ki, 1.5Gi.
func parseBytes(text string) (int64, error) {
	number, factor := text, 1.0
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u.suffix); ok {
			number, factor = rest, u.bytes
			break
		}
	}
	if !numberPattern.MatchString(number) {
		return 0, fmt.Errorf("%q is not a number of bytes: want for example 512, 64Ki, 128Mi, 1.5Gi", text)
	}
	if number[0] == '-' {
		return 0, fmt.Errorf("%s is negative", text)
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || v*factor > most {
		return 0, fmt.Errorf("%s is too large", text)
	}
	if v*factor != math.Trunc(v*factor) {
		return 0, errors.New("not a whole number of bytes")
	}
	return int64(v * factor), nil
}

func printNumber(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// printBytes uses the greatest unit that leaves a whole number.
func printBytes(v int64) string {
	for _, u := range units {
		if v >= int64(u.bytes) && v%int64(u.bytes) == 0 {
			return strconv.FormatInt(v/int64(u.bytes), 10) + u.suffix
		}
	}
	return strconv.FormatInt(v, 10)
}

// inBytes says whether a kind of demand is written with Ki, Mi, Gi.
func inBytes(kind string) bool { return kind == "memory" || kind == "storage" }
