package script

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"sonic-netservices/bt-manager/bt/board"
)

// bench is a set of entries scripts run on.
type bench struct {
	slots map[string]int
	frame Frame
}

func (b *bench) names() Names {
	return Names{Enums: map[string]int64{"RED": 1, "GREEN": 2}, Slot: func(key string) int {
		if _, ok := b.slots[key]; !ok {
			b.slots[key] = len(b.frame.Slots)
			b.frame.Slots = append(b.frame.Slots, &board.Entry{})
		}
		return b.slots[key]
	}}
}

func run(t *testing.T, src string) (board.Value, error) {
	t.Helper()
	s, err := Parse(src)
	if err != nil {
		return board.Value{}, err
	}
	b := &bench{slots: map[string]int{}}
	return s.Compile(b.names())(&b.frame)
}

func TestValues(t *testing.T) {
	for src, want := range map[string]string{
		"7/2":                              "3.5",
		"1 + 2 * 3 - 4":                    "3",
		"-(2 + 3) * 2":                     "-10",
		"0x10 + 1e1":                       "26",
		"'x' .. 3":                         "x3",
		"'a' + 'b'":                        "ab",
		"6 & 3 | 8":                        "10",
		"6 ^ 3":                            "5",
		"~0":                               "-1",
		"!1":                               "0",
		"1 < 2 < 3":                        "1",
		"3 > 2 > 2":                        "0",
		"1 == 1.00000001":                  "1",
		"'b' > 'a'":                        "1",
		"'3' == 3":                         "1",
		"'true' == 1":                      "1",
		"RED < GREEN && 'GREEN' == 2":      "1",
		"0 || 0.5":                         "1",
		"true ? 'yes' : 'no'":              "yes",
		"'0.0' ? 1 : 0 ? 2 : 3":            "3",
		"'n' .. 7 / 2":                     "n3.500000",
		"2.0 || 0":                         "1",
		"0 || -0.0":                        "0",
		"a := 1 a := 2":                    "2",
		"a := 1; b := a + 1; b":            "2",
		"a := 2; a *= 3; a -= 1; a /= 2":   "2.5 no int",
		"a := 2.0; a *= 3; a -= 1; a /= 2": "2.5",
		"a := 'x'; a += 'y'":               "xy",
		"a := 1; a = '5'; a":               "5",
		"变量 := 4; 变量 + 1":                  "5",
		"a := b := 3; a + b":               "6",
	} {
		v, err := run(t, src)
		if strings.HasSuffix(want, "no int") {
			if err == nil {
				t.Errorf("%s = %v, want an error: the entry is whole", src, v)
			}
			continue
		}
		if err != nil || v.String() != want {
			t.Errorf("%s = %v, %v; want %s", src, v, err, want)
		}
	}
}

func TestRunErrors(t *testing.T) {
	for src, want := range map[string]string{
		"1/0":                                 "no finite number",
		"nope > 3":                            `"nope" has no value`,
		"nope = 3":                            ":= would make it",
		"a := 1; a = 'word'":                  "no real",
		"a := 'word'; a = 1":                  "takes no int",
		"'a' * 2":                             "does not go between",
		"1.5 & 1":                             "takes integers",
		"-'a'":                                "takes a number",
		"a := 9223372036854775807; a = a + 1": "too large to calculate with",
		"a := 9007199254740993; a > 3":        "too large to calculate with",
		"a := 1.5; a = 9007199254740993":      "is no real",
		"2 || 0":                              "neither true nor false",
		"-1.5 && 1":                           "neither true nor false",
		"'' ? 1 : 0":                          "no real",
		"'a' < 1":                             "no real",
	} {
		if v, err := run(t, src); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s = %v, %v; want an error with %q", src, v, err, want)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	for src, at := range map[string]int{"": 0, "1 +": 3, "(1": 2, "a ? 1": 5, "1 = 2": 0, "'x": 0, "3x": 0, "65.": 0, "a # b": 2,
		"0x": 0, "99999999999999999999": 0, "1 2 )": 4, strings.Repeat("(", 300) + "1": 200} {
		_, err := Parse(src)
		var e *Error
		if !errors.As(err, &e) || e.At != at {
			t.Errorf("%.20q: %v, want an error at %d", src, err, at)
		}
	}
}

func FuzzScript(f *testing.F) {
	for _, s := range []string{"a := 1; b = a", "x > 3 && !y || z .. 'q'", "a ? b : c", "0x1F ^ ~3", "1 < 2 <= 3 != 4", "((((", "a += -b*c/d"} {
		f.Add(s)
	}
	for _, c := range ofV4(f) {
		f.Add(c.Code)
	}
	f.Fuzz(func(t *testing.T, src string) {
		s, err := Parse(src)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.At < 0 || e.At > len(src) {
				t.Fatalf("error without a place: %v", err)
			}
			return
		}
		b := &bench{slots: map[string]int{}}
		code, asks := s.Compile(b.names()), s.Condition(b.names())
		for range 3 {
			if v, err := code(&b.frame); err == nil {
				_ = v.String()
			}
			_, _ = asks(&b.frame)
		}
	})
}

// v4Script is a generated script, and what BehaviorTree.CPP 4.10 made of it.
type v4Script struct {
	Code   string
	Text   string // its last value
	Number string // its last value as `..` writes it
	Fails  bool
	Ours   string // where ours differs by a row of docs/decisions/0010: the error it gives
}

func ofV4(tb testing.TB) (list []v4Script) {
	tb.Helper()
	file, err := os.Open("testdata/v4.jsonl")
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	for dec := json.NewDecoder(file); ; {
		var c v4Script
		if err := dec.Decode(&c); err == io.EOF {
			return list
		} else if err != nil {
			tb.Fatalf("testdata/v4.jsonl, script %d: %v", len(list)+1, err)
		}
		list = append(list, c)
	}
}

// Generated scripts give what they give in BehaviorTree.CPP 4.10.
func TestValuesOfV4(t *testing.T) {
	for _, c := range ofV4(t) {
		v, err := run(t, c.Code)
		switch {
		case c.Fails != (err != nil) && c.Ours == "":
			t.Errorf("%s = %v, %v; v4 fails: %v", c.Code, v, err, c.Fails)
		case c.Ours != "":
			if err == nil || !strings.Contains(err.Error(), c.Ours) {
				t.Errorf("%s = %v, %v; want an error with %q", c.Code, v, err, c.Ours)
			}
		case !c.Fails && joined(v) != c.Text+c.Number:
			t.Errorf("%s = %s, v4 gave %s", c.Code, joined(v), c.Text+c.Number)
		}
	}
}
