package serve

import (
	"context"
	"fmt"
	"time"

	"sonic-netservices/bt-manager/orders"
	"sonic-netservices/internal/managers"
	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/resourdb"
)

// rivalTime is how long the start waits for a Redis that is away: agents refuse a second cluster in any case.
const rivalTime = 2 * time.Second

// rival says why this manager must not lead: resour_DB shows that another cluster does, or did. Agents would refuse its
// orders one by one; an operator who has started it by mistake should read that here.
func (s *server) rival(ctx context.Context, dbs *sonicdb.Set) error {
	var ours orders.Cluster
	s.m.View(func(state *orders.State) { ours = state.Cluster })
	looking, cancel := context.WithTimeout(ctx, rivalTime)
	defer cancel()
	db, err := resourdb.Open(looking, dbs)
	if err != nil {
		return nil
	}
	row, err := db.Get(looking, resourdb.ManagerTable+"|leader")
	if err != nil || row == nil {
		return nil
	}
	leader, err := resourdb.ParseManager(resourdb.ManagerTable+"|leader", row)
	if err != nil || leader.Cluster == "" || leader.Cluster == ours.ID || ours.Anew {
		return nil
	}
	told, err := s.peers.Ask(ctx, managers.At{Node: leader.Node, Addr: leader.Addr})
	if err == nil && told.Cluster == leader.Cluster {
		return fmt.Errorf("this AS has managers already: cluster %s, led from %s at %s. To add this one to them remove its journal, "+
			"start it with -join, and order nsctl manager join %s", leader.Cluster, leader.Node, leader.Addr, s.self.Node)
	}
	return fmt.Errorf("this AS obeyed cluster %s, which %s at %s led and which does not answer now. If its journals are lost for good, "+
		"remove this one's and start it with -found-anew", leader.Cluster, leader.Node, leader.Addr)
}
