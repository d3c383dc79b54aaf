package vswitch

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// rescanPorts is how often all ports are read although no event came: an event lost in a full socket costs at most this.
const rescanPorts = 2 * time.Second

// syncPorts keeps APPL_DB PORT_TABLE and STATE_DB PORT_TABLE as the kernel has the ports, on every link event.
func (s *Switch) syncPorts(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribeWithOptions(events, ctx.Done(), netlink.LinkSubscribeOptions{}); err != nil {
		return fmt.Errorf("subscribe to link events: %w", err)
	}
	if err := s.db.appl.HSet(ctx, "PORT_TABLE:PortConfigDone", map[string]string{"count": strconv.Itoa(len(s.cfg.Ports))}); err != nil {
		return err
	}
	written := map[string]map[string]string{}
	if err := s.writePorts(ctx, written); err != nil {
		return err
	}
	if err := s.db.appl.HSet(ctx, "PORT_TABLE:PortInitDone", map[string]string{"lanes": "0"}); err != nil {
		return err
	}
	rescan := time.NewTicker(rescanPorts)
	defer rescan.Stop()
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return errClosed
			}
			for len(events) > 0 { // one pass answers a burst
				<-events
			}
		case <-rescan.C:
			// Redis may have been started anew, empty; then everything is written again.
			if row, err := s.db.appl.HGetAll(ctx, "PORT_TABLE:PortInitDone"); err != nil || row == nil {
				return fmt.Errorf("rows are gone: %w", err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.writePorts(ctx, written); err != nil {
			return err
		}
	}
}

// writePorts writes the rows that differ from those in written.
func (s *Switch) writePorts(ctx context.Context, written map[string]map[string]string) error {
	for _, p := range s.cfg.Ports {
		admin, oper, mtu := portState(p.Name)
		row := map[string]string{
			"alias": p.alias(), "index": strconv.Itoa(p.index()), "lanes": p.lanes(), "speed": strconv.Itoa(p.Speed),
			"mtu": strconv.Itoa(mtu), "admin_status": admin, "oper_status": oper,
		}
		if maps.Equal(row, written[p.Name]) {
			continue
		}
		if admin == "up" && written[p.Name]["admin_status"] == "down" {
			if err := s.restoreRoutes(p); err != nil {
				return err
			}
		}
		if err := s.db.appl.HSet(ctx, "PORT_TABLE:"+p.Name, row); err != nil {
			return err
		}
		if err := s.db.state.HSet(ctx, "PORT_TABLE|"+p.Name, map[string]string{
			"state": "ok", "netdev_oper_status": oper, "admin_status": admin, "mtu": strconv.Itoa(mtu),
			"speed": strconv.Itoa(p.Speed), "supported_speeds": strconv.Itoa(p.Speed), "host_tx_ready": strconv.FormatBool(admin == "up"),
		}); err != nil {
			return err
		}
		written[p.Name] = row
	}
	return nil
}

// restoreRoutes sets the static routes the kernel dropped when the port was set down, as FRR does on a switch.
func (s *Switch) restoreRoutes(p Port) error {
	for _, r := range s.cfg.Routes {
		if r.Port != p.Name {
			continue
		}
		if err := setRoute(r, s.cfg.Loopback); err != nil {
			return fmt.Errorf("restore route %s: %w", r.Prefix, err)
		}
	}
	return nil
}

// portState reads a port from the kernel. A port that is not there is down, as one without a transceiver.
func portState(name string) (admin, oper string, mtu int) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return "down", "down", 0
	}
	a := link.Attrs()
	return upDown(a.RawFlags&unix.IFF_UP != 0), upDown(a.RawFlags&unix.IFF_RUNNING != 0 && a.OperState != netlink.OperLowerLayerDown), a.MTU
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

// managePorts applies what an operator writes to CONFIG_DB PORT: admin_status and mtu.
func (s *Switch) managePorts(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keys, err := s.db.config.Watch(ctx, "PORT|*")
	if err != nil {
		return err
	}
	applied := map[string]map[string]string{}
	for key := range keys {
		row, err := s.db.config.HGetAll(ctx, key)
		if err != nil {
			return err
		}
		// Only a change of the row is an order: a port that somebody set down with `ip link` stays down.
		want := map[string]string{"admin_status": row["admin_status"], "mtu": row["mtu"]}
		if maps.Equal(want, applied[key]) {
			continue
		}
		if err := applyPort(strings.TrimPrefix(key, "PORT|"), want); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		applied[key] = want
	}
	return errClosed
}

func applyPort(name string, want map[string]string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if mtu, err := strconv.Atoi(want["mtu"]); err == nil && mtu != link.Attrs().MTU {
		if err := netlink.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("set mtu %d: %w", mtu, err)
		}
	}
	switch want["admin_status"] {
	case "up":
		return netlink.LinkSetUp(link)
	case "down":
		return netlink.LinkSetDown(link)
	}
	return nil
}
