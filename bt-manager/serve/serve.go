// Package serve is bt-manager as others see it: the Manager service over gRPC, and the manager's rows in resour_DB.
//
// It reads specs, images and announcements from the network and its own configuration from CONFIG_DB, writes
// RESOUR_SERVICE, RESOUR_POLICY, RESOUR_MIGRATION and RESOUR_MANAGER, and is told by nsctl and by the agents.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"google.golang.org/grpc"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/images"
	"sonic-netservices/bt-manager/journal"
	"sonic-netservices/bt-manager/orders"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/managers"
	"sonic-netservices/internal/pki"
	"sonic-netservices/internal/sonicdb"
)

// Run serves until ctx ends or the journal cannot be read or written. dbs may be nil: then no rows are written.
func Run(ctx context.Context, c Config, dbs *sonicdb.Set) error {
	id, err := pki.Load(c.PKI, pki.Manager)
	if err != nil {
		return err
	}
	if id.Name != c.Node {
		return fmt.Errorf("node: this switch is %s, the manager's certificate names %s", c.Node, id.Name)
	}
	decides := dbs != nil && c.Views == nil
	if decides {
		if err := c.CheckTrees(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	store, err := images.OpenStore(filepath.Join(c.Dir, "images"))
	if err != nil {
		return err
	}
	segment, segment6 := c.segments()
	m := orders.New(orders.Config{Segment: segment, Segment6: segment6, Trees: decides, AS: c.AS, Anew: c.Anew}, store, id)
	log, err := journal.Open(journal.Config{Dir: filepath.Join(c.Dir, "journal"), Node: c.Node, Addr: c.Journal, Serves: c.Listen,
		Identity: id, Join: c.Join, Alone: c.Alone}, m)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var work sync.WaitGroup
	s := &server{m: m, log: log, images: store, peers: managers.New(id, func() []managers.At { return nil }), self: journal.Member{Node: c.Node, Addr: c.Journal, Serves: c.Listen}, views: c.Views}
	s.gauges = newGauges(log.Status, func() (epoch uint64) {
		m.View(func(s *orders.State) { epoch = s.Epoch })
		return epoch
	})
	if c.Metrics != "" && c.Metrics != off {
		work.Go(func() { daemon.Metrics(ctx, c.Metrics, s.gauges) })
	}
	work.Go(func() {
		stop(m.Run(ctx, log, func(ctx context.Context) {
			if err := reign(ctx, c, s, dbs, decides); err != nil {
				stop(err)
			}
		}))
	})
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		stop(nil)
		work.Wait()
		return fmt.Errorf("listen: %w", err)
	}
	srv := daemon.NewServer(slices.Concat(pki.Guard(rules), s.guard(), []grpc.ServerOption{grpc.Creds(id.Server())})...)
	api.RegisterManagerServer(srv, s)
	work.Go(func() { s.followImages(ctx) })
	slog.Info("serving", "node", c.Node, "addr", ln.Addr(), "version", daemon.Version())
	err = daemon.Serve(ctx, ln, srv)
	work.Wait()
	s.peers.Close()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = errors.Join(err, cause)
	}
	return err
}

// reign is what a manager does while it leads: it decides, and draws its rows.
func reign(ctx context.Context, c Config, s *server, dbs *sonicdb.Set, decides bool) error {
	if dbs != nil {
		if err := s.rival(ctx, dbs); err != nil {
			return err
		}
	}
	var trees *deciding
	if decides {
		var err error
		if trees, err = newDeciding(c, s.m, dbs, s.gauges.kept); err != nil {
			return err
		}
		s.show(trees)
		defer s.show(nil)
		s.gauges.of(trees.runner.Stats)
		defer s.gauges.of(nil)
	}
	var work sync.WaitGroup
	defer work.Wait()
	if dbs != nil {
		work.Go(func() { draw(ctx, dbs, s.m, trees, c.Node, c.Listen) })
	}
	if trees != nil {
		return trees.run(ctx)
	}
	<-ctx.Done()
	return nil
}

// rules say who may call what.
var rules = map[string][]pki.Role{
	api.Manager_Join_FullMethodName:        {pki.Node},
	api.Manager_LoadImage_FullMethodName:   {pki.Operator},
	api.Manager_Deploy_FullMethodName:      {pki.Operator},
	api.Manager_Migrate_FullMethodName:     {pki.Operator},
	api.Manager_Preflight_FullMethodName:   {pki.Operator},
	api.Manager_Moves_FullMethodName:       {pki.Operator, pki.Viewer},
	api.Manager_Remove_FullMethodName:      {pki.Operator},
	api.Manager_Recover_FullMethodName:     {pki.Operator},
	api.Manager_Services_FullMethodName:    {pki.Operator, pki.Viewer},
	api.Manager_Outcome_FullMethodName:     {pki.Node},
	api.Manager_Nodes_FullMethodName:       {pki.Operator, pki.Viewer},
	api.Manager_Tree_FullMethodName:        {pki.Operator, pki.Viewer},
	api.Manager_Why_FullMethodName:         {pki.Operator, pki.Viewer},
	api.Manager_Drain_FullMethodName:       {pki.Operator},
	api.Manager_Trees_FullMethodName:       {pki.Operator, pki.Viewer},
	api.Manager_ReloadTrees_FullMethodName: {pki.Operator},
	api.Manager_Steer_FullMethodName:       {pki.Operator},
	api.Manager_Monitor_FullMethodName:     {pki.Operator},
	api.Manager_Recording_FullMethodName:   {pki.Operator, pki.Viewer},

	api.Manager_Managers_FullMethodName:      {pki.Node, pki.Manager, pki.Operator, pki.Viewer},
	api.Manager_JoinManager_FullMethodName:   {pki.Operator},
	api.Manager_RemoveManager_FullMethodName: {pki.Operator},
	api.Manager_TransferLead_FullMethodName:  {pki.Operator},
	api.Manager_FetchImage_FullMethodName:    {pki.Manager},
}
