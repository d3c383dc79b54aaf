package hardware

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"time"

	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/resourdb"
)

// Config of syncd-plugin. NETSERVICES|global security_flows and services_storage apply live; the rest at start.
type Config struct {
	Node  string
	Host  Host
	Every time.Duration // between two readings
}

const (
	surveyEvery = 30 * time.Second // for ports, ACL tables and configuration, which seldom change
	writeAgain  = 5 * time.Second  // an unchanged row
	rowsFor     = 3 * writeAgain   // a reading outlives this program by no more
)

// sensor reads one switch.
type sensor struct {
	cfg                   Config
	config, appl, counter *sonicdb.DB
	resour                *resourdb.DB
	start                 time.Time

	surveyed time.Time
	ports    []string // of CONFIG_DB PORT
	acls     []string // keys of ACL tables in COUNTERS_DB
	poll     time.Duration
	flows    float64
	bytes    float64
}

// Run measures until ctx ends.
func Run(ctx context.Context, cfg Config, dbs *sonicdb.Set, log *slog.Logger) error {
	s := &sensor{cfg: cfg, start: time.Now()}
	var err error
	for _, d := range []struct {
		to   **sonicdb.DB
		name string
	}{{&s.config, "CONFIG_DB"}, {&s.appl, "APPL_DB"}, {&s.counter, "COUNTERS_DB"}} {
		if *d.to, err = dbs.DB(ctx, d.name); err != nil {
			return err
		}
	}
	if s.resour, err = resourdb.Open(ctx, dbs); err != nil {
		return err
	}
	log.Info("syncd-plugin ready", "node", cfg.Node, "every", cfg.Every)
	m := &meter{node: cfg.Node}
	p := &picture{written: map[string]written{}}
	said := ""
	tick := time.NewTicker(cfg.Every)
	defer tick.Stop()
	for {
		reading := s.read(ctx)
		rows, bad := m.rows(reading)
		if err := s.resour.Apply(ctx, p.changes(rows, len(reading.Bad) == 0, time.Now())); err != nil {
			p.written = map[string]written{}
			bad = err
		}
		if now := fmt.Sprint(bad); now != said && ctx.Err() == nil { // once, not every second
			if bad != nil {
				log.Warn("read", "err", bad)
			}
			said = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// read reads everything that can be read.
func (s *sensor) read(ctx context.Context) *Reading {
	r := &Reading{}
	fail := func(err error) bool {
		if err != nil {
			r.Bad = append(r.Bad, err)
		}
		return err == nil
	}
	if time.Since(s.surveyed) >= surveyEvery && fail(s.survey(ctx)) {
		s.surveyed = time.Now()
	}
	r.Poll, r.Flows, r.Bytes = s.poll, s.flows, s.bytes
	r.At = time.Since(s.start)
	if g, err := s.cfg.Host.Group(); fail(err) {
		r.Group = &g
	}
	if d, err := s.cfg.Host.Disk(); fail(err) {
		r.Disk = &d
	}
	if s.bytes > 0 {
		usage, err := s.resour.Match(ctx, resourdb.UsageTable+"|*|"+s.cfg.Node)
		if fail(err) {
			r.Usage = usage
		}
	}
	const crm = "CRM:STATS"
	rows, err := s.counter.Rows(ctx, append([]string{crm}, s.acls...)...)
	if fail(err) {
		r.CRM = rows[crm]
		for _, k := range s.acls {
			r.ACL = append(r.ACL, rows[k])
		}
	}
	if r.LLDP, err = s.byPort(ctx, "LLDP_ENTRY_TABLE"); !fail(err) {
		return r
	}
	r.Ports, err = s.byPort(ctx, "PORT_TABLE")
	fail(err)
	if s.flows > 0 {
		r.Rows, err = s.resour.All(ctx)
		fail(err)
	}
	return r
}

// byPort reads the rows of all ports in a table of APPL_DB: a scan would go over all routes of the switch.
func (s *sensor) byPort(ctx context.Context, table string) (map[string]map[string]string, error) {
	keys := make([]string, len(s.ports))
	for i, p := range s.ports {
		keys[i] = s.appl.Key(table, p)
	}
	rows, err := s.appl.Rows(ctx, keys...)
	out := map[string]map[string]string{}
	for k, row := range rows {
		out[strings.TrimPrefix(k, s.appl.Key(table, ""))] = row
	}
	return out, err
}

// survey looks for what there is to read.
func (s *sensor) survey(ctx context.Context) error {
	ports, err := s.config.Scan(ctx, s.config.Key("PORT", "*"))
	if err != nil {
		return err
	}
	for i, k := range ports {
		ports[i] = strings.TrimPrefix(k, s.config.Key("PORT", ""))
	}
	acls, err := s.counter.Scan(ctx, "CRM:ACL_TABLE_STATS:*")
	if err != nil {
		return err
	}
	rows, err := s.config.Rows(ctx, "CRM|Config", "NETSERVICES|global")
	if err != nil {
		return err
	}
	s.ports, s.acls, s.poll, s.flows, s.bytes = ports, acls, 300*time.Second, 0, 0
	if n, err := strconv.Atoi(rows["CRM|Config"]["polling_interval"]); err == nil && n > 0 {
		s.poll = time.Duration(n) * time.Second
	}
	if text := rows["NETSERVICES|global"]["security_flows"]; text != "" {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return fmt.Errorf("NETSERVICES|global security_flows: %w", err)
		}
		s.flows = float64(n)
	}
	if text := rows["NETSERVICES|global"]["services_storage"]; text != "" {
		n, err := strconv.ParseUint(text, 10, 63)
		if err != nil || n < 1<<20 {
			return fmt.Errorf("NETSERVICES|global services_storage=%q: want bytes, at least %d", text, 1<<20)
		}
		s.bytes = float64(n)
	}
	return nil
}

// picture remembers what is in the database, so that a row is written when it changed, or before it would vanish.
type picture struct {
	written map[string]written
}

type written struct {
	fields map[string]string
	at     time.Time
}

// changes gives what is to be written. Rows that are missing go at once if everything could be read; else they vanish by
// themselves unless they are back in time.
func (p *picture) changes(rows []resourdb.Row, complete bool, now time.Time) (list []resourdb.Change) {
	there := map[string]bool{}
	for _, r := range rows {
		k, fields := key(r), r.Row()
		there[k] = true
		if old, ok := p.written[k]; ok && maps.Equal(old.fields, fields) && now.Sub(old.at) < writeAgain {
			continue
		}
		p.written[k] = written{fields, now}
		list = append(list, resourdb.Change{Key: k, Row: fields, TTL: rowsFor})
	}
	for k := range p.written {
		if !there[k] && complete {
			delete(p.written, k)
			list = append(list, resourdb.Change{Key: k})
		}
	}
	return list
}
