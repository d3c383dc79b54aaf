package spec

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"sonic-netservices/netmap"
)

var update = flag.Bool("update", false, "write the golden files anew")

// same compares services; nil and an empty map mean the same.
func same(a, b *Service) string {
	return cmp.Diff(a, b, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }))
}

func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := Parse(filepath.Base(file), read(t, file))
			if err == nil {
				t.Fatal("no error")
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".err", err.Error()+"\n")
		})
	}
}

func TestGoodFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s, err := Parse(filepath.Base(file), read(t, file))
			if err != nil {
				t.Fatal(err)
			}
			text, err := Print(s)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".printed", string(text))
			again, err := Parse("printed", text)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if diff := same(s, again); diff != "" {
				t.Errorf("read again after printing:\n%s", diff)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	s, err := Parse("x", []byte("name: a\nimage: a\naddress: 10.0.0.1/24\nprobe: {tcp: \":80\"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Service{
		Name: "a", Image: "a:latest", Replicas: 1, Address: netip.MustParsePrefix("10.0.0.1/24"),
		Migration: netmap.Live, Strategy: Balance, Traffic: Delay, OnLostNode: Wait,
		Probe:  &Probe{TCP: ":80", Interval: time.Second, Timeout: time.Second, Failures: 3},
		WarmUp: WarmUp{Delta: 64 << 10, Timeout: time.Minute},
	}
	if diff := same(want, s); diff != "" {
		t.Error(diff)
	}
}

func TestReplicaAddress(t *testing.T) {
	s := &Service{Address: netip.MustParsePrefix("10.20.0.250/24")}
	for n, want := range map[int]string{0: "10.20.0.250/24 true", 4: "10.20.0.254/24 true", 5: "10.20.0.255/24 false"} {
		p, ok := s.ReplicaAddress(n)
		if got := fmt.Sprint(p, " ", ok); got != want {
			t.Errorf("replica %d: %s, want %s", n, got, want)
		}
	}
}

func TestReplicaAddresses(t *testing.T) {
	s := &Service{Addresses: []netip.Prefix{netip.MustParsePrefix("fd20::10/64"), netip.MustParsePrefix("10.20.0.250/24")}}
	for n, want := range map[int]string{0: "[fd20::10/64 10.20.0.250/24] true", 4: "[fd20::14/64 10.20.0.254/24] true", 5: "[] false"} {
		list, ok := s.ReplicaAddresses(n)
		if got := fmt.Sprint(list, " ", ok); got != want {
			t.Errorf("replica %d: %s, want %s", n, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"probe", "probe", 0}, {"nmae", "name", 1}, {"migratoin", "migration", 1}, {"ca", "abc", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// TestPrintedIsReadAgain: whatever a service holds, its text says the same.
func TestPrintedIsReadAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawService(t)
		text, err := Print(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("printed", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := same(s, again); diff != "" {
			t.Fatalf("%s\n%s", diff, text)
		}
	})
}

func drawService(t *rapid.T) *Service {
	name := rapid.StringMatching(`[a-z]([a-z0-9]{0,8}-[a-z])?`)
	value := rapid.StringOf(rapid.Rune().Filter(func(r rune) bool { return r != 0 }))
	variable := rapid.StringMatching(`[A-Z_][A-Z0-9_]{0,8}`)
	size := rapid.Int64Range(1, 1<<50)
	duration := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "duration"))
	})
	s := &Service{
		Name:     name.Draw(t, "name"),
		Image:    rapid.StringMatching(`[a-z]{1,5}(/[a-z]{1,5})?:[a-z0-9]{1,5}`).Draw(t, "image"),
		Command:  rapid.SliceOf(value).Draw(t, "command"),
		Replicas: rapid.SampledFrom([]int{PerNode, 1, 2, 100}).Draw(t, "replicas"),
		Address:  netip.MustParsePrefix("10.20.0.10/24"),
		Demand: map[string]float64{
			"compute": float64(rapid.IntRange(0, 8000).Draw(t, "compute")) / 1000,
			"memory":  float64(size.Draw(t, "memory")),
		},
		Environment:  rapid.MapOf(variable, value).Draw(t, "environment"),
		Secrets:      map[string]Secret{},
		Migration:    rapid.SampledFrom([]netmap.Mode{netmap.Live, netmap.Warm, netmap.Cold}).Draw(t, "migration"),
		Strategy:     rapid.SampledFrom([]Strategy{Balance, Labels, Chain, SCN}).Draw(t, "strategy"),
		Traffic:      rapid.SampledFrom([]Traffic{Delay, Bandwidth}).Draw(t, "traffic"),
		OnLostNode:   rapid.SampledFrom([]OnLostNode{Wait, Redeploy}).Draw(t, "on_lost_node"),
		LatencyBound: duration.Draw(t, "latency_bound") + time.Hour,
		Floor:        duration.Draw(t, "floor"),
		RequestSize:  size.Draw(t, "request_size"),
		LoadModel:    LoadModel{Linear: duration.Draw(t, "linear")},
		WarmUp:       WarmUp{Delta: size.Draw(t, "delta"), Timeout: duration.Draw(t, "timeout")},
		Constraints:  Constraints{Spread: rapid.Bool().Draw(t, "spread")},
	}
	for i, text := range rapid.SliceOfN(value, 0, 3).Draw(t, "secrets") {
		secret := Secret{Value: text}
		if i == 0 && text != "" {
			secret = Secret{File: text}
		}
		s.Secrets[fmt.Sprintf("secret_%d", i)] = secret
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "volumes") {
		s.Volumes = append(s.Volumes, Volume{fmt.Sprintf("v%d", i), fmt.Sprintf("/data/%d", i)})
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "addresses") {
		s.Addresses = append(s.Addresses, netip.MustParsePrefix([]string{"fd20::10/64", "10.20.1.10/24"}[i]))
	}
	if s.Constraints.Spread || s.Replicas == 1 || s.Replicas == PerNode {
		for i := range rapid.IntRange(0, 3).Draw(t, "ports") {
			s.Ports = append(s.Ports, Port{Node: 8000 + i/2, Container: rapid.IntRange(1, 65535).Draw(t, "port"), Protocol: []Protocol{TCP, UDP}[i%2]})
		}
	}
	if rapid.Bool().Draw(t, "has limits") {
		s.Limits = Limits{CPU: 8.5, Memory: 1 << 50, PIDs: 7}
	}
	if command := rapid.SliceOf(value).Draw(t, "probe"); len(command) > 0 {
		s.Probe = &Probe{Exec: command, Interval: time.Second, Timeout: duration.Draw(t, "probe timeout"), Failures: 2}
	}
	return s
}

// FuzzParse: no text makes Parse panic; what it accepts, it prints and reads again; what it refuses, it places in order.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse("f", text)
		if err != nil {
			errs := err.(Errors)
			for _, e := range errs {
				if e.Line < 1 || e.Column < 1 {
					t.Errorf("no place: %v", e)
				}
			}
			if !sort.SliceIsSorted(errs, func(i, j int) bool { return errs[i].Line < errs[j].Line }) {
				t.Errorf("not in order: %v", errs)
			}
			return
		}
		printed, err := Print(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("printed", printed)
		if err != nil {
			t.Fatalf("%v\n%s", err, printed)
		}
		if diff := same(s, again); diff != "" {
			t.Fatalf("%s\n%s", diff, printed)
		}
	})
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(read(t, file)), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
