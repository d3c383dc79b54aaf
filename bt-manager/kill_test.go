package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/groot"
	"sonic-netservices/internal/sim"
	"sonic-netservices/netmap"
)

var (
	full = flag.Bool("full", false, "kill bt-manager in every case, not in a sample")
	seed = flag.Uint64("seed", 0, "of the sample and of chance; 0: of the clock")
)

// rng gives chance, and says how to have the same again.
func rng(t *testing.T) *rand.Rand {
	n := *seed
	if n == 0 {
		n = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", n)
	return rand.New(rand.NewPCG(n, 0))
}

var kms = netmap.ReplicaID{Service: "kms"}

// killing is one case: where bt-manager is killed in a move that its tree has decided.
type killing struct {
	name string
	// arm lets dead be called once when the move is there, and gives what undoes it.
	arm func(a *as, dead func(kill func())) (disarm func())
	// again: the move may be taken back, and a second one do what it was to do.
	again bool
}

// cases are all places of all orders a move consists of, and the answers.
func cases() (all []killing) {
	for _, order := range []string{"transfer", "prewarm", "cutover"} {
		all = append(all, killing{name: order + " sent, not arrived", arm: hold(order, sim.Sent, nil)})
		for _, place := range sim.Places(order) {
			// A target that has heard the new manager refuses what the old one's order asks for.
			again := order == "transfer" && place == "begun"
			all = append(all, killing{name: order + " at " + place, arm: hold(order, place, nil), again: again})
		}
		all = append(all, killing{name: order + " done, not answered", arm: hold(order, sim.Answer, nil)},
			killing{name: order + " answered, not heard", arm: deaf(order)})
	}
	// A prewarm that never arrives makes the manager cancel.
	lose := func(p sim.Point) error {
		if p.Order == "prewarm" && p.Place == sim.Sent {
			return errors.New("lost")
		}
		return nil
	}
	for _, place := range append([]string{sim.Sent, sim.Answer}, sim.Places("cancel")...) {
		all = append(all, killing{name: "cancel at " + place, arm: hold("cancel", place, lose), again: true})
	}
	return all
}

// hold stops an order at a place until bt-manager is dead and back. meanwhile, which may be nil, is what else happens to
// orders until then.
func hold(order, place string, meanwhile func(sim.Point) error) func(*as, func(func())) func() {
	return func(a *as, dead func(func())) func() {
		held := make(chan struct{})
		var once sync.Once
		a.site.At(func(ctx context.Context, p sim.Point) error {
			first := false
			if p.Order == order && p.Place == place {
				once.Do(func() { first = true })
			}
			switch {
			case first:
				dead(a.kill)
				select {
				case <-held:
				case <-ctx.Done():
				}
				if place == sim.Sent {
					return errors.New("it never arrives")
				}
			case meanwhile != nil:
				select {
				case <-held:
				default:
					return meanwhile(p)
				}
			}
			return nil
		})
		return func() { close(held) }
	}
}

// deaf stops bt-manager before an answer, lets it be sent, and kills bt-manager then.
func deaf(order string) func(*as, func(func())) func() {
	return func(a *as, dead func(func())) func() {
		var once sync.Once
		a.site.At(func(_ context.Context, p sim.Point) error {
			if p.Order == order && p.Place == sim.Answer {
				once.Do(func() {
					_ = a.manager.Process.Signal(syscall.SIGSTOP)
					dead(func() {
						time.Sleep(100 * time.Millisecond) // the answer is in the socket
						a.kill()
					})
				})
			}
			return nil
		})
		return func() {}
	}
}

// breakpoints are both sides of every node that a move comes by, from Handshake to RecordPolicy, and of those that only
// one comes by that fails.
func breakpoints(a *as) (all []killing) {
	client, _ := a.monitor()
	defer client.Close()
	tree, err := client.Nodes()
	if err != nil {
		a.Fatal(err)
	}
	for _, n := range tree.Nodes {
		_, last, _ := strings.Cut(n.Path, "guard/move/")
		handshake, inMigrate := strings.HasPrefix(last, "Handshake"), strings.HasPrefix(last, "migrate")
		if !handshake && !inMigrate {
			continue
		}
		fails := map[string]string{"Rollback": "armed", "Ask": "frozen"}[n.Type]
		for _, where := range []bt.Place{bt.Before, bt.After} {
			all = append(all, killing{name: fmt.Sprintf("%s %s", where, strings.ReplaceAll(last, "/", " ")), arm: stop(uint16(n.UID), where, fails), again: fails != ""})
		}
	}
	return all
}

// monitor has the tree of the replica shown, and lets it be held.
func (a *as) monitor() (*groot.Client, *groot.Subscription) {
	a.Helper()
	var reply *api.MonitorReply
	a.until("the tree to be shown", func() bool {
		ctx, cancel := context.WithTimeout(a.Context(), time.Second)
		defer cancel()
		var err error
		reply, err = a.alice.Monitor(ctx, &api.MonitorRequest{Replica: kms.String(), Write: true})
		return err == nil
	})
	client, err := groot.Dial(a.Context(), reply.Rep)
	if err != nil {
		a.Fatal(err)
	}
	reached, err := groot.Subscribe(a.Context(), reply.Pub)
	if err != nil {
		a.Fatal(err)
	}
	return client, reached
}

// stop holds the tree at a node by a breakpoint, as Groot2 would. Until bt-manager is dead and back, moves fail at a
// place, if there is one.
func stop(uid uint16, where bt.Place, fails string) func(*as, func(func())) func() {
	return func(a *as, dead func(func())) func() {
		a.site.At(func(_ context.Context, p sim.Point) error {
			if p.Place == fails {
				return errors.New("it fails here")
			}
			return nil
		})
		client, reached := a.monitor()
		if err := client.Insert(groot.Breakpoint(uid, where)); err != nil {
			a.Fatal(err)
		}
		go func() {
			defer client.Close()
			defer reached.Close()
			for range int(patience / time.Second) {
				if at, err := reached.Next(time.Second); err == nil && at == uid {
					dead(a.kill)
					return
				}
				if _, err := client.Do(groot.StatusOfAll); err != nil { // who is silent holds nothing
					return
				}
			}
		}()
		return func() { a.site.At(nil) }
	}
}

// sampled is how many cases an everyday run takes.
const sampled = 12

// TestKillMatrix kills bt-manager with SIGKILL at every boundary of a move that its tree has decided. Each time it is
// started again, and the run goes on: the service is where it was to go, once, and was nowhere twice or lost meanwhile.
func TestKillMatrix(t *testing.T) {
	chance := rng(t)
	a := newAS(t, "leaf1", "leaf2")
	a.deploy("kms", "10.20.0.10", "leaf1", 0.3)
	a.clients(kms)
	list := append(cases(), breakpoints(a)...)
	chance.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	if !*full {
		list = list[:sampled]
	}
	for _, k := range list {
		if !t.Run(k.name, func(t *testing.T) { a.killed(t, k) }) {
			return // the next begins where this one should have ended
		}
	}
	t.Logf("%d cases in one AS, %d lives of bt-manager", len(list), a.lives)
}

// killed is one case.
func (a *as) killed(t *testing.T, k killing) {
	old := a.T
	a.T = t
	defer func() { a.T = old }()
	from := a.site.Segment.Owner(kms)
	to := map[string]string{"leaf1": "leaf2", "leaf2": "leaf1"}[from]
	before := a.moves()
	traced := len(a.site.Trace())
	there := make(chan func(), 1)
	disarm := k.arm(a, func(kill func()) { there <- kill })
	disarm = sync.OnceFunc(disarm)
	defer a.site.At(nil)
	defer disarm()
	began := time.Now()
	for node, cores := range map[string]float64{from: 3.6, to: 0} {
		if err := a.site.Load(node, cores); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case kill := <-there:
		kill()
	case <-time.After(patience):
		t.Fatalf("the move does not come there\n%s", a.tail())
	}
	killed := time.Now()
	a.start()
	a.until("bt-manager to serve again", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := a.alice.Services(ctx, &api.Empty{})
		return err == nil
	})
	disarm()
	why := ""
	a.untilSaid(&why, func() bool { why = a.away(kms, to); return why == "" })
	settled := time.Now()

	// Nothing twice, nothing lost.
	for _, f := range a.site.Segment.Faults() {
		t.Error(f)
	}
	begun := map[string]int{}
	for _, p := range a.site.Trace()[traced:] {
		if p.Place == "begun" {
			begun[p.Op+" "+p.Order]++
		}
	}
	for what, times := range begun {
		if times > 1 {
			t.Errorf("%s was begun %d times", what, times)
		}
	}
	now := a.moves()
	now = now[:len(now)-len(before)]
	committed := 0
	for _, m := range now {
		if !strings.HasPrefix(m.Move.Op, "tree-kms-0-") {
			t.Errorf("no tree has decided %s", m.Move.Op)
		}
		switch m.Outcome {
		case api.Outcome_COMMITTED:
			committed++
		case api.Outcome_ABORTED:
		default:
			t.Errorf("%s ended %v", m.Move.Op, m.Outcome)
		}
	}
	if committed != 1 || len(now) > 1 && !k.again {
		t.Errorf("%d moves, %d committed; want one, and nothing taken back: %v", len(now), committed, now)
	}
	if !slices.EqualFunc(before, a.moves()[len(now):], func(x, y *api.MoveView) bool { return x.Move.Op == y.Move.Op && x.Outcome == y.Outcome }) {
		t.Errorf("the journal tells other moves than before")
	}
	if t.Failed() {
		t.Log(a.tail())
	}
	fmt.Printf("%-32s there after %4d ms, settled %4d ms after the kill, %d moves\n", k.name, killed.Sub(began).Milliseconds(), settled.Sub(killed).Milliseconds(), len(now))
}
