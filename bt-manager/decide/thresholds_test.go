package decide

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sonic-netservices/netmap"
)

func TestThresholds(t *testing.T) {
	p := Defaults()
	p.Kinds = map[netmap.Kind]Limits{netmap.Memory: {0.95, 0.9}, netmap.Compute: {0.5, 0.25}}
	const text = "0.8/0.7 compute=0.5/0.25 memory=0.95/0.9"
	if got := FormatThresholds(p); got != text {
		t.Errorf("written as %q", got)
	}
	if got, err := ParseThresholds(text, Defaults()); err != nil || !cmp.Equal(got, p) {
		t.Errorf("read as %+v, %v", got, err)
	}
	for text, want := range map[string]string{
		"":                    `thresholds "": threshold: 0 is not in (0, 1]`,
		"0.8":                 `thresholds: "0.8": want THRESHOLD/CLEAR`,
		"x/0.7":               `thresholds: "x/0.7": "x" is no number`,
		"0.8/y":               `thresholds: "0.8/y": "y" is no number`,
		"0.8/0.9":             `thresholds "0.8/0.9": clear: 0.9 is not above 0 and below the threshold 0.8`,
		"0.8/0.7 acl=2/1":     `thresholds "0.8/0.7 acl=2/1": acl.threshold: 2 is not in (0, 1]`,
		"compute=0.8/0.7":     `thresholds "compute=0.8/0.7": threshold: 0 is not in (0, 1]`,
		"0.8/0.7 NaN/0.1":     `thresholds "0.8/0.7 NaN/0.1": threshold: NaN is not in (0, 1]`,
		"0.8/0.7 a=0.8/0.70/": `thresholds: "a=0.8/0.70/": "0.70/" is no number`,
	} {
		if _, err := ParseThresholds(text, Defaults()); err == nil || err.Error() != want {
			t.Errorf("%q: error %v\nwant %s", text, err, want)
		}
	}
}

// What can be read is written in a way that reads the same.
func FuzzThresholds(f *testing.F) {
	for _, text := range []string{"0.8/0.7", "0.8/0.7 memory=0.9/0.5", "1/1e-300", "0.8/0.7 =0.9/0.1", "a=b/c", "/"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseThresholds(text, Defaults())
		if err != nil {
			return
		}
		if again, err := ParseThresholds(FormatThresholds(p), Defaults()); err != nil || !cmp.Equal(p, again) {
			t.Errorf("%q: %v\n%s", text, err, cmp.Diff(p, again))
		}
	})
}
