package vswitch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"
)

const (
	lldpSocket = "/run/lldpd.socket"
	lldpConfig = "/run/lldpd.conf"
	// lldpInterval of transmissions and of reading neighbours. A switch sends every 30 s; a test bed cannot wait that long.
	// A neighbour that says no more is forgotten after four of them; one whose link goes down at once.
	lldpInterval = time.Second
)

// lldpDaemon is lldpd on the front-panel ports. The port is named by its interface name, which another switch finds as
// its neighbour's port.
func lldpDaemon(cfg Config) (process, error) {
	conf := "configure system hostname " + cfg.Name + "\n" +
		"configure system ip management pattern " + cfg.Loopback + "\n" +
		fmt.Sprintf("configure lldp tx-interval %d\n", int(lldpInterval.Seconds())) +
		"configure lldp portidsubtype ifname\n"
	if err := os.MkdirAll("/run/lldpd", 0o755); err != nil { // it locks itself in there
		return process{}, err
	}
	if err := os.WriteFile(lldpConfig, []byte(conf), 0o644); err != nil {
		return process{}, err
	}
	return process{
		name: "lldpd",
		argv: []string{"lldpd", "-d", "-I", "Ethernet*", "-u", lldpSocket, "-O", lldpConfig},
		started: func(ctx context.Context) error {
			_, err := output(ctx, "lldpcli", "-u", lldpSocket, "show", "configuration")
			return err
		},
	}, nil
}

// syncLLDP keeps APPL_DB LLDP_ENTRY_TABLE as lldpd sees the neighbours. A port that is down has none.
func (s *Switch) syncLLDP(ctx context.Context) error {
	written := map[string]map[string]string{}
	return each(ctx, lldpInterval, func() error {
		if _, err := os.Stat(lldpSocket); errors.Is(err, os.ErrNotExist) {
			return nil // lldpd is on its way up
		}
		text, err := output(ctx, "lldpcli", "-u", lldpSocket, "-f", "json0", "show", "neighbors", "details")
		if err != nil {
			return err
		}
		seen, err := parseNeighbors(text)
		if err != nil {
			return err
		}
		for _, p := range s.cfg.Ports {
			key := "LLDP_ENTRY_TABLE:" + p.Name
			row := seen[p.Name]
			if _, oper, _ := portState(p.Name); oper != "up" {
				row = nil
			}
			if err := s.writeNeighbor(ctx, key, row, written); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeNeighbor writes a row when more than its age differs, or when it is not there (redis was started anew).
func (s *Switch) writeNeighbor(ctx context.Context, key string, row map[string]string, written map[string]map[string]string) error {
	there, err := s.db.appl.HGetAll(ctx, key)
	if err != nil {
		return err
	}
	if row == nil {
		delete(written, key)
		if there == nil {
			return nil
		}
		return s.db.appl.Del(ctx, key)
	}
	compared := maps.Clone(row)
	delete(compared, "lldp_rem_time_mark")
	if there != nil && maps.Equal(compared, written[key]) {
		return nil
	}
	written[key] = compared
	return s.db.appl.Replace(ctx, key, row)
}

// parseNeighbors reads `lldpcli -f json0 show neighbors details` into rows by port, with lldp_syncd's field names.
func parseNeighbors(text []byte) (map[string]map[string]string, error) {
	type value struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	}
	var doc struct {
		LLDP []struct {
			Interface []struct {
				Name    string `json:"name"`
				Via     string `json:"via"`
				RID     string `json:"rid"`
				Age     string `json:"age"`
				Chassis []struct {
					ID         []value `json:"id"`
					Name       []value `json:"name"`
					Descr      []value `json:"descr"`
					MgmtIP     []value `json:"mgmt-ip"`
					Capability []struct {
						Type    string `json:"type"`
						Enabled bool   `json:"enabled"`
					} `json:"capability"`
				} `json:"chassis"`
				Port []struct {
					ID    []value `json:"id"`
					Descr []value `json:"descr"`
				} `json:"port"`
			} `json:"interface"`
		} `json:"lldp"`
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&doc); err != nil {
		return nil, fmt.Errorf("lldpcli: %w", err)
	}
	first := func(v []value) value {
		if len(v) == 0 {
			return value{}
		}
		return v[0]
	}
	rows := map[string]map[string]string{}
	for _, l := range doc.LLDP {
		for _, i := range l.Interface {
			if len(i.Chassis) == 0 || len(i.Port) == 0 || rows[i.Name] != nil { // lldp_syncd, too, takes one per port
				continue
			}
			chassis, port := i.Chassis[0], i.Port[0]
			var supported, enabled byte
			for _, c := range chassis.Capability {
				supported |= capabilityBits[c.Type]
				if c.Enabled {
					enabled |= capabilityBits[c.Type]
				}
			}
			var addrs []string
			for _, a := range chassis.MgmtIP {
				addrs = append(addrs, a.Value)
			}
			rows[i.Name] = map[string]string{
				"lldp_rem_index":              i.RID,
				"lldp_rem_time_mark":          fmt.Sprint(int(parseAge(i.Age).Seconds())),
				"lldp_rem_chassis_id_subtype": chassisSubtypes[first(chassis.ID).Type],
				"lldp_rem_chassis_id":         first(chassis.ID).Value,
				"lldp_rem_port_id_subtype":    portSubtypes[first(port.ID).Type],
				"lldp_rem_port_id":            first(port.ID).Value,
				"lldp_rem_port_desc":          first(port.Descr).Value,
				"lldp_rem_sys_name":           first(chassis.Name).Value,
				"lldp_rem_sys_desc":           first(chassis.Descr).Value,
				"lldp_rem_man_addr":           strings.Join(addrs, ","),
				"lldp_rem_sys_cap_supported":  fmt.Sprintf("%02X 00", supported),
				"lldp_rem_sys_cap_enabled":    fmt.Sprintf("%02X 00", enabled),
			}
		}
	}
	return rows, nil
}

// parseAge reads lldpcli's "0 day, 00:00:04".
func parseAge(s string) time.Duration {
	var days, h, m, sec int
	if _, err := fmt.Sscanf(s, "%d day, %d:%d:%d", &days, &h, &m, &sec); err != nil {
		if _, err := fmt.Sscanf(s, "%d days, %d:%d:%d", &days, &h, &m, &sec); err != nil {
			return 0
		}
	}
	return time.Duration(((days*24+h)*60+m)*60+sec) * time.Second
}

// Subtypes of IEEE 802.1AB by lldpcli's names, and the system capabilities as bits of the first octet.
var (
	chassisSubtypes = map[string]string{"unhandled": "1", "ifalias": "2", "port": "3", "mac": "4", "ip": "5", "ifname": "6", "local": "7"}
	portSubtypes    = map[string]string{"ifalias": "1", "port": "2", "mac": "3", "ip": "4", "ifname": "5", "circuit": "6", "local": "7"}
	capabilityBits  = map[string]byte{"Other": 0x80, "Repeater": 0x40, "Bridge": 0x20, "Wlan": 0x10, "Router": 0x08, "Tel": 0x04, "Docsis": 0x02, "Station": 0x01}
)
