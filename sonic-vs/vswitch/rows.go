package vswitch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"sonic-netservices/internal/sonicdb"
)

const (
	platform = "x86_64-kvm_x86_64-r0"
	hwsku    = "netservices-vs"
)

// SavedConfig is the CONFIG_DB a switch keeps on disk and loads at boot: {table: {key: {field: value}}}.
const SavedConfig = "/etc/sonic/config_db.json"

// tables is rows by table and key.
type tables map[string]map[string]map[string]string

func (t tables) set(table, key string, row map[string]string) {
	if t[table] == nil {
		t[table] = map[string]map[string]string{}
	}
	t[table][key] = row
}

// configTables is the CONFIG_DB of a switch that cfg describes.
func configTables(cfg Config) tables {
	t := tables{}
	t.set("DEVICE_METADATA", "localhost", map[string]string{
		"hostname": cfg.Name, "mac": cfg.MAC, "bgp_asn": strconv.Itoa(cfg.AS),
		"platform": platform, "hwsku": hwsku, "type": deviceType(cfg.Tier),
	})
	t.set("LOOPBACK_INTERFACE", loopbackPort, nil)
	t.set("LOOPBACK_INTERFACE", loopbackPort+"|"+cfg.Loopback+"/32", nil)
	var access []string
	for _, p := range cfg.Ports {
		t.set("PORT", p.Name, map[string]string{
			"alias": p.alias(), "index": strconv.Itoa(p.index()), "lanes": p.lanes(),
			"speed": strconv.Itoa(p.Speed), "mtu": strconv.Itoa(portMTU), "admin_status": "up",
		})
		switch {
		case p.Address != "":
			t.set("INTERFACE", p.Name, nil)
			t.set("INTERFACE", p.Name+"|"+p.Address, nil)
		case p.Access:
			access = append(access, p.Name)
		}
	}
	for _, r := range cfg.Routes {
		t.set("STATIC_ROUTE", "default|"+r.Prefix, map[string]string{"nexthop": r.NextHop, "ifname": r.Port})
	}
	t.set("CRM", "Config", map[string]string{"polling_interval": "1"}) // s; a real switch's default is 300
	segment := map[string]string{
		"vni": strconv.Itoa(cfg.Segment.VNI), "gateway": cfg.Segment.Gateway, "mtu": strconv.Itoa(cfg.Segment.MTU),
		"access_ports": strings.Join(access, ","),
	}
	if cfg.Segment.Gateway6 != "" {
		segment["gateway6"] = cfg.Segment.Gateway6
	}
	t.set("NETSERVICES", "segment", segment)
	t.set("NETSERVICES", "global", map[string]string{
		"manager": cfg.Manager, "manager_node": cfg.ManagerNode, "as": strconv.Itoa(cfg.AS), "tier": cfg.Tier,
		"services_storage": strconv.Itoa(servicesStorage),
	})
	return t
}

// servicesStorage is the room a switch has for its services' data, bytes. All switches of a test bed lie on one disk; how
// full that is says nothing about any of them.
const servicesStorage = 8 << 30

// portMTU of a front-panel port, SONiC's default. Links of a test bed are veth pairs, which carry it.
const portMTU = 9100

// deviceType is DEVICE_METADATA's type, whose words come from data centres.
func deviceType(tier string) string {
	switch tier {
	case "core":
		return "SpineRouter"
	case "edge":
		return "LeafRouter"
	default:
		return "ToRRouter"
	}
}

func (p Port) index() int { return portIndex(p.Name)/4 + 1 }

func (p Port) alias() string { return fmt.Sprintf("fortyGigE0/%d", portIndex(p.Name)) }

// lanes are the four serial lanes behind a port, numbered as on the switch that sonic-vs imitates.
func (p Port) lanes() string {
	n := portIndex(p.Name)
	return fmt.Sprintf("%d,%d,%d,%d", n+1, n+2, n+3, n+4)
}

// fill writes CONFIG_DB as a boot does: what cfg says, and over it what the switch has saved. Rows of port state follow
// from the writers themselves, who run in loops.
func (s *Switch) fill(ctx context.Context) error {
	saved, err := readSaved(SavedConfig)
	if err != nil {
		return err
	}
	all := configTables(s.cfg)
	for table, rows := range saved {
		for key, row := range rows {
			all.set(table, key, row)
		}
	}
	return writeTables(ctx, s.db.config, all)
}

func writeTables(ctx context.Context, db *sonicdb.DB, t tables) error {
	for _, table := range slices.Sorted(maps.Keys(t)) {
		for _, key := range slices.Sorted(maps.Keys(t[table])) {
			if err := db.Replace(ctx, db.Key(table, key), t[table][key]); err != nil {
				return err
			}
		}
	}
	return nil
}

func readSaved(path string) (tables, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var t tables
	if err := json.Unmarshal(text, &t); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// SaveRow puts one row of CONFIG_DB into the saved configuration below root, or takes it out when row is nil.
func SaveRow(root, table, key string, row map[string]string) error {
	path := root + SavedConfig
	t, err := readSaved(path)
	if err != nil {
		return err
	}
	if t == nil {
		t = tables{}
	}
	t.set(table, key, row)
	if row == nil {
		delete(t[table], key)
	}
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(path, append(text, '\n'))
}

// replaceFile writes a file whole or not at all.
func replaceFile(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
