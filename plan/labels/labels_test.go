package labels

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
	"sonic-netservices/plan/chance"
)

// row is nodes a, b, c, ... in a row, each with so many cores; 1 ms and 1000 Mbit/s from one to the next.
func row(t *testing.T, cores ...float64) *plan.View {
	t.Helper()
	var nodes []plan.Node
	var links []plan.Link
	for i, c := range cores {
		nodes = append(nodes, plan.Node{Name: string(rune('a' + i)), Capacity: netmap.Demand{netmap.Compute: c, netmap.Memory: 100}})
		if i > 0 {
			links = append(links, plan.Link{A: string(rune('a' + i - 1)), B: string(rune('a' + i)), Bandwidth: 1000, Delay: 1})
		}
	}
	v, err := plan.NewView(nodes, links)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var far = Cloud{Mbps: 100, RTT: 100}

func planner(v *plan.View, services ...Service) *Planner {
	return &Planner{Net: NewNetwork(v, far), Services: services, Params: Defaults()}
}

// table is a state with all its zeroes, by service * nodes + node.
type table struct {
	CPU, Time []float64
	Server    []int32
}

func (p *Planner) table(s *State) (t table) {
	n := len(p.Net.CPU)
	size := n * len(s.Services)
	t.CPU, t.Time, t.Server = make([]float64, size), make([]float64, size), make([]int32, size)
	for i := range t.Server {
		t.Server[i] = At
	}
	for i, d := range s.Services {
		for _, r := range d.Replicas {
			t.CPU[i*n+int(r.Node)] = r.CPU
		}
		for _, c := range d.Clients {
			t.Time[i*n+int(c.Node)], t.Server[i*n+int(c.Node)] = c.Time, c.Server
		}
	}
	return t
}

func sum(values []float64) (total float64) {
	for _, x := range values {
		total += x
	}
	return total
}

// P3-9 to P3-11: the labels, with 0/0 and x/0.
func TestPaper10Labels(t *testing.T) {
	for _, c := range []struct {
		bound       float64
		before, now []float64
		want        string
	}{
		{10, []float64{5, 5}, []float64{6, 6}, "SHM"}, // +20 % is not more than k
		{10, []float64{5, 5}, []float64{9, 4}, "SHA"},
		{10, []float64{5, 5}, []float64{0, 7}, "SHR"},
		{20, []float64{5, 5}, []float64{5, 5}, "SLM"}, // v itself is low
		{50, []float64{0, 0}, []float64{0, 0}, "SLM"},
		{50, []float64{0, 0}, []float64{1, 0}, "SLA"},
		{50, nil, []float64{1, 0}, "SLA"},
		{50, []float64{5, 5}, []float64{1, 1}, "SLR"},
	} {
		if got := SetNames[LabelOf(Service{Bound: c.bound}, sum(c.now), sum(c.before), Defaults()).Set()]; got != c.want {
			t.Errorf("bound %v, %v to %v: %s, want %s", c.bound, c.before, c.now, got, c.want)
		}
	}
}

// P3-28: what Size gives, Time keeps; with both models.
func TestPaper28SizeInvertsTime(t *testing.T) {
	r := chance.New(1)
	for range 1000 {
		s := Service{Floor: r.Uniform(0, 5), Alpha: r.Uniform(0.1, 9)}
		if r.Float64() < 0.5 {
			s.Alpha, s.Mu = 0, r.Uniform(1, 900)
		}
		k, load, budget := r.Uniform(0.5, 2), r.Uniform(0, 100), r.Uniform(0, 50)
		cpu, ok := s.Size(k, load, budget)
		if ok != (budget >= s.Floor) {
			t.Fatalf("%+v: budget %v: %v", s, budget, ok)
		}
		if ok && load > 0 {
			if got := s.Time(k, load, cpu); got > budget*(1+1e-9) {
				t.Fatalf("%+v: load %v on %v cores takes %v of %v", s, load, cpu, got, budget)
			}
			if got := s.Time(k, load, cpu*0.99); got <= budget*(1-1e-9) && got > s.Floor && budget > s.Floor {
				t.Fatalf("%+v: less than %v cores would do", s, cpu)
			}
		}
	}
}

// P3-16, P3-25: a highly sensitive service has a replica on every node with load; P3-27: none where there is none.
func TestPaper16High(t *testing.T) {
	p := planner(row(t, 10, 10, 10), Service{Name: "h", Bound: 10, Alpha: 1, Memory: 1})
	s := p.table(p.Slot([]float64{50, 0, 20}, nil))
	if got := fmt.Sprint(s.CPU, s.Server, s.Time); got != "[5 0 2] [0 -1 2] [10 0 10]" {
		t.Error(got)
	}
}

// P3-26 as settled (hole (c)): a node without room is served by the nearest replica that is in time, else by the cloud;
// the others keep theirs.
func TestPaper26Short(t *testing.T) {
	p := planner(row(t, 4, 20, 20), Service{Name: "h", Bound: 10, Alpha: 1})
	s := p.table(p.Slot([]float64{50, 30, 30}, nil)) // a would need 5
	if s.Server[0] != 1 || s.Server[1] != 1 || s.Server[2] != 2 || s.Time[0] > 10 || s.CPU[1] < 80.0/9 {
		t.Errorf("%+v", s)
	}
	p = planner(row(t, 4, 5, 3), Service{Name: "h", Bound: 10, Alpha: 1})
	if s = p.table(p.Slot([]float64{50, 30, 30}, nil)); s.Server[0] != At || s.Server[1] != 1 || s.Time[0] != 50 {
		t.Errorf("%+v", s)
	}
}

// P3-16, P3-17, P3-22: one replica for a service of low sensitivity; the others wait for the way, too.
func TestPaper17Low(t *testing.T) {
	p := planner(row(t, 10, 10, 10), Service{Name: "l", Bound: 32, Alpha: 1})
	s := p.table(p.Slot([]float64{100, 0, 50}, nil))
	if got := fmt.Sprint(s.CPU, s.Server, s.Time); got != "[5 0 0] [0 -1 0] [30 0 32]" {
		t.Error(got)
	}
}

// P3-19: old hosts first; (hole (b)) with room, else any node.
func TestPaper19OldHosts(t *testing.T) {
	p := planner(row(t, 10, 10), Service{Name: "l", Bound: 100, Alpha: 1})
	s := p.Slot([]float64{100, 50}, nil)
	s = p.Slot([]float64{50, 100}, s) // b has the larger np now
	if now := p.table(s); now.CPU[0] == 0 {
		t.Errorf("left its host: %v", now.CPU)
	}
	if now := p.table(p.Slot([]float64{50, 1500}, s)); now.CPU[0] != 0 || now.Server[0] != At { // 16 cores: nowhere
		t.Errorf("%v", now.CPU)
	}
}

// A node without load hosts a service when those with load have no room for it: the emptiest in time.
func TestLowGoesElsewhere(t *testing.T) {
	p := planner(row(t, 2, 40, 8, 40), Service{Name: "first", Bound: 100, Alpha: 1}, Service{Name: "second", Bound: 32, Alpha: 1})
	s := p.table(p.Slot([]float64{0, 900, 0, 0, 100, 0, 0, 0}, nil)) // 9 of b; 100/31 of b, or 100/30 of c
	if got := fmt.Sprint(s.Server); got != "[-1 1 -1 -1 2 -1 -1 -1]" || s.CPU[6] != 100.0/30 {
		t.Errorf("%v %v", got, s.CPU)
	}
}

// A placement that stays answers whatever load comes: whom it does not know, by the nearest replica.
func TestStatic(t *testing.T) {
	p := planner(row(t, 9, 9, 9), Service{Name: "l", Bound: 40, Alpha: 1})
	first := p.Slot([]float64{90, 0, 0}, nil)
	s := p.table(p.Answer(first, []float64{180, 0, 9}))
	if s.CPU[0] != 2.25 || s.Server[2] != 0 || s.Time[0] != 84 || s.Time[2] != 86 {
		t.Errorf("%+v", s)
	}
	if s = p.table(first); s.Time[0] != 40 {
		t.Errorf("the placement was changed: %+v", s)
	}
}

// P3-14: falling services give back first, and high sensitivity is served before low.
func TestPaper14Order(t *testing.T) {
	p := planner(row(t, 10), Service{Name: "low", Bound: 100, Alpha: 1}, Service{Name: "high", Bound: 10, Alpha: 1})
	if s := p.table(p.Slot([]float64{900, 80}, nil)); s.CPU[1] != 8 || s.CPU[0] != 0 { // 9 and 8 of 10
		t.Errorf("%v", s.CPU)
	}
	p.Params.Unlabeled = true
	if s := p.table(p.Slot([]float64{900, 80}, nil)); s.CPU[1] != 0 || s.CPU[0] != 9 {
		t.Errorf("without labels, by load: %v", s.CPU)
	}
}

// Hole (d): a replica without load stays for some slots, where there is room.
func TestPaper27KeepAlive(t *testing.T) {
	p := planner(row(t, 10), Service{Name: "h", Bound: 10, Alpha: 1})
	s := p.Slot([]float64{10}, nil)
	for slot, want := range []float64{0.05, 0.05, 0, 0} {
		s = p.Slot([]float64{0}, s)
		if now := p.table(s); now.CPU[0] != want {
			t.Errorf("slot %d without load: %v, want %v", slot, now.CPU[0], want)
		}
	}
}

// Allocations and what is free are the capacity after every slot, and nothing is below zero: whatever comes.
func TestCapacityIsConserved(t *testing.T) {
	for seed := range uint64(40) {
		r := chance.New(seed)
		cores := make([]float64, 2+r.IntN(6))
		for i := range cores {
			cores[i] = r.Uniform(0, 20)
		}
		var services []Service
		for i := range 1 + r.IntN(8) {
			s := Service{Name: fmt.Sprint(i), Bound: r.Uniform(5, 60), Floor: r.Uniform(0, 4), Bits: r.Uniform(0, 1e6), Alpha: r.Uniform(0.1, 3), Memory: r.Uniform(0, 40)}
			if r.Float64() < 0.3 {
				s.Alpha, s.Mu = 0, r.Uniform(20, 200)
			}
			services = append(services, s)
		}
		v := row(t, cores...)
		p := planner(v, services...)
		p.Params.Unlabeled = seed%4 == 3
		var s *State
		for range 20 {
			load := make([]float64, len(services)*len(cores))
			for i := range load {
				if r.Float64() < 0.6 {
					load[i] = r.Uniform(0, 60)
				}
			}
			s = p.Slot(load, s)
			now := p.table(s)
			cpu, memory := p.Free()
			for n := range cores {
				usedCPU, usedMemory := 0.0, 0.0
				for i, service := range services {
					if x := now.CPU[i*len(cores)+n]; x > 0 {
						usedCPU += x
						usedMemory += service.Memory
					}
				}
				if math.Abs(usedCPU+cpu[n]-cores[n]) > 1e-6 || math.Abs(usedMemory+memory[n]-100) > 1e-6 || cpu[n] < -1e-9 || memory[n] < -1e-9 {
					t.Fatalf("seed %d slot %d node %d: %v + %v of %v cores, %v + %v of 100 bytes", seed, s.Slot, n, usedCPU, cpu[n], cores[n], usedMemory, memory[n])
				}
			}
			for i, x := range load {
				if server := now.Server[i]; x > 0 && server != At {
					if now.CPU[i/len(cores)*len(cores)+int(server)] == 0 {
						t.Fatalf("seed %d: served where no replica is", seed)
					}
					if bound := services[i/len(cores)].Bound; now.Time[i] > bound*(1+1e-9) {
						t.Fatalf("seed %d: a replica answers in %v, bound %v", seed, now.Time[i], bound)
					}
				}
			}
		}
	}
}

func TestDecision(t *testing.T) {
	v := row(t, 10, 10)
	services := []Service{{Name: "h", Bound: 10, Alpha: 1, Memory: 1}, {Name: "l", Bound: 60, Alpha: 1, Memory: 1}}
	problem := Problem{Services: services, Cloud: far, Params: Defaults(), Load: [][]float64{{50, 0, 60, 0}, {200, 30, 30, 0}}}
	d, err := Strategy{}.Plan(context.Background(), v, problem, plan.Budget{})
	if err != nil {
		t.Fatal(err)
	}
	got := d.String()
	for _, want := range []string{"resize l to a", "place h to b", "h: SHA, load 230, changed by +360 %", "remove h from a", "latency_bound: 50ms"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if err := d.Check(v); err != nil {
		t.Error(err)
	}
	problem.Load = problem.Load[:1]
	if d, err = (Strategy{}).Plan(context.Background(), v, problem, plan.Budget{}); err != nil || len(d.Alternates) != 1 || d.Alternates[0].What != "l on b" || d.Alternates[0].Actions[0].Needs[0].Node != "b" {
		t.Errorf("%v\n%s", err, d)
	}
	for _, bad := range []struct {
		change func(p *Problem)
		want   string
	}{
		{func(p *Problem) { p.Services = []Service{{Name: "x", Bound: 3, Floor: 5, Alpha: 1}} }, "latency bound 3 below service floor 5"},
		{func(p *Problem) { p.Load = [][]float64{{1}} }, "slot 0: 1 loads, want 4"},
		{func(p *Problem) { p.Load = [][]float64{{1, 2, 3, math.NaN()}} }, "service l at b: load NaN"},
		{func(p *Problem) { p.Cloud = Cloud{} }, "cloud"},
	} {
		q := problem
		bad.change(&q)
		if _, err := (Strategy{}).Plan(context.Background(), v, q, plan.Budget{}); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%v, want %q", err, bad.want)
		}
	}
}

func BenchmarkSlot1000x1000(b *testing.B) {
	for _, room := range []float64{100, 10} {
		b.Run(fmt.Sprint(room, "cores"), func(b *testing.B) {
			r := chance.New(1)
			const n = 1000
			net := &Network{Cloud: far, ways: make([]way, n*n)}
			for i := range net.ways {
				net.ways[i].delay = r.Uniform(0, 3)
			}
			for range n {
				net.CPU, net.Memory = append(net.CPU, room), append(net.Memory, 1e12)
			}
			p := &Planner{Net: net, Params: Defaults()}
			load := make([]float64, n*n)
			for i := range n {
				p.Services = append(p.Services, Service{Name: fmt.Sprint(i), Bound: r.Uniform(5, 60), Alpha: 1, Memory: 1})
				for range 20 {
					load[i*n+r.IntN(n)] = r.Uniform(0, 40)
				}
			}
			s := p.Slot(load, nil)
			for b.Loop() {
				p.Slot(load, s)
			}
		})
	}
}
