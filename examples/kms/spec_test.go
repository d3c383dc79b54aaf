package main

import (
	"os"
	"testing"

	"sonic-netservices/spec"
)

// The spec an operator deploys fits the service: its volume and probe are what the flags' defaults say.
func TestSpec(t *testing.T) {
	text, err := os.ReadFile("kms.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := spec.Parse("kms.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	env := func(name string) string { return s.Environment[name] }
	c, err := parse(nil, env)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Volumes) != 1 || s.Volumes[0].Target != c.Data {
		t.Errorf("volumes %+v, data is in %s", s.Volumes, c.Data)
	}
	if want := c.Listen + "/healthz"; s.Probe == nil || s.Probe.HTTP != want {
		t.Errorf("probe %+v, health is at %s", s.Probe, want)
	}
	if c.Work != 10_000 {
		t.Errorf("%d rounds a key, not 10000", c.Work)
	}
}
