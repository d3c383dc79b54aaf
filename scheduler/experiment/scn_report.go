package experiment

import (
	"context"
	"fmt"
	"math"

	"sonic-netservices/plan"
	"sonic-netservices/plan/scn"
	"sonic-netservices/scheduler/chart"
	"sonic-netservices/scheduler/problem"
	"sonic-netservices/spec"
)

func carrying() Experiment {
	return Experiment{Name: "scn", About: "carrying networks by category, and paths through capabilities in order (P4)", Run: runSCN,
		Solve: func(ctx context.Context, p *spec.Problem, budget plan.Budget) (plan.Decision, error) {
			view, question, err := problem.SCN(p)
			if err != nil {
				return plan.Decision{}, err
			}
			return scn.Strategy{}.Plan(ctx, view, question, budget)
		}}
}

// scnMethod is one way to carry.
type scnMethod struct {
	name   string
	params scn.Params
}

// scnMethods: the paper's for each bound of hops; ours; and what each half of ours does alone.
func scnMethods(hops []int) (all []scnMethod) {
	for _, base := range []struct {
		name   string
		params scn.Params
	}{{"paper", scn.PaperDefaults()}, {"ours", scn.Defaults()}} {
		for _, h := range hops {
			p := base.params
			p.Hops = h
			all = append(all, scnMethod{fmt.Sprintf("%s h=%d", base.name, h), p})
		}
	}
	planned, reserved := scn.PaperDefaults(), scn.PaperDefaults()
	planned.Mode, planned.Replans, planned.Penalty = scn.Replan, scn.Defaults().Replans, scn.Defaults().Penalty
	reserved.Reserve = true
	return append(all, scnMethod{"replan only h=3", planned}, scnMethod{"reserve only h=3", reserved})
}

// scnRuns are outcomes by method, rate and seed.
type scnRuns struct {
	methods []scnMethod
	rates   []int
	runs    [][][]p4Outcome // seed, method, rate
}

// of gives one number of a method at a rate, for each seed.
func (s scnRuns) of(method string, rate int, value func(p4Outcome) float64) (values []float64) {
	for _, run := range s.runs {
		for m := range s.methods {
			for r := range s.rates {
				if s.methods[m].name == method && s.rates[r] == rate {
					values = append(values, value(run[m][r]))
				}
			}
		}
	}
	return values
}

func runSCN(ctx context.Context, o Options) (Report, error) {
	hops, rates, horizon := p4Hops, p4Rates, p4Horizon
	if o.Quick {
		hops, rates, horizon = []int{2, 3, 4}, []int{4, 8}, 6_000
	}
	s := scnRuns{methods: scnMethods(hops), rates: rates}
	seeds := o.seeds(10, 2)
	if o.Paper && o.Seeds == 0 {
		seeds = 20
	}
	var err error
	s.runs, err = each(ctx, seeds, o.Progress, func(ctx context.Context, i int) ([][]p4Outcome, error) {
		seed := o.First + uint64(i)
		view, err := p4View(seed, o.Topology)
		if err != nil {
			return nil, err
		}
		outcomes := make([][]p4Outcome, len(s.methods))
		for _, rate := range rates {
			load := p4Load(seed, rate, horizon)
			for m, method := range s.methods {
				if ctx.Err() != nil {
					return nil, context.Cause(ctx)
				}
				outcome, err := p4Run(view, load, horizon, method.params)
				if err != nil {
					return nil, err
				}
				outcomes[m] = append(outcomes[m], outcome)
			}
		}
		return outcomes, nil
	})
	if err != nil {
		return Report{}, err
	}
	return s.report(o), nil
}

var scnFigures = []struct {
	name, title, unit string
	digits            int
	value             func(p4Outcome) float64
}{
	{"scn-fig3-acceptance", "Figure 3: acceptance ratio", "accepted / offered", 3, func(o p4Outcome) float64 { return o.acceptance }},
	{"scn-fig4-revenue", "Figure 4: mean revenue", "a unit of time", 3, func(o p4Outcome) float64 { return o.revenue }},
	{"scn-fig5-cost", "Figure 5: mean operating cost", "a unit of time", 3, func(o p4Outcome) float64 { return o.cost }},
	{"scn-fig6-ratio", "Figure 6: revenue over cost", "ratio", 3, func(o p4Outcome) float64 { return o.ratio }},
	{"scn-fig7-length", "Figure 7: mean length of a path", "hops", 2, func(o p4Outcome) float64 { return o.length }},
	{"scn-delay", "Mean delay of a path (the paper has no figure)", "units of time", 1, func(o p4Outcome) float64 { return o.delay }},
	{"scn-overused", "Requests refused since their path has room layer by layer, not as a whole", "share", 3, func(o p4Outcome) float64 { return o.overused }},
}

func (s scnRuns) report(o Options) (r Report) {
	build := Table{Name: "scn-fig2-build", Title: "Figure 2: cost to build the carrying network",
		Columns: []Column{{"method", 0}, {"cost", 0}, {"most sold link", 2}, {"hosts", 1}, {"links", 1}}}
	rate := s.rates[0]
	for _, m := range s.methods {
		at := func(value func(p4Outcome) float64) Interval { return intervalOf(s.of(m.name, rate, value)) }
		build.Add(m.name, at(func(o p4Outcome) float64 { return o.build }), at(func(o p4Outcome) float64 { return o.sold }),
			at(func(o p4Outcome) float64 { return o.candidates }), at(func(o p4Outcome) float64 { return o.pairs }))
	}
	r.Tables = append(r.Tables, build)
	for _, f := range scnFigures {
		t := Table{Name: f.name, Title: f.title + " (" + f.unit + ")", Columns: []Column{{"rate", 0}}}
		c := chart.Chart{Name: f.name, Title: f.title, X: "requests in 100 units of time", Y: f.unit}
		for _, m := range s.methods {
			t.Columns = append(t.Columns, Column{m.name, f.digits})
			c.Lines = append(c.Lines, chart.Line{Name: m.name, Dashed: m.params.Mode == scn.Paper})
		}
		for _, rate := range s.rates {
			row := []any{rate}
			for m := range s.methods {
				i := intervalOf(s.of(s.methods[m].name, rate, f.value))
				row = append(row, i)
				c.Lines[m].Points = append(c.Lines[m].Points, chart.Point{X: float64(rate), Y: i.Mean, Half: i.Half})
			}
			t.Add(row...)
		}
		r.Tables, r.Charts = append(r.Tables, t), append(r.Charts, c)
	}
	if o.Paper {
		s.judge(&r)
	}
	return r
}

// judge holds the outcome against P4-28 to P4-30 and our goals.
func (s scnRuns) judge(r *Report) {
	acceptance := func(o p4Outcome) float64 { return o.acceptance }
	revenue := func(o p4Outcome) float64 { return o.revenue }
	cost := func(o p4Outcome) float64 { return o.cost }
	build := func(o p4Outcome) float64 { return o.build }
	gain := func(a, b string, rate int, value func(p4Outcome) float64) Interval {
		return ratioOf(s.of(a, rate, value), s.of(b, rate, value))
	}
	const half = "the paper does not say what its networks are; on Waxman networks revenue gains come out at half"
	add := func(id, what, said string, got Interval, low, high float64, gate bool, reason string) {
		r.Claims = append(r.Claims, Claim{ID: id, What: what, Said: said, Got: got, Unit: "%", Low: low, High: high, Gate: gate, Reason: reason})
	}
	add("P4-30", "build cost, h=4 over h=3", "+50 %", gain("paper h=4", "paper h=3", 4, build), 40, 60, true, "")
	add("P4-30", "build cost, h=5 over h=3", "+75 %", gain("paper h=5", "paper h=3", 4, build), 60, 90, true, "")
	add("P4-28", "acceptance, h=2 to 3, rate 4", "+7 %", gain("paper h=3", "paper h=2", 4, acceptance), 4, 10, true, "")
	add("P4-28", "acceptance, h=2 to 3, rate 8", "+18 %", gain("paper h=3", "paper h=2", 8, acceptance), 12, 24, true, "")
	add("P4-28", "revenue, h=2 to 3, rate 4", "+12.2 %", gain("paper h=3", "paper h=2", 4, revenue), 7, 17, false, half)
	add("P4-28", "revenue, h=2 to 3, rate 8", "+51.8 %", gain("paper h=3", "paper h=2", 8, revenue), 42, 62, false, half)
	add("P4-28", "cost, h=2 to 3, rate 4", "+5.6 %", gain("paper h=3", "paper h=2", 4, cost), 1, 11, false, half)
	add("P4-28", "cost, h=2 to 3, rate 8", "+40 %", gain("paper h=3", "paper h=2", 8, cost), 30, 50, false, half)
	for _, c := range []struct {
		rate                    int
		accepted, earned, spent float64
		accepts, earns, spends  string
	}{{4, 0.1, 0.1, -1.9, "+0.1 %", "+0.1 %", "-1.9 %"}, {8, 2, 2.8, -1.8, "+2 %", "+2.8 %", "-1.8 %"}} {
		add("P4-29", fmt.Sprintf("acceptance, h=3 to 5, rate %d", c.rate), c.accepts, gain("paper h=5", "paper h=3", c.rate, acceptance), c.accepted-2, c.accepted+2, false, "")
		add("P4-29", fmt.Sprintf("revenue, h=3 to 5, rate %d", c.rate), c.earns, gain("paper h=5", "paper h=3", c.rate, revenue), c.earned-3, c.earned+3, false, "")
		add("P4-29", fmt.Sprintf("cost, h=3 to 5, rate %d", c.rate), c.spends, gain("paper h=5", "paper h=3", c.rate, cost), c.spent-2, c.spent+2, false,
			"accepted requests differ: h=5 accepts some that h=3 refuses, and they are the dear ones")
	}
	const theirs = "paper h=3" // its choice
	ours := fmt.Sprintf("ours h=%d", scn.Defaults().Hops)
	least := Interval{Mean: math.Inf(1)}
	for _, rate := range s.rates {
		d := differenceOf(s.of(ours, rate, acceptance), s.of(theirs, rate, acceptance), 100)
		r.Claims = append(r.Claims, Claim{What: fmt.Sprintf("%s accepts more than %s, rate %d", ours, theirs, rate), Got: d, Unit: "points", Low: 4, High: math.Inf(1), Gate: true})
		r.Figures = append(r.Figures, Figure{Name: fmt.Sprintf("plan.scn_acceptance_rate%d", rate), Value: intervalOf(s.of(ours, rate, acceptance)).Mean,
			Unit: "ratio", Runs: d.N}.Against(intervalOf(s.of(theirs, rate, acceptance)).Mean))
		if d.Mean < least.Mean {
			least = d
		}
	}
	for _, rate := range s.rates {
		r.Claims = append(r.Claims, Claim{What: fmt.Sprintf("ours h=3 accepts more than %s, rate %d", theirs, rate), Unit: "points",
			Got: differenceOf(s.of("ours h=3", rate, acceptance), s.of(theirs, rate, acceptance), 100), Low: 4, High: math.Inf(1)})
	}
	sold := func(method string) (worst float64) {
		for _, rate := range s.rates {
			for _, x := range s.of(method, rate, func(o p4Outcome) float64 { return o.sold }) {
				worst = max(worst, x)
			}
		}
		return worst
	}
	r.Claims = append(r.Claims,
		Claim{What: ours + " sells of a link, any network", Got: Interval{sold(ours), math.NaN(), least.N}, Unit: "of its bandwidth", Low: 0, High: 1 + 1e-9, Gate: true},
		Claim{What: "building " + ours + " costs over " + theirs, Got: gain(ours, theirs, 4, build), Unit: "%", Low: math.Inf(-1), High: 15})
	r.Figures = append(r.Figures,
		Figure{Name: "plan.scn_over_paper_points", Value: least.Mean, Unit: "points", Runs: least.N}.Against(4),
		Figure{Name: "plan.scn_oversell", Value: sold(ours), Unit: "ratio", Runs: least.N}.Against(sold(theirs)))
	r.Notes = append(r.Notes,
		"P4-31 says that h=3 saves 50 and 75 % of the cost of h=4 and 5; of +50 and +75 % the saving is 33 and 43 %.",
		fmt.Sprintf("The paper's networks promise up to %.1f times a link's bandwidth at h=3; ours reserve what they promise.", sold(theirs)))
}
