package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sonic-netservices/resource-sync/replica"
)

func TestParseSeeds(t *testing.T) {
	for name, tt := range map[string]struct {
		row  map[string]string
		want []replica.Seed
		err  string
	}{
		"the manager's node": {map[string]string{"manager": "10.1.0.3:7301", "manager_node": "leaf3"}, []replica.Seed{{Name: "leaf3", Addr: "10.1.0.3"}}, ""},
		"two":                {map[string]string{"seeds": "a@10.1.0.1,b@10.1.0.2"}, []replica.Seed{{Name: "a", Addr: "10.1.0.1"}, {Name: "b", Addr: "10.1.0.2"}}, ""},
		"nobody":             {nil, nil, "neither seeds nor manager"},
		"no address":         {map[string]string{"seeds": "a@10.1.0.1,b"}, nil, `seeds: "b": want NODE@ADDRESS`},
		"no name":            {map[string]string{"seeds": "@10.1.0.1"}, nil, "want NODE@ADDRESS"},
	} {
		got, err := parseSeeds(tt.row)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func FuzzParseSeeds(f *testing.F) {
	f.Add("a@10.1.0.1,b@10.1.0.2")
	f.Fuzz(func(t *testing.T, text string) {
		seeds, err := parseSeeds(map[string]string{"seeds": text})
		for _, s := range seeds {
			if err == nil && (s.Name == "" || s.Addr == "") {
				t.Errorf("%q: seed %+v", text, s)
			}
		}
	})
}
