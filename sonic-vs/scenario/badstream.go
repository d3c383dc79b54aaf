package scenario

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/pki"
	"sonic-netservices/mig-agent/data"
	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/suite"
)

// ghost is a replica that no manager knows; its moves are played by the scenario, with the certificate of a node.
const ghost = "ghost-0"

// badStream plays the source of moves and breaks what it sends: cut short, with a flipped bit, out of turn, twice, in
// somebody else's name. The target says what is wrong and forgets the move; the service beside it notices nothing.
func badStream(ctx context.Context, s *stage) error {
	owner, faults, err := s.settle(ctx)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return fmt.Errorf("not ready to begin: %s", strings.Join(faults, "; "))
	}
	// A real move first: the node it leaves has the image, and there is an operation to replay.
	moved, err := s.suite.Migrate(ctx, replica, other(owner), "live")
	if err != nil {
		return err
	}
	p, err := s.player(ctx, moved)
	if err != nil {
		return err
	}
	s.refused(ctx, p.attempts())
	if err := p.forgotten(ctx); err != nil {
		s.fault("%v", err)
	}
	if err := s.healthy(ctx); err != nil {
		s.fault("%s does not answer: %v", service, err)
	}
	now, faults, err := s.settle(ctx)
	for _, f := range faults {
		s.fault("%s", f)
	}
	if now != moved.To {
		s.fault("%s is on %s, and was on %s", replica, now, moved.To)
	}
	return err
}

// player is a source that sends what it wants.
type player struct {
	stage   *stage
	moved   suite.Move
	home    *node // of the service, in whose name it speaks
	target  *node
	source  caller
	foreign caller // a node that has nothing to do with it
	manager caller
	epoch   uint64
	cluster string
	image   string
	tree    []byte // a volume, as a source sends it
	ops     int
}

func (s *stage) player(ctx context.Context, moved suite.Move) (*player, error) {
	p := &player{stage: s, moved: moved, home: s.node(moved.To), target: s.node(moved.From)}
	var err error
	if p.source, err = s.issue(moved.To, pki.Node); err != nil {
		return nil, err
	}
	if p.foreign, err = s.issue(s.leader().Name, pki.Node); err != nil {
		return nil, err
	}
	if p.manager, err = s.issue(s.leader().Name, pki.Manager); err != nil {
		return nil, err
	}
	if p.epoch, err = epochOf(ctx, p.manager, p.home); err != nil {
		return nil, err
	}
	managers, err := s.suite.Managers(ctx)
	if err != nil {
		return nil, err
	}
	p.cluster = managers.Cluster
	services, err := s.suite.Services(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range services {
		for _, i := range v.Instances {
			if v.Name == service {
				p.image = i.ImageID
			}
		}
	}
	dir := filepath.Join(s.dir, "volume")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "keys"), bytes.Repeat([]byte("a key a line\n"), 5000), 0o600); err != nil {
		return nil, err
	}
	var tree bytes.Buffer
	if _, _, err := data.WriteFull(&tree, dir, data.Volume); err != nil {
		return nil, err
	}
	p.tree = tree.Bytes()
	return p, nil
}

// flipped is the tree with one bit in its middle turned over.
func (p *player) flipped() []byte {
	bad := bytes.Clone(p.tree)
	bad[len(bad)/2] ^= 0x10
	return bad
}

func (p *player) attempts() []attempt {
	peer := func(name, want string, f func(ctx context.Context, peer api.PeerClient, op string) error) attempt {
		return attempt{name, want, func(ctx context.Context) string {
			op, err := p.reserve(ctx)
			if err != nil {
				return "cannot reserve: " + said(err)
			}
			err = p.source.call(ctx, p.target, pki.Node, func(ctx context.Context, conn *grpc.ClientConn) error {
				return f(ctx, api.NewPeerClient(conn), op)
			})
			return said(err)
		}}
	}
	const keys = "volume/keys"
	return []attempt{
		peer("a push that is cut short", "volume/keys: .*EOF", func(ctx context.Context, peer api.PeerClient, op string) error {
			return push(ctx, peer, op, keys, p.tree[:len(p.tree)/2], false)
		}),
		peer("a push with a flipped bit", "volume/keys: .*checksum differs", func(ctx context.Context, peer api.PeerClient, op string) error {
			return push(ctx, peer, op, keys, p.flipped(), true)
		}),
		peer("a push of an image that is none", "^Internal: image: ", func(ctx context.Context, peer api.PeerClient, op string) error {
			return push(ctx, peer, op, "image", []byte("no tar"), true)
		}),
		peer("a push of an unknown section", "^InvalidArgument: section: \"secrets\"", func(ctx context.Context, peer api.PeerClient, op string) error {
			return push(ctx, peer, op, "secrets", nil, true)
		}),
		peer("a push without a reservation", "^FailedPrecondition: op: never has no reservation", func(ctx context.Context, peer api.PeerClient, _ string) error {
			return push(ctx, peer, "never", keys, p.tree, true)
		}),
		peer("a reservation that is replayed", "^FailedPrecondition: .*"+ghost+" is migrating on "+p.target.Name, func(ctx context.Context, peer api.PeerClient, op string) error {
			_, err := peer.Reserve(ctx, p.request(op))
			return err
		}),
		{"a push into somebody else's move", "^PermissionDenied: op: .* belongs to " + p.home.Name, func(ctx context.Context) string {
			op, err := p.reserve(ctx)
			if err != nil {
				return "cannot reserve: " + said(err)
			}
			return said(p.foreign.call(ctx, p.target, pki.Node, func(ctx context.Context, conn *grpc.ClientConn) error {
				return push(ctx, api.NewPeerClient(conn), op, keys, p.tree, true)
			}))
		}},
		peer("arming without its volumes", "^FailedPrecondition: volume keys was not sent", func(ctx context.Context, peer api.PeerClient, op string) error {
			_, err := peer.Arm(ctx, &api.OpRef{Op: op})
			return err
		}),
		peer("a cut-over that begins in its middle", "^InvalidArgument: says: a cut-over begins with switch", func(ctx context.Context, peer api.PeerClient, _ string) error {
			return converse(ctx, peer, &api.SourceSays{Says: &api.SourceSays_Restore{Restore: &api.Restore{}}})
		}),
		peer("a cut-over before it is armed", "failed: .*switch does not follow reserved", func(ctx context.Context, peer api.PeerClient, op string) error {
			return converse(ctx, peer, switchWord(op))
		}),
		peer("a cut-over with a flipped bit", "failed: delta/keys: .*the checksum does not fit", func(ctx context.Context, peer api.PeerClient, op string) error {
			if err := p.arm(ctx, peer, op); err != nil {
				return err
			}
			return converse(ctx, peer, switchWord(op), partWord("delta/keys", p.flipped()), p.endWord())
		}),
		peer("a cut-over that is cut short", "failed: delta/keys: .*EOF", func(ctx context.Context, peer api.PeerClient, op string) error {
			if err := p.arm(ctx, peer, op); err != nil {
				return err
			}
			return converse(ctx, peer, switchWord(op), partWord("delta/keys", p.tree[:len(p.tree)/2]))
		}),
		{"a move of a container that is not there", "^FailedPrecondition: .*" + ghost + " is unloaded on " + p.home.Name, func(ctx context.Context) string {
			return p.manager.order(ctx, p.home, &api.Order{Op: "badstream-unknown", Epoch: p.epoch, Cluster: p.cluster, What: &api.Order_Transfer{Transfer: &api.MoveOrder{
				Service: "ghost", Mode: api.Mode_LIVE, To: p.target.Name, ToAgent: addressOf(p.target, pki.Node)}}})
		}},
		{"a cut-over that was done is replayed", "^COMMITTED$", func(ctx context.Context) string {
			return p.manager.order(ctx, p.target, &api.Order{Op: p.moved.Op, Epoch: p.epoch, Cluster: p.cluster, What: &api.Order_Cutover{Cutover: &api.MoveOrder{
				Service: service, Mode: api.Mode_LIVE, To: p.home.Name, ToAgent: addressOf(p.home, pki.Node)}}})
		}},
	}
}

// reserve makes room for the ghost under an operation of its own, as soon as the target has forgotten the one before.
func (p *player) reserve(ctx context.Context) (op string, err error) {
	p.ops++
	op = fmt.Sprintf("badstream-%d-%d", time.Now().Unix(), p.ops)
	for began := time.Now(); time.Since(began) < settleTime; pause(ctx) {
		err = p.source.call(ctx, p.target, pki.Node, func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := api.NewPeerClient(conn).Reserve(ctx, p.request(op))
			return err
		})
		if err == nil || status.Code(err) != codes.FailedPrecondition || ctx.Err() != nil {
			break
		}
	}
	return op, err
}

func (p *player) request(op string) *api.ReserveRequest {
	return &api.ReserveRequest{Op: op, Epoch: p.epoch, From: p.home.Name, Mode: api.Mode_COLD,
		FromAgent:  addressOf(p.home, pki.Node),
		FromHelper: fmt.Sprintf("%s:%d", p.home.Loopback, netmap.HelperPort),
		Replica: &api.Replica{Service: "ghost", Address: "10.20.0.66/24", ImageId: p.image,
			Volumes: []*api.Volume{{Name: "keys", Target: "/keys"}}}}
}

// arm brings a move to where its cut-over begins.
func (p *player) arm(ctx context.Context, peer api.PeerClient, op string) error {
	if err := push(ctx, peer, op, "volume/keys", p.tree, true); err != nil {
		return err
	}
	_, err := peer.Arm(ctx, &api.OpRef{Op: op})
	return err
}

// forgotten waits until nothing of the ghost is left at the target.
func (p *player) forgotten(ctx context.Context) error {
	var left []string
	for began := time.Now(); time.Since(began) < settleTime; pause(ctx) {
		all, err := p.stage.snapshot(ctx)
		if err != nil {
			return err
		}
		left = nil
		for place := range all {
			if strings.Contains(place, "container") && strings.Contains(place, ghost) {
				left = append(left, place)
			}
		}
		volumes := filepath.Join(p.target.Dir, netmap.VolumesDir, ghost)
		if _, err := os.Stat(volumes); !errors.Is(err, fs.ErrNotExist) {
			left = append(left, volumes)
		}
		if len(left) == 0 {
			return nil
		}
	}
	return fmt.Errorf("left of moves that were broken: %s", strings.Join(left, ", "))
}

// push sends one section, with its end or without, and gives what the target says to it.
func push(ctx context.Context, peer api.PeerClient, op, section string, bytes []byte, end bool) error {
	stream, err := peer.Push(ctx)
	if err != nil {
		return err
	}
	parts := []*api.Part{{Op: op, Section: section}, {Data: bytes}}
	if end {
		parts = append(parts, &api.Part{End: true})
	}
	for _, part := range parts {
		if stream.Send(part) != nil {
			break // CloseAndRecv tells why
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

// converse says all words, ends its half, and gives the first thing that the target does not agree with.
func converse(ctx context.Context, peer api.PeerClient, words ...*api.SourceSays) error {
	stream, err := peer.Cutover(ctx)
	if err != nil {
		return err
	}
	for _, w := range words {
		if stream.Send(w) != nil {
			break // Recv tells why
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		says, err := stream.Recv()
		if err != nil {
			return err
		}
		if f, ok := says.Says.(*api.TargetSays_Failed); ok {
			return status.Error(codes.Aborted, "failed: "+f.Failed)
		}
	}
}

func switchWord(op string) *api.SourceSays {
	return &api.SourceSays{Says: &api.SourceSays_Switch{Switch: &api.Switch{Op: op}}}
}

func partWord(section string, data []byte) *api.SourceSays {
	return &api.SourceSays{Says: &api.SourceSays_Part{Part: &api.Part{Section: section, Data: data}}}
}

// endWord ends a section that should have been the tree.
func (p *player) endWord() *api.SourceSays {
	sum := crc32.Checksum(p.tree, crc32.MakeTable(crc32.Castagnoli))
	return &api.SourceSays{Says: &api.SourceSays_Part{Part: &api.Part{End: true, Sum: binary.BigEndian.AppendUint32(nil, sum)}}}
}
