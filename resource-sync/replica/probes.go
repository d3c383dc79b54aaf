package replica

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/resourdb"
)

// monitorHealth keeps one probe running for each replica that needs one, and their rows, until ctx ends.
func (s *syncer) monitorHealth(ctx context.Context) {
	running := map[probe]context.CancelFunc{}
	var ended sync.WaitGroup
	defer ended.Wait() // each removes its row
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		wanted := s.wantedProbes()
		for p, stop := range running {
			if !wanted[p] {
				stop()
				delete(running, p)
			}
		}
		for p := range wanted {
			if running[p] == nil {
				one, stop := context.WithCancel(ctx)
				running[p] = stop
				ended.Go(func() { s.keepProbing(one, p) })
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *syncer) wantedProbes() map[probe]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var instances []resourdb.Instance
	for key, r := range s.node.store.owner(s.cfg.Node).rows {
		if !strings.HasPrefix(key, resourdb.InstanceTable+"|") {
			continue
		}
		if i, err := resourdb.ParseInstance(key, r.Fields); err == nil {
			instances = append(instances, i)
		}
	}
	var services []resourdb.Service
	if len(instances) > 0 {
		for key, r := range s.node.store.owner(manager).rows {
			if v, err := resourdb.ParseService(key, r.Fields); err == nil {
				services = append(services, v)
			}
		}
	}
	return probesOf(instances, services)
}

const (
	healthFor   = 15 * time.Second // a result outlives the program that probed
	healthAgain = healthFor / 3
)

// keepProbing writes a row whenever the result or the count of failures changes, and removes it at the end.
func (s *syncer) keepProbing(ctx context.Context, p probe) {
	h := resourdb.Health{ID: p.id, Node: s.cfg.Node, Result: resourdb.Unknown, Since: time.Now()}
	tick := time.NewTicker(p.each)
	defer tick.Stop()
	written, at := resourdb.Health{}, time.Time{}
	for {
		once, cancel := context.WithTimeout(ctx, p.timeout)
		err := s.try(once, p)
		cancel()
		if ctx.Err() != nil {
			break
		}
		h = judge(h, p.failures, err, time.Now())
		if h.Result != written.Result || h.Failures != written.Failures || time.Since(at) > healthAgain {
			if err := s.db.WriteFor(ctx, h, healthFor); err == nil {
				written, at = h, time.Now()
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := s.db.Delete(last, h); err != nil {
		s.log.Warn("remove health row", "service", p.id.Service, "replica", p.id.Replica, "err", err)
	}
}

// try probes once.
func (s *syncer) try(ctx context.Context, p probe) error {
	kind, what, _ := strings.Cut(p.how, " ")
	switch kind {
	case "tcp":
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.address+what)
		if err != nil {
			return err
		}
		return conn.Close()
	case "http":
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+what, nil)
		if err != nil {
			return err
		}
		resp, err := s.http.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode < 200 || resp.StatusCode > 299 {
			return fmt.Errorf("status %s", resp.Status)
		}
		return nil
	case "exec": // only the agent may enter a container
		_, err := s.agent.Probe(ctx, &api.ProbeOf{Service: p.id.Service, Replica: int32(p.id.Replica)})
		return err
	}
	return fmt.Errorf("probe %q: unknown kind", p.how)
}
