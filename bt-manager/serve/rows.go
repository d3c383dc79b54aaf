package serve

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"time"

	"sonic-netservices/bt-manager/orders"
	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
	"sonic-netservices/spec"
)

// redrawEvery bounds how long rows can be missing after Redis lost them or was away.
const redrawEvery = 5 * time.Second

// draw keeps the manager's rows equal to its state until ctx ends. Redis may be away at any time: the rows are only a
// picture, and are drawn anew when it is back.
func draw(ctx context.Context, dbs *sonicdb.Set, m *orders.Manager, trees *deciding, node, addr string) {
	p := &picture{}
	healthy := true
	for {
		changed := m.Changed()
		var rows []resourdb.Row
		m.View(func(s *orders.State) { rows = rowsOf(s, node, addr) })
		var shown <-chan struct{}
		if trees != nil {
			shown = trees.shown()
			rows = append(rows, trees.rows()...)
		}
		err := p.set(ctx, dbs, rows)
		if err != nil && healthy && ctx.Err() == nil {
			slog.Warn("resour_DB cannot be written; trying again", "err", err)
		}
		if err == nil && !healthy {
			slog.Info("resour_DB is written again")
		}
		healthy = err == nil
		again := time.NewTimer(redrawEvery)
		select {
		case <-changed:
			if !healthy { // not once per record
				select {
				case <-again.C:
				case <-ctx.Done():
				}
			}
		case <-shown:
		case <-again.C:
		case <-ctx.Done():
		}
		again.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// tables are those that bt-manager alone writes.
var tables = []string{resourdb.ServiceTable, resourdb.PolicyTable, resourdb.MigrationTable, resourdb.ManagerTable,
	resourdb.BlackboardTable, resourdb.ReservedTable}

// picture remembers what is in the database, so that only differences are written.
type picture struct {
	db      *resourdb.DB
	written map[string]drawn // by key; nil: unknown, all is to be written
}

type drawn struct {
	row    resourdb.Row
	fields map[string]string
}

// set makes the rows in the database exactly these.
func (p *picture) set(ctx context.Context, dbs *sonicdb.Set, rows []resourdb.Row) error {
	if err := p.change(ctx, dbs, rows); err != nil {
		p.written = nil
		return err
	}
	return nil
}

func (p *picture) change(ctx context.Context, dbs *sonicdb.Set, rows []resourdb.Row) error {
	if p.db == nil {
		db, err := resourdb.Open(ctx, dbs)
		if err != nil {
			return err
		}
		p.db = db
	}
	if p.written != nil {
		leader, err := p.db.Get(ctx, resourdb.ManagerTable+"|leader")
		if err != nil {
			return err
		}
		if leader == nil { // Redis was emptied
			p.written = nil
		}
	}
	if p.written == nil {
		for _, table := range tables {
			if err := p.db.Clear(ctx, table); err != nil {
				return err
			}
		}
		p.written = map[string]drawn{}
	}
	wanted := map[string]bool{}
	for _, row := range rows {
		key := row.Table() + "|" + strings.Join(row.Parts(), "|")
		wanted[key] = true
		fields := row.Row()
		if old, ok := p.written[key]; ok && maps.Equal(old.fields, fields) {
			continue
		}
		if err := p.db.Write(ctx, row); err != nil {
			return err
		}
		p.written[key] = drawn{row, fields}
	}
	for key, old := range p.written {
		if !wanted[key] {
			if err := p.db.Delete(ctx, old.row); err != nil {
				return err
			}
			delete(p.written, key)
		}
	}
	return nil
}

// rowsOf gives all rows of the manager.
func rowsOf(s *orders.State, node, addr string) []resourdb.Row {
	rows := []resourdb.Row{resourdb.Manager{Node: node, Addr: addr, Epoch: s.Epoch, Cluster: s.Cluster.ID}}
	for name, service := range s.Services {
		rows = append(rows, serviceRow(service))
		for n, at := range service.Replicas {
			rows = append(rows, resourdb.Policy{
				ID: netmap.ReplicaID{Service: name, Replica: n}, Node: at.Node, Reason: at.Reason, Epoch: s.Epoch, Decided: at.Since,
			})
		}
	}
	for i, past := range s.Done {
		if past.Verb != orders.Move {
			continue
		}
		row := migrationRow(past.Op)
		row.Phase, row.Outcome, row.GapMS, row.Bytes, row.Ended = "done", string(past.Outcome), past.GapMS, past.Bytes, past.At
		row.ExpectedMS, row.Packets = past.ExpectedMS, past.Packets
		if i >= len(s.Done)-tracesShown {
			row.Trace = string(past.End.Trace)
		}
		rows = append(rows, row)
	}
	for _, op := range s.Ops {
		if op.Verb == orders.Move {
			rows = append(rows, migrationRow(*op))
		}
	}
	return rows
}

// tracesShown bounds the moves whose whole trace is in the database: it goes to every switch. nsctl moves has all of them.
const tracesShown = 100

func migrationRow(op orders.Op) resourdb.Migration {
	return resourdb.Migration{
		Op: op.ID, ID: op.Replica, From: op.Node, To: op.To, Mode: op.Mode, Phase: string(op.Step), Outcome: "pending", Started: op.Started, Reason: op.Reason,
	}
}

// serviceRow leaves out environment and secrets.
func serviceRow(s *orders.Service) resourdb.Service {
	row := resourdb.Service{
		Name: s.Spec.Name, Image: s.Spec.Image, ImageID: s.ImageID, Replicas: s.Spec.Replicas, Address: s.Spec.Address.String(),
		Migration: s.Spec.Migration, Probe: probeText(s.Spec.Probe), Demand: s.Spec.Demand,
	}
	if p := s.Spec.Probe; p != nil {
		row.ProbeEach, row.ProbeTime, row.Failures = p.Interval, p.Timeout, p.Failures
	}
	for _, v := range s.Spec.Volumes {
		row.Volumes = append(row.Volumes, v.Name+":"+v.Target)
	}
	return row
}

func probeText(p *spec.Probe) string {
	switch {
	case p == nil:
		return ""
	case p.TCP != "":
		return "tcp " + p.TCP
	case p.HTTP != "":
		return "http " + p.HTTP
	}
	return "exec " + strings.Join(p.Exec, " ")
}
