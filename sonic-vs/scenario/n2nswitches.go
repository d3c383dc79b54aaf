package scenario

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"strings"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
	"sonic-netservices/sonic-vs/overlay"
	"sonic-netservices/sonic-vs/suite"
)

// The overlay of n2n-switches: its supernode is on the manager's switch, an edge on each home.
const (
	switchOverlay = "sites"
	overlayList   = netmap.HostDir + "/communities" // who may have which community
	overlayTime   = 60 * time.Second                // for edges to come up, find each other, and for rows to get everywhere
)

// n2nSwitches installs the overlay's features from their manifests on switches that CONFIG_DB tells what to do, and looks at them as
// an operator does. In the end the switches are as before.
func n2nSwitches(ctx context.Context, s *stage) (err error) {
	defer func() { err = errors.Join(err, s.endOverlay(context.WithoutCancel(ctx))) }()
	edges, err := s.beginOverlay(ctx)
	if err != nil {
		return err
	}
	// Supernode and edges have one round of pings while all is well, one while the supernode is away, and one after it came back.
	s.pingOverlay(ctx, edges, "at first")
	s.directOverlay(ctx, edges)
	s.wantEdges(ctx, edges, 0)

	if err := s.suite.Disable(ctx, s.leader().Node, suite.Supernode); err != nil {
		return err
	}
	s.pingOverlay(ctx, edges, "without the supernode")
	ended := time.Now()
	if err := s.suite.Enable(ctx, s.leader().Node, suite.Supernode); err != nil {
		return err
	}
	s.wantEdges(ctx, edges, time.Since(ended)) // known since before
	s.pingOverlay(ctx, edges, "with the supernode back")

	if err := s.suite.Disable(ctx, edges[1].Node, suite.EdgeNode); err != nil {
		return err
	}
	s.wantEdges(ctx, edges[:1], 0)
	return nil
}

// overlayRow is what CONFIG_DB tells a switch of the overlay.
func (s *stage) overlayRow(ctx context.Context, n *node, key string, row map[string]string) error {
	db, err := n.db.DB(ctx, "CONFIG_DB")
	if err != nil {
		return err
	}
	if row == nil {
		return db.Del(ctx, db.Key("NETSERVICES", key))
	}
	return db.Replace(ctx, db.Key("NETSERVICES", key), row)
}

// overlayAddress of the edge on the i-th home.
func overlayAddress(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 98, 0, byte(i + 1)}), 24)
}

// beginOverlay configures and installs.
func (s *stage) beginOverlay(ctx context.Context) (edges []*node, err error) {
	hub := s.leader()
	if err := os.WriteFile(hub.Path(overlayList), []byte(switchOverlay+" encrypted\n"), 0o644); err != nil {
		return nil, err
	}
	if err := s.overlayRow(ctx, hub, "supernode", map[string]string{"communities": overlayList, "rate": "100"}); err != nil {
		return nil, err
	}
	if err := s.suite.Add(ctx, hub.Node, suite.Supernode); err != nil {
		return nil, err
	}
	for i, name := range homes {
		n := s.node(name)
		row := map[string]string{"community": switchOverlay, "key": "correct horse battery", "transform": "speck", "header_encryption": "true",
			"address": overlayAddress(i).String(), "supernodes": netip.AddrPortFrom(s.loopback(hub), n2n.DefaultPort).String()}
		if err := s.overlayRow(ctx, n, "edge", row); err != nil {
			return nil, err
		}
		if err := s.suite.Add(ctx, n.Node, suite.EdgeNode); err != nil {
			return nil, err
		}
		edges = append(edges, n)
	}
	return edges, nil
}

// loopback gives a switch's Loopback0.
func (s *stage) loopback(n *node) netip.Addr {
	for _, spec := range s.suite.Bed.Topology.Nodes {
		if spec.Name == n.Name {
			return spec.Loopback
		}
	}
	panic("no node " + n.Name)
}

// endOverlay takes all of it off.
func (s *stage) endOverlay(ctx context.Context) (err error) {
	for _, n := range s.nodes {
		for _, feature := range []string{suite.EdgeNode, suite.Supernode} {
			err = errors.Join(err, s.suite.Remove(ctx, n.Node, feature))
		}
		for _, key := range []string{"edge", "supernode"} {
			err = errors.Join(err, s.overlayRow(ctx, n, key, nil))
		}
	}
	err = errors.Join(err, os.Remove(s.leader().Path(overlayList)))
	db, bad := s.resour(ctx, s.leader())
	if bad != nil {
		return errors.Join(err, bad)
	}
	return errors.Join(err, db.Clear(ctx, resourdb.EdgeTable)) // their writer is gone for good
}

func (s *stage) resour(ctx context.Context, n *node) (*resourdb.DB, error) {
	return resourdb.Open(ctx, n.db)
}

// pingOverlay wants each edge to reach the other without a loss, as soon as it reaches it at all.
func (s *stage) pingOverlay(ctx context.Context, edges []*node, when string) {
	limit, cancel := context.WithTimeout(ctx, overlayTime)
	defer cancel()
	for i, n := range edges {
		to := overlayAddress(1 - i).Addr()
		enter := func(f func() error) error { return s.bed.InNetns(n.Name, f) }
		var p overlay.Pings
		var err error
		for p.Received == 0 && limit.Err() == nil {
			if p, err = overlay.PingOut(limit, enter, to, 1, 0, time.Second); err != nil {
				_ = pause(limit) // no device yet
			}
		}
		if p, err = overlay.PingOut(limit, enter, to, 50, 20*time.Millisecond, 3*time.Second); err != nil || p.Received != p.Sent {
			s.fault("%s: %s over the overlay: %+v, %v", when, n.Name, p, err)
			continue
		}
		s.say("%-24s %s > %s  %d/%d pings, %.2f ms", when, n.Name, to, p.Received, p.Sent, p.RTT)
	}
}

// directOverlay wants the edges to say that they reach each other straight.
func (s *stage) directOverlay(ctx context.Context, edges []*node) {
	limit, cancel := context.WithTimeout(ctx, overlayTime)
	defer cancel()
	for _, n := range edges {
		for {
			out, err := s.bed.Exec(limit, n.Name, "docker", "exec", suite.EdgeNode, "/n2n-edge", "status").CombinedOutput()
			if err == nil && strings.Contains(string(out), "  direct  ") {
				break
			}
			s.pingQuietly(limit, n, edges)
			if pause(limit) != nil {
				s.fault("%s does not reach its peer straight: %v\n%s", n.Name, err, out)
				break
			}
		}
	}
}

// pingQuietly sends one ping to each edge: ways are looked for where there is traffic.
func (s *stage) pingQuietly(ctx context.Context, from *node, edges []*node) {
	for i, n := range edges {
		if n != from {
			_, _ = overlay.PingOut(ctx, func(f func() error) error { return s.bed.InNetns(from.Name, f) }, overlayAddress(i).Addr(), 1, 0, time.Second)
		}
	}
}

// wantEdges wants nsctl and RESOUR_EDGE on every switch to show these edges, registered for at least so long, and no others.
func (s *stage) wantEdges(ctx context.Context, edges []*node, since time.Duration) {
	limit, cancel := context.WithTimeout(ctx, overlayTime)
	defer cancel()
	var shown []suite.Edge
	var wrong string
	for {
		var err error
		if shown, err = s.suite.Edges(limit); err != nil {
			wrong = err.Error()
		} else {
			wrong = s.wrongEdges(limit, shown, edges, since)
		}
		if wrong == "" {
			break
		}
		if pause(limit) != nil {
			s.fault("edges: %s", wrong)
			return
		}
	}
	for _, e := range shown {
		s.say("nsctl edges and RESOUR_EDGE on %d switches: %s %s %s at %s", len(s.nodes), e.Name, e.MAC, e.Address, e.Public)
	}
}

// wrongEdges says what differs from what must be there; "": nothing.
func (s *stage) wrongEdges(ctx context.Context, shown []suite.Edge, edges []*node, since time.Duration) string {
	if len(shown) != len(edges) {
		return fmt.Sprintf("nsctl shows %d, not %d: %+v", len(shown), len(edges), shown)
	}
	want := map[string]suite.Edge{}
	for i, n := range edges {
		address := overlayAddress(i).String()
		for _, e := range shown {
			if e.Address == address && e.Name == n.Name && e.Community == switchOverlay {
				want[resourdb.EdgeTable+"|"+switchOverlay+"/"+e.MAC] = e
			}
			if time.Duration(e.RegisteredMS)*time.Millisecond < since {
				return fmt.Sprintf("%s has registered anew: the supernode forgot it", e.Name)
			}
		}
	}
	if len(want) != len(edges) {
		return fmt.Sprintf("nsctl shows %+v", shown)
	}
	for _, n := range s.nodes {
		db, err := s.resour(ctx, n)
		if err != nil {
			return err.Error()
		}
		rows, err := db.Match(ctx, resourdb.EdgeTable+"|*")
		if err != nil {
			return err.Error()
		}
		for key, e := range want {
			row, err := resourdb.ParseEdge(key, rows[key])
			if err != nil || row.Public.String() != e.Public || row.Address.String() != e.Address || row.Supernode != s.leader().Name {
				return fmt.Sprintf("%s has %v of %s, nsctl %+v (%v)", n.Name, rows[key], key, e, err)
			}
		}
		maps.DeleteFunc(rows, func(key string, _ map[string]string) bool { _, ok := want[key]; return ok })
		if len(rows) > 0 {
			return fmt.Sprintf("%s also has %v", n.Name, rows)
		}
	}
	return ""
}
