package orders

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"sonic-netservices/api"
	"sonic-netservices/internal/chunk"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/journal"
)

// tracker is a helper whose kernel tracks memory, or does not: each round writes so many bytes.
type tracker struct {
	api.HelperClient
	host   engine.Host
	lacks  string
	memory int64
	rounds []int
	asked  []int32
}

func (h *tracker) Feature(_ context.Context, in *api.FeatureRequest, _ ...grpc.CallOption) (*api.Empty, error) {
	if h.lacks != "" {
		return nil, status.Error(codes.FailedPrecondition, h.lacks)
	}
	return &api.Empty{}, nil
}

func (h *tracker) PreDump(_ context.Context, in *api.PreDumpRequest, _ ...grpc.CallOption) (*api.PreDumpReply, error) {
	h.asked = append(h.asked, in.Round)
	if h.memory < in.LeastBytes {
		return &api.PreDumpReply{MemoryBytes: h.memory, Skipped: true}, nil
	}
	folder := h.host.RoundFolder(in.Op, int(in.Round))
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	size := h.rounds[in.Round-1]
	if in.Round > 1 { // as CRIU does
		if err := os.Symlink(fmt.Sprintf("../%d", in.Round-1), filepath.Join(folder, "parent")); err != nil {
			return nil, err
		}
	}
	pages := strings.Repeat(string(rune('0'+in.Round)), size)
	return &api.PreDumpReply{Bytes: int64(size)}, os.WriteFile(filepath.Join(folder, "pages-1.img"), []byte(pages), 0o600)
}

// taker is a target that takes rounds.
type taker struct {
	api.UnimplementedPeerServer
	agent    *Agent
	move     *targetMove
	sections []string
}

func (p *taker) Push(stream api.Peer_PushServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	p.sections = append(p.sections, first.Section)
	var n int64
	r := &countingReader{n: &n, r: chunk.Reader(sectionReader(first, stream.Recv, nil, &p.move.touched))}
	if err := p.agent.takeRound(p.move, first.Section, r); err != nil {
		return err
	}
	return stream.SendAndClose(&api.PushReply{Bytes: n})
}

// trackedMove is a move from an agent with that helper to a taker.
func trackedMove(t *testing.T, h *tracker, precopy api.Precopy) (*Agent, *sourceMove, *taker) {
	t.Helper()
	a := &Agent{cfg: Config{Node: "leaf1", Dir: t.TempDir()}, log: slog.New(slog.DiscardHandler), helper: &helperLink{HelperClient: h}}
	h.host = engine.Host{Dir: a.cfg.Dir}
	p := &taker{agent: &Agent{cfg: Config{Node: "leaf2", Dir: t.TempDir()}}, move: &targetMove{op: "op"}}
	ln := bufconn.Listen(1 << 20)
	srv := grpc.NewServer()
	api.RegisterPeerServer(srv, p)
	go srv.Serve(ln)
	t.Cleanup(srv.Stop)
	conn, err := grpc.NewClient("passthrough:///leaf2", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return ln.Dial() }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return a, &sourceMove{
		op: "op", conn: conn, out: newOperation("op"), trace: &api.Move{}, facts: &journal.Facts{}, local: &local{},
		order: &api.MoveOrder{To: "leaf2", Options: &api.MoveOptions{Precopy: precopy}},
	}, p
}

// Rounds go on while each is much smaller than the one before; the dump builds on the last, and so it does at the target.
func TestTrackedRounds(t *testing.T) {
	const kb, mb = 1 << 10, 1 << 20
	for _, c := range []struct {
		name   string
		rounds []int
		want   int
	}{
		{"little is left", []int{8 * mb, 4 * mb, mb}, 3},
		{"it writes as fast as we send", []int{4 * mb, 3 * mb, 3 * mb}, 2},
		{"it does not end", []int{30000 * kb, 20500 * kb, 14000 * kb, 9600 * kb, 6600 * kb, 4500 * kb, 3100 * kb, 2130 * kb, 1400 * kb}, roundsMost},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &tracker{rounds: c.rounds, memory: 100 * mb}
			a, m, p := trackedMove(t, h, api.Precopy_PRECOPY_AUTO)
			for _, step := range []func(context.Context, *sourceMove) error{a.needs, a.sendMemory, a.sendPages} {
				if err := step(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
			if got := m.dumpRequest(t.Context()).Parent; int(got) != c.want || p.move.rounds != c.want {
				t.Fatalf("the dump builds on round %d, the target has %d, want %d", got, p.move.rounds, c.want)
			}
			host := engine.Host{Dir: p.agent.cfg.Dir}
			if err := os.MkdirAll(host.ImageFolder("op"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := host.LinkRound("op", host.ImageFolder("op"), p.move.rounds); err != nil {
				t.Fatal(err)
			}
			at := host.ImageFolder("op")
			for round := c.want; round >= 1; round-- {
				at = filepath.Join(at, "parent")
				pages, err := os.ReadFile(filepath.Join(at, "pages-1.img"))
				if err != nil || len(pages) != c.rounds[round-1] || pages[0] != byte('0'+round) {
					t.Errorf("round %d at the target: %d bytes, %v", round, len(pages), err)
				}
			}
		})
	}
}

func TestTrackedOrNot(t *testing.T) {
	for _, c := range []struct {
		name    string
		lacks   string
		precopy api.Precopy
		memory  int64
		refused string
		tracked bool
		asked   []int32
		note    string // key and part of its text
	}{
		{name: "auto, the kernel can", memory: 1 << 30, tracked: true, asked: []int32{1}},
		{name: "auto, little memory", memory: 1 << 20, tracked: true, asked: []int32{1}, note: "precopy: not worth it"},
		{name: "ordered, little memory", memory: 1 << 20, precopy: api.Precopy_PRECOPY_TRACKED, tracked: true, asked: []int32{1}},
		{name: "auto, the kernel cannot", lacks: "mem_dirty_track is OFF", note: "tracked: is OFF"},
		{name: "ordered, the kernel cannot", lacks: "mem_dirty_track is OFF", precopy: api.Precopy_PRECOPY_TRACKED, refused: "is OFF"},
		{name: "by content", precopy: api.Precopy_PRECOPY_CONTENT},
		{name: "off", precopy: api.Precopy_PRECOPY_OFF, asked: nil, note: "precopy: off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &tracker{lacks: c.lacks, memory: c.memory, rounds: []int{4096}}
			a, m, _ := trackedMove(t, h, c.precopy)
			err := a.needs(t.Context(), m)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("got %v, want a refusal with %q", err, c.refused)
				}
				return
			}
			if err != nil || m.tracked != c.tracked {
				t.Fatalf("tracked %v, %v", m.tracked, err)
			}
			if m.tracked || c.precopy == api.Precopy_PRECOPY_OFF {
				if err := a.sendMemory(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(h.asked, c.asked) {
				t.Errorf("rounds %v were asked for, want %v", h.asked, c.asked)
			}
			if key, text, ok := strings.Cut(c.note, ": "); ok && !strings.Contains(m.trace.Notes[key], text) {
				t.Errorf("notes are %q, want %q", m.trace.Notes, c.note)
			}
		})
	}
}

// A target takes each round once, in order, and no more than there are.
func TestTakeRound(t *testing.T) {
	a, m := &Agent{cfg: Config{Dir: t.TempDir()}}, &targetMove{op: "op"}
	for _, section := range []string{"pre/2", "pre/", "pre/../../x", "pre/01", "pre/0"} {
		if err := a.takeRound(m, section, strings.NewReader("")); err == nil {
			t.Errorf("%s was taken", section)
		}
	}
	if err := a.takeRound(m, "pre/1", strings.NewReader("garbage")); err == nil || m.rounds != 0 {
		t.Errorf("garbage was taken: %v", err)
	}
	m.rounds = roundsMost
	if err := a.takeRound(m, fmt.Sprintf("pre/%d", roundsMost+1), strings.NewReader("")); err == nil {
		t.Error("a round too many was taken")
	}
}
