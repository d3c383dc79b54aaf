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
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/images"
	"sonic-netservices/bt-manager/journal"
	"sonic-netservices/bt-manager/orders"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/pki"
	"sonic-netservices/internal/sonicdb"
)

// Run serves until ctx ends or the journal cannot be written. dbs may be nil: then no rows are written.
func Run(ctx context.Context, c Config, dbs *sonicdb.Set) error {
	id, err := pki.Load(c.PKI, pki.Manager)
	if err != nil {
		return err
	}
	if id.Name != c.Node {
		return fmt.Errorf("node: this switch is %s, the manager's certificate names %s", c.Node, id.Name)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	log, err := journal.Open(filepath.Join(c.Dir, "journal"))
	if err != nil {
		return err
	}
	defer log.Close()
	store, err := images.OpenStore(filepath.Join(c.Dir, "images"))
	if err != nil {
		return err
	}
	segment, segment6 := c.segments()
	m, err := orders.Open(log, store, id, segment, segment6)
	if err != nil {
		return err
	}
	var trees *deciding
	if dbs != nil && c.Views == nil {
		if trees, err = newDeciding(c, m, dbs); err != nil {
			return err
		}
		c.Views = trees
	}
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}

	ctx = m.Start(ctx)
	srv := daemon.NewServer(append(pki.Guard(rules), grpc.Creds(id.Server()))...)
	api.RegisterManagerServer(srv, &server{m: m, images: store, node: c.Node, views: c.Views})
	var work sync.WaitGroup
	if dbs != nil {
		work.Go(func() { draw(ctx, dbs, m, trees, c.Node, c.Listen) })
	}
	if trees != nil {
		work.Go(func() { trees.run(ctx) })
	}
	if c.Metrics != "" && c.Metrics != off {
		var shown []prometheus.Collector
		if trees != nil {
			shown = append(shown, trees.gauges)
		}
		work.Go(func() { daemon.Metrics(ctx, c.Metrics, shown...) })
	}
	slog.Info("serving", "node", c.Node, "addr", ln.Addr(), "version", daemon.Version())
	err = daemon.Serve(ctx, ln, srv)
	work.Wait()
	return errors.Join(err, m.Wait())
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
}
