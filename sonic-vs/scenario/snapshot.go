package scenario

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"

	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

// ordered are the tables that change by orders alone; the others have measurements too.
var ordered = []string{resourdb.AgentTable, resourdb.InstanceTable, resourdb.ServiceTable, resourdb.PolicyTable,
	resourdb.MigrationTable, resourdb.ManagerTable}

// snapshot is all that an order could change, as text by place: what nsctl says, containers, journals, rows.
func (s *stage) snapshot(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	services, err := s.suite.Nsctl(ctx, "services", "--json")
	if err != nil {
		return nil, err
	}
	all["nsctl services"] = services
	for _, n := range s.nodes {
		containers, err := n.docker.ContainerList(ctx, container.ListOptions{All: true})
		if err != nil {
			return nil, err
		}
		for _, c := range containers {
			all[n.Name+" container "+strings.Join(c.Names, " ")] = c.ID + " " + c.State
		}
		for _, dir := range []string{netmap.AgentDir + "/journal", netmap.AgentDir + "/replicas", netmap.ManagerDir} {
			if err := files(all, n, dir); err != nil {
				return nil, err
			}
		}
		db, err := n.db.DB(ctx, sonicdb.ResourDB)
		if err != nil {
			return nil, err
		}
		var keys []string
		for _, table := range ordered {
			more, err := db.Scan(ctx, table+"|*")
			if err != nil {
				return nil, err
			}
			keys = append(keys, more...)
		}
		for _, key := range keys {
			row, err := db.HGetAll(ctx, key)
			if err != nil {
				return nil, err
			}
			var fields []string
			for _, f := range slices.Sorted(maps.Keys(row)) {
				fields = append(fields, f+"="+row[f])
			}
			all[n.Name+" row "+key] = strings.Join(fields, " ")
		}
	}
	return all, nil
}

// files adds the files of a node's folder, which may not be there.
func files(all map[string]string, n *node, dir string) error {
	paths, err := filepath.Glob(filepath.Join(n.Dir, dir, "*"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil || info.IsDir() {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		all[n.Name+" file "+strings.TrimPrefix(path, n.Dir)] = string(text)
	}
	return nil
}

// changes lists where two snapshots differ.
func changes(before, after map[string]string) (list []string) {
	places := map[string]bool{}
	for place := range before {
		places[place] = true
	}
	for place := range after {
		places[place] = true
	}
	for _, place := range slices.Sorted(maps.Keys(places)) {
		if before[place] != after[place] {
			list = append(list, fmt.Sprintf("%s: %s -> %s", place, brief(before[place]), brief(after[place])))
		}
	}
	return list
}

// brief is the end of a text: journals grow there.
func brief(text string) string {
	if text == "" {
		return "nothing"
	}
	return fmt.Sprintf("...%q", text[max(0, len(text)-120):])
}
