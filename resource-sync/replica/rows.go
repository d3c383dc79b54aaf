package replica

import (
	"context"
	"maps"
	"time"

	"sonic-netservices/resourdb"
)

// watchRows follows what programs on this node write, until ctx ends.
func (s *syncer) watchRows(ctx context.Context) error {
	keys, err := s.db.WatchPatterns(ctx, resourdb.OwnPatterns(s.cfg.Node)...)
	if err != nil {
		return err
	}
	for key := range keys {
		row, err := s.db.Get(ctx, key)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("read row", "key", key, "err", err)
			}
			continue // the watch sends every key again when Redis is back
		}
		s.own(ctx, key, row)
	}
	return ctx.Err()
}

const leaderKey = resourdb.ManagerTable + "|leader"

// own takes one row of a writer on this node, nil when it is gone.
func (s *syncer) own(ctx context.Context, key string, row map[string]string) {
	scope, _ := resourdb.ScopeOf(key)
	switch {
	case key == s.nodeKey(): // our own
	case scope == resourdb.NodeOwned:
		s.mu.Lock()
		s.monitor.Changed(key, row)
		s.mu.Unlock()
		wake(s.pushes)
	case scope == resourdb.ManagerOwned:
		s.ownManager(ctx, key, row)
	case scope == resourdb.SupernodeOwned:
		if _, _, copied := versionOf(row); copied { // of another node's supernode
			return
		}
		s.mu.Lock()
		s.node.PutSupernode(key, row)
		s.mu.Unlock()
		s.wakeAll()
	}
}

// ownManager takes a row of the manager's tables. One with a version is our own copy of another node's.
func (s *syncer) ownManager(ctx context.Context, key string, row map[string]string) {
	if _, _, copied := versionOf(row); copied {
		return
	}
	s.mu.Lock()
	was := s.node.Leading()
	leads := was
	if key == leaderKey && row != nil {
		if m, err := resourdb.ParseManager(key, row); err == nil {
			leads = s.node.Lead(m.Epoch)
		}
	}
	if leads {
		s.node.PutManager(key, row)
	}
	s.mu.Unlock()
	switch {
	case leads && !was:
		s.log.Info("the manager writes its rows here")
		s.loadManager(ctx) // rows that were written before the leader's
	case !leads && row != nil: // written by one who does not lead
		s.mend()
	}
	s.wakeAll()
}

// loadManager takes all rows of the manager on this node.
func (s *syncer) loadManager(ctx context.Context) {
	rows, err := s.db.All(ctx)
	if rows == nil && err != nil {
		s.log.Warn("read the manager's rows", "err", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, row := range rows {
		if scope, _ := resourdb.ScopeOf(key); scope != resourdb.ManagerOwned {
			continue
		}
		if _, _, copied := versionOf(row); !copied {
			s.node.PutManager(key, row)
		}
	}
}

// pushRows sends this node's rows to the others when the monitor says so, and keeps RESOUR_NODE and RESOUR_SEEN.
func (s *syncer) pushRows(ctx context.Context) {
	seen := map[string]resourdb.Seen{}
	var refreshed time.Duration
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.pushes:
		}
		s.mu.Lock()
		now := s.now()
		rows, heartbeat := s.monitor.Push(now)
		for key, row := range rows {
			s.node.Put(key, row, false)
		}
		var changes []resourdb.Change
		if heartbeat {
			s.node.Put(s.nodeKey(), s.nodeFields(), true)
			if r, ok := s.node.store.get(s.cfg.Node, s.nodeKey()); ok {
				changes = append(changes, resourdb.Change{Key: r.Key, Row: withVersion(r)})
			}
			all := now-refreshed >= seenFor/3
			if all {
				refreshed = now
			}
			changes = append(changes, s.seenChanges(seen, s.node.Members(now), all)...)
		}
		timer.Reset(s.monitor.Wait(now))
		s.mu.Unlock()
		s.wakeAll()
		if !heartbeat {
			continue
		}
		// Nobody but us writes RESOUR_NODE of this node: when it is not there, Redis was emptied.
		if row, err := s.db.Get(ctx, s.nodeKey()); err == nil && row == nil {
			clear(seen)
			s.mend()
		}
		if err := s.db.Apply(ctx, changes); err != nil {
			clear(seen) // written again with the next heartbeat
		}
	}
}

// seenFor is how long a judgement outlives the program that made it.
const seenFor = 12 * time.Second

// seenChanges gives the rows of RESOUR_SEEN that differ in state, or all.
func (s *syncer) seenChanges(seen map[string]resourdb.Seen, members []Member, all bool) (changes []resourdb.Change) {
	for _, m := range members {
		now := resourdb.Seen{Node: m.Name, State: m.State, Heard: m.Heard}
		before, known := seen[m.Name]
		if known && before.State == now.State && !all {
			continue
		}
		if before.State != now.State && m.Name != s.cfg.Node {
			s.log.Info("node", "peer", m.Name, "state", string(now.State), "silent", m.Heard.Round(time.Millisecond))
		}
		seen[m.Name] = now
		changes = append(changes, resourdb.Change{Key: resourdb.SeenTable + "|" + m.Name, Row: now.Row(), TTL: seenFor})
	}
	return changes
}

func (s *syncer) nodeKey() string { return resourdb.NodeTable + "|" + s.cfg.Node }

// nodeFields is RESOUR_NODE of this node without its version. It is called under the lock.
func (s *syncer) nodeFields() map[string]string {
	row := resourdb.Node{Name: s.cfg.Node, Addr: s.cfg.Addr, AS: s.cfg.AS, Tier: s.cfg.Tier, MAC: s.cfg.MAC,
		Kernel: s.cfg.Kernel, Software: s.cfg.Version, PushInterval: s.monitor.Interval()}.Row()
	maps.DeleteFunc(row, func(f, _ string) bool { return f == incarnationField || f == revField })
	return row
}

// copyRows keeps the copies of other nodes' rows in the database, until ctx ends.
func (s *syncer) copyRows(ctx context.Context) {
	healthy, compare := true, true
	tick := time.NewTicker(mendEvery)
	defer tick.Stop()
	for {
		err := s.copyOnce(ctx, compare)
		if err != nil && healthy && ctx.Err() == nil {
			s.log.Warn("resour_DB cannot be written; trying again", "err", err)
		}
		if err == nil && !healthy {
			s.log.Info("resour_DB is written again")
		}
		healthy, compare = err == nil, err != nil
		if !healthy {
			pause(ctx, time.Second)
		}
		select {
		case <-ctx.Done():
			return
		default:
		}
		if !healthy {
			continue
		}
		select {
		case <-s.copies:
		case <-s.mends:
			compare = true
		case <-tick.C:
			compare = true
		case <-ctx.Done():
			return
		}
	}
}

// copyOnce writes what changed; compare: whatever differs.
func (s *syncer) copyOnce(ctx context.Context, compare bool) error {
	var rows map[string]map[string]string
	if compare {
		var err error
		if rows, err = s.db.All(ctx); rows == nil && err != nil {
			return err
		}
	}
	s.mu.Lock()
	changes := s.node.Changes()
	if compare {
		changes = s.node.Reconcile(rows)
	}
	s.mu.Unlock()
	for len(changes) > 0 {
		part := changes[:min(batchRows, len(changes))]
		if err := s.db.Apply(ctx, part); err != nil {
			return err
		}
		changes = changes[len(part):]
	}
	return nil
}

// loadRows takes over what a former life left: the copies, and our own incarnation.
func (s *syncer) loadRows(ctx context.Context) error {
	rows, err := s.db.All(ctx)
	if rows == nil && err != nil {
		return err
	}
	incarnation := uint64(1)
	if v, _, ok := versionOf(rows[s.nodeKey()]); ok && v.Incarnation < maxCount {
		incarnation = v.Incarnation + 1
	}
	s.node = NewNode(s.cfg.Node, incarnation, uint64(s.start.UnixMilli()), Limits{Periods: stalePeriods, Dead: s.cfg.Dead, Slowest: s.cfg.Slow})
	s.monitor = newMonitor(Pace{Fast: s.cfg.Fast, Slow: s.cfg.Slow, Gap: pushGap}, s.now())
	for key, row := range rows {
		scope, _ := resourdb.ScopeOf(key)
		if v, fields, copied := versionOf(row); copied && scope != resourdb.Local {
			s.node.Load(Row{Key: key, Owner: ownerOf(key, fields), Version: v, Fields: fields}, s.now())
		}
	}
	s.log.Info("starts", "node", s.cfg.Node, "incarnation", incarnation, "known", len(s.node.Members(s.now())))
	return nil
}

// pause waits, or less when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// wake tells a loop that there is something to do.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// stalePeriods of silence make a node stale.
const stalePeriods = 3
