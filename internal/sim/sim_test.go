package sim

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/pki"
	"sonic-netservices/internal/sim/contract"
	"sonic-netservices/netmap"
)

// pair is two nodes without a manager: the test gives the orders.
type pair struct {
	*testing.T
	site   *Site
	a, b   *Agent
	orders map[*Agent]api.AgentClient
	spec   *api.Replica
}

var kms = netmap.ReplicaID{Service: "kms"}

func newPair(t *testing.T) *pair {
	site, err := NewSite(t.TempDir(), "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(site.Close)
	p := &pair{T: t, site: site, orders: map[*Agent]api.AgentClient{}}
	manager, err := site.Identity("leaf3", pki.Manager)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"leaf1", "leaf2"} {
		agent, err := site.Agent(name, 4)
		if err != nil {
			t.Fatal(err)
		}
		client, conn, err := agent.Client(manager)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		*[]**Agent{&p.a, &p.b}[i], p.orders[agent] = agent, client
	}
	p.spec = &api.Replica{Service: "kms", ImageId: p.push(p.a), Image: "kms:1.0", Address: "10.20.0.10/24"}
	return p
}

// push loads an image and gives its ID.
func (p *pair) push(to *Agent) string {
	p.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	text := `[{"Config":"blobs/sha256/c0ffee","RepoTags":["kms:1.0"]}]`
	if err := w.WriteHeader(&tar.Header{Name: "manifest.json", Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
		p.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		p.Fatal(err)
	}
	w.Close()
	stream, err := p.orders[to].PushImage(p.Context())
	if err == nil {
		err = stream.Send(&api.Chunk{Data: b.Bytes()})
	}
	if err != nil {
		p.Fatal(err)
	}
	image, err := stream.CloseAndRecv()
	if err != nil || image.Id != "sha256:c0ffee" {
		p.Fatalf("push: %v, %v", image, err)
	}
	return image.Id
}

func (p *pair) do(agent *Agent, op, order string) (*api.Event, error) {
	o := &api.Order{Op: op, Epoch: 1}
	m := &api.MoveOrder{Service: "kms", Mode: api.Mode_LIVE, To: p.b.node, ToAgent: p.b.listen, ToHelper: p.b.helper}
	switch order {
	case "deploy":
		o.What = &api.Order_Deploy{Deploy: &api.DeployOrder{Replica: p.spec}}
	case "transfer":
		o.What = &api.Order_Transfer{Transfer: m}
	case "prewarm":
		o.What = &api.Order_Prewarm{Prewarm: m}
	case "cutover":
		o.What = &api.Order_Cutover{Cutover: m}
	}
	stream, err := p.orders[agent].Do(p.Context(), o)
	for {
		var e *api.Event
		if err == nil {
			e, err = stream.Recv()
		}
		if err != nil || e.Done {
			return e, err
		}
	}
}

// must gives an order that ends well.
func (p *pair) must(agent *Agent, op, order string) {
	p.Helper()
	if e, err := p.do(agent, op, order); err != nil || e.Outcome != api.Outcome_COMMITTED {
		p.Fatalf("%s: %v, %v", order, e, err)
	}
}

// journal gives the steps of an operation.
func (a *Agent) journal(op string, in role) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.disk.page(op, in); p != nil {
		return slices.Clone(p.steps)
	}
	return nil
}

// settled waits until one node has the replica and the other nothing of it, and wants it to be that one.
func (p *pair) settled(want *Agent) {
	p.Helper()
	for range 100 {
		other := map[*Agent]*Agent{p.a: p.b, p.b: p.a}[want]
		if have := want.Instances(); len(have) == 1 && have[0].State == api.State_RUNNING && len(other.Instances()) == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if copies := p.site.Segment.Copies(kms); !slices.Equal(copies, []string{want.node}) || p.site.Segment.Owner(kms) != want.node {
		p.Errorf("copies on %v, served by %q; want %s alone", copies, p.site.Segment.Owner(kms), want.node)
	}
	if n, ok := p.site.Segment.Request(kms); !ok {
		p.Errorf("nobody answers, after %d", n)
	}
	for _, f := range p.site.Segment.Faults() {
		p.Error(f)
	}
	if p.Failed() {
		p.Fatalf("journals:\n%s\n%s", strings.Join(p.a.Journal(), "\n"), strings.Join(p.b.Journal(), "\n"))
	}
}

func TestContract(t *testing.T) {
	for _, mode := range []api.Mode{api.Mode_LIVE, api.Mode_WARM, api.Mode_COLD} {
		t.Run(strings.ToLower(mode.String()), func(t *testing.T) {
			p := newPair(t)
			if _, err := p.orders[p.a].Renew(t.Context(), &api.RenewRequest{Epoch: 7}); err != nil {
				t.Fatal(err)
			}
			err := contract.Check(t.Context(), contract.Bed{
				Source: p.orders[p.a], Target: p.orders[p.b], To: p.b.Hello(), Replica: p.spec, Spare: "10.20.0.21/24", Mode: mode, Tag: "sim",
			}, t.Logf)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAgentDies kills an agent at every place of a move. Before the commit the service stays, after it it goes; where it
// is the target that dies, the source decides.
func TestAgentDies(t *testing.T) {
	for _, order := range []string{"transfer", "prewarm", "cutover"} {
		for i, place := range Places(order) {
			for _, victim := range []string{"leaf1", "leaf2"} {
				t.Run(fmt.Sprintf("%s/%s/%s", order, place, victim), func(t *testing.T) {
					t.Parallel()
					p := newPair(t)
					p.must(p.a, "deploy", "deploy")
					agent := map[string]*Agent{"leaf1": p.a, "leaf2": p.b}[victim]
					killed := make(chan struct{})
					p.site.At(func(ctx context.Context, at Point) error {
						if at.Order == order && at.Place == place {
							go func() { agent.Kill(); close(killed) }()
							if agent == p.a {
								<-ctx.Done()
							} else {
								<-killed
							}
						}
						return ctx.Err()
					})
					var orders sync.WaitGroup
					orders.Go(func() {
						for _, step := range []string{"transfer", "prewarm", "cutover"} {
							p.site.Segment.Request(kms)
							if _, err := p.do(p.a, "move", step); err != nil {
								return
							}
						}
					})
					<-killed
					if err := agent.Start(); err != nil {
						t.Fatal(err)
					}
					orders.Wait()
					want := p.a
					switch committed := slices.Contains(p.a.journal("move", source), committed); {
					case agent == p.b && committed: // it was back before it was needed, or had restored
						want = p.b
					case agent == p.a && order == "cutover" && i > slices.Index(Places(order), restored):
						want = p.b
					}
					p.settled(want)
				})
			}
		}
	}
}

// TestLost lets orders and answers get lost: a repeat comes to the same.
func TestLost(t *testing.T) {
	for _, place := range []string{Sent, Answer} {
		for _, lost := range []string{"transfer", "prewarm", "cutover"} {
			t.Run(place+"/"+lost, func(t *testing.T) {
				t.Parallel()
				p := newPair(t)
				p.must(p.a, "deploy", "deploy")
				times := 0
				p.site.At(func(_ context.Context, at Point) error {
					if at.Order == lost && at.Place == place {
						if times++; times == 1 {
							return errors.New("lost")
						}
					}
					return nil
				})
				for _, order := range []string{"transfer", "prewarm", "cutover"} {
					_, err := p.do(p.a, "move", order)
					if order == lost {
						if status.Code(err) != codes.Unavailable {
							t.Fatalf("the lost one: %v", err)
						}
						p.must(p.a, "move", order)
					} else if err != nil {
						t.Fatal(err)
					}
				}
				p.settled(p.b)
			})
		}
	}
}

// TestSegmentSees that the watch over owners can fail.
func TestSegmentSees(t *testing.T) {
	for want, spoil := range map[string]func(s *Segment){
		"served by [a b] at the same time":  func(s *Segment) { s.restore(kms, "b", 0); s.release(kms, "b") },
		"its last copy, on a, was dropped":  func(s *Segment) { s.drop(kms, "a") },
		"work was lost or done twice":       func(s *Segment) { s.freeze(kms, "a"); s.restore(kms, "b", 3); s.release(kms, "b"); s.Request(kms) },
		"is to be serving, and there is no": func(s *Segment) { s.release(kms, "c") },
		"a is to be frozen, and is held":    func(s *Segment) { s.restore(kms, "a", 0); s.freeze(kms, "a") },
	} {
		s := newSegment()
		s.start(kms, "a")
		s.Request(kms)
		spoil(s)
		if got := strings.Join(s.Faults(), "\n"); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
