package run

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/trees"
	"sonic-netservices/netmap"
)

// The tree decides, not the code around it: what follows is worked out by hand from the edit of manager.xml.
// Unedited, kms is confirmed as overloaded at 5 s and moves to leaf3.

// Scores are asked for before there are any: the choice fails whenever it is made, so nothing moves.
func TestTwoLeavesSwapped(t *testing.T) {
	const score, choose = "<ScoreCandidates", "<SelectOptimalNode"
	text := string(edit(t, score, "<!-- here -->"+score))
	from := strings.Index(text, "<!-- here -->")
	mid := strings.Index(text, choose)
	end := mid + strings.Index(text[mid:], "/>") + len("/>")
	text = text[:from] + text[mid:end] + text[from:mid] + text[end:]
	p := roomy(t, []byte(text))
	p.run(5*time.Second + time.Millisecond)
	p.orders()
	if got, want := p.path("kms-0"), "+GetNodeStates +PreselectNodes -SelectOptimalNode +not refused -moved? +BackOff"; !strings.HasSuffix(got, want) {
		t.Errorf("path %s\nwant the end %s", got, want)
	}
	p.run(60 * time.Second)
	p.orders() // the choice ends before it comes to the scores, so there never are any
}

// Data is moved after it was asked to be ready: Prewarm waits for the transfer, and TransferData finds it done.
func TestStepsSwapped(t *testing.T) {
	text := string(edit(t, `<TransferData op="{op}" replica="{replica}" target="{target}" refused="{refused}" outcome="{outcome}"/>`, "(1)"))
	text = strings.Replace(text, `<Prewarm op="{op}"/>`, `<TransferData op="{op}" replica="{replica}" target="{target}" refused="{refused}" outcome="{outcome}"/>`, 1)
	text = strings.Replace(text, "(1)", `<Prewarm op="{op}"/>`, 1)
	p := roomy(t, []byte(text))
	p.run(5500 * time.Millisecond)
	if got := p.path("kms-0"); !strings.HasSuffix(got, "+Handshake *Prewarm") {
		t.Errorf("path %s", got)
	}
	p.run(10 * time.Second)
	p.orders("move kms-0 to leaf3")
	p.on("kms", "leaf3")
}

// Without the Inverter an overload counts as healthy: nothing is ever confirmed.
func TestInverterDropped(t *testing.T) {
	text := strings.Replace(string(edit(t, `<Inverter name="healthy?">`, "")), "</Inverter>", "", 1)
	p := roomy(t, []byte(text))
	p.run(60 * time.Second)
	p.orders()
	if got := p.path("kms-0"); !strings.HasSuffix(got, "-NodeDrained +ResourceOverloaded") {
		t.Errorf("overloaded: path %s", got)
	}
	p = roomy(t, []byte(text))
	p.load("kms", 0.5)
	p.run(2 * time.Second)
	if got := p.path("kms-0"); !strings.HasSuffix(got, "-ResourceOverloaded -SustainedOverload") {
		t.Errorf("idle: path %s", got)
	}
}

// Two samples instead of five: confirmed 3 s earlier, and a spike of 4 s is enough. The same as a parameter.
func TestTwoSamples(t *testing.T) {
	for name, cfg := range map[string]Config{
		"tree":      {File: file(edit(t, `samples="{@Samples}"`, `samples="2"`))},
		"parameter": {},
	} {
		t.Run(name, func(t *testing.T) {
			all := config()
			all.File = cfg.File
			if cfg.File.Equal(trees.File{}) {
				all.Params.Samples = 2
			}
			w := roomy(t, nil).world
			p := start(t, w, all)
			p.run(1500 * time.Millisecond)
			p.orders()
			p.run(time.Second)
			p.orders("move kms-0 to leaf3")
			if at := p.find("kms", "confirmed").At.Sub(p.start); at != 2*time.Second {
				t.Errorf("confirmed after %v", at)
			}
			p.load("kms", 0.5)
			p.run(10 * time.Second)
			p.on("kms", "leaf3")
		})
	}
}

// Another order of branches: who waits first never deploys again.
func TestWaitBeforeRedeploy(t *testing.T) {
	wait := `<WaitForNode replica="{replica}" node="{source}"/>`
	text := strings.Replace(string(edit(t, wait, "")), `<Sequence name="redeploy">`, wait+`<Sequence name="redeploy">`, 1)
	w := overloaded()
	r := w.replicas[id("kms")]
	r.Redeploy, r.LeaseOver = true, true
	w.nodes["leaf1"].dead = true
	cfg := config()
	cfg.File = file([]byte(text))
	p := start(t, w, cfg)
	p.run(60 * time.Second)
	p.orders()
	if got := p.path("kms-0"); !strings.HasSuffix(got, "+NodeDead +WaitForNode") {
		t.Errorf("path %s", got)
	}
}

// Another threshold in the tree: what is too much is not.
func TestThresholdInTheTree(t *testing.T) {
	p := roomy(t, edit(t, `resource="*" thresholds="{@Thresholds}"`, `resource="*" thresholds="0.97/0.9"`))
	p.run(30 * time.Second)
	p.orders()
	if got := p.path("kms-0"); !strings.HasSuffix(got, "-ResourceOverloaded") {
		t.Errorf("path %s", got)
	}
}

// at is the place of a part of manager.xml, as messages name it.
func at(file, part string) string {
	before, _, _ := strings.Cut(string(trees.Manager), part)
	return fmt.Sprintf("%s:%d:%d", file, 1+strings.Count(before, "\n"), len(before)-strings.LastIndex(before, "\n"))
}

func TestBadConfigIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(c *Config)
		want   string
	}{
		"unknown leaf": {func(c *Config) { c.File = file(edit(t, "<ResourceOverloaded", "<ResourceOverlaoded")) },
			at("manager.xml", "<ResourceOverloaded") + ": unknown node <ResourceOverlaoded>; did you mean <ResourceOverloaded>?"},
		"unknown port": {func(c *Config) {
			c.File = trees.File{Name: "/etc/mine.xml", Text: string(edit(t, `samples="{@Samples}"`, `sample="3"`))}
		},
			at("/etc/mine.xml", `samples="{@`) + `: <SustainedOverload> has no port "sample"; did you mean samples?`},
		"no number": {func(c *Config) { c.File = file(edit(t, `msec="30000"`, `msec="soon"`)) }, `port "msec": "soon" is no int`},
		"not XML":   {func(c *Config) { c.File = file([]byte("<root")) }, "manager.xml:1:"},
		"empty tree": {func(c *Config) {
			c.File = file([]byte(`<root BTCPP_format="4"><BehaviorTree ID="Intake"/></root>`))
		}, "manager.xml:1:24: <BehaviorTree> has exactly 1 child, not 0"},
		"threshold": {func(c *Config) { c.Params.Threshold = 1.5 }, "threshold: 1.5 is not in (0, 1]"},
		"of a kind": {func(c *Config) {
			c.Params.Kinds = map[netmap.Kind]decide.Limits{"memory": {Threshold: 0.5, Clear: 0.6}}
		}, "memory.clear: 0.6 is not above 0 and below the threshold 0.5"},
		"samples":    {func(c *Config) { c.Params.Samples = 0 }, "samples: 0 is not in 1..1000"},
		"admission":  {func(c *Config) { c.Balance.Admission = 0 }, "admission: 0 is not in (0, 1]"},
		"audit file": {func(c *Config) { c.Audit = "/nowhere/audit.jsonl" }, "open the audit: open /nowhere/audit.jsonl"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config()
			c.change(&cfg)
			_, err := New(cfg, newWorld(), nil, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nwant %s", err, c.want)
			}
		})
	}
}

// Wrong thresholds written into a tree show when they are asked for; nothing moves on them.
func TestBadThresholdInTheTree(t *testing.T) {
	p := roomy(t, edit(t, `resource="*" thresholds="{@Thresholds}"`, `resource="*" thresholds="80 %"`))
	p.run(20 * time.Second)
	p.orders()
	view, err := p.r.Tree("kms-0", false)
	if err != nil || !strings.Contains(view.Text, `thresholds: "80": want THRESHOLD/CLEAR`) {
		t.Errorf("%v\n%s", err, view.Text)
	}
}

// Rows that hold no numbers are no target and no reason.
func TestGarbageRows(t *testing.T) {
	p := roomy(t, nil)
	p.nodes["leaf3"].garbage = true
	p.run(20 * time.Second)
	p.orders("move kms-0 to leaf2")
	p.nodes["leaf2"].garbage = true
	p.run(20 * time.Second)
	p.on("kms", "leaf2")
	p.orders("move kms-0 to leaf2")
}

// A manager that hears nobody is the one that is cut off.
func TestCutOff(t *testing.T) {
	p := roomy(t, nil)
	for _, m := range p.nodes {
		m.silent = 11 * time.Second
	}
	p.run(20 * time.Second)
	p.orders()
	if got := p.path("kms-0"); !strings.HasSuffix(got, "-GetNodeStates") {
		t.Errorf("path %s", got)
	}
}
