package vswitch

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
)

// Port counters and rates are written at the default interval of SONiC's PORT flex counters.
const countInterval = time.Second

// Rates are smoothed over ten intervals, SONiC's default: new = alpha * sample + (1 - alpha) * old.
const (
	smoothInterval = 10
	alpha          = 2.0 / (smoothInterval + 1)
)

// countPorts writes COUNTERS:<oid> and RATES:<oid> of every port from its interface counters.
func (s *Switch) countPorts(ctx context.Context) error {
	names := map[string]string{}
	for _, p := range s.cfg.Ports {
		names[p.Name] = p.oid()
	}
	rates := map[string]*rate{}
	return each(ctx, countInterval, func() error {
		// Written each time: redis may have been started anew, empty.
		if err := s.db.counters.HSet(ctx, "COUNTERS_PORT_NAME_MAP", names); err != nil {
			return err
		}
		if err := s.db.counters.HSet(ctx, "RATES:PORT", map[string]string{
			"PORT_SMOOTH_INTERVAL": strconv.Itoa(smoothInterval), "PORT_ALPHA": decimal(alpha)}); err != nil {
			return err
		}
		for _, p := range s.cfg.Ports {
			link, err := netlink.LinkByName(p.Name)
			if err != nil {
				continue // its row of PORT_TABLE says so
			}
			st := link.Attrs().Statistics
			if err := s.db.counters.HSet(ctx, "COUNTERS:"+p.oid(), portCounters(st)); err != nil {
				return err
			}
			r := rates[p.Name]
			if r == nil {
				r = &rate{}
				rates[p.Name] = r
			}
			row := r.sample(st, time.Now())
			if row == nil {
				continue
			}
			if err := s.db.counters.HSet(ctx, "RATES:"+p.oid(), row); err != nil {
				return err
			}
			if err := s.db.counters.HSet(ctx, "RATES:"+p.oid()+":PORT", map[string]string{"INIT_DONE": "DONE"}); err != nil {
				return err
			}
		}
		return nil
	})
}

// oid is the object id of a port: SAI's object type 1 in the upper half, the port's index in the lower.
func (p Port) oid() string { return fmt.Sprintf("oid:0x%013x", 1<<48|p.index()) }

// portCounters maps Linux's interface counters to SAI's. Linux counts broadcast as multicast, and multicast only inwards.
func portCounters(st *netlink.LinkStatistics) map[string]string {
	row := map[string]string{}
	for name, n := range map[string]uint64{
		"SAI_PORT_STAT_IF_IN_OCTETS":          st.RxBytes,
		"SAI_PORT_STAT_IF_OUT_OCTETS":         st.TxBytes,
		"SAI_PORT_STAT_IF_IN_UCAST_PKTS":      st.RxPackets - min(st.Multicast, st.RxPackets),
		"SAI_PORT_STAT_IF_IN_NON_UCAST_PKTS":  st.Multicast,
		"SAI_PORT_STAT_IF_OUT_UCAST_PKTS":     st.TxPackets,
		"SAI_PORT_STAT_IF_OUT_NON_UCAST_PKTS": 0,
		"SAI_PORT_STAT_IF_IN_ERRORS":          st.RxErrors,
		"SAI_PORT_STAT_IF_OUT_ERRORS":         st.TxErrors,
		"SAI_PORT_STAT_IF_IN_DISCARDS":        st.RxDropped,
		"SAI_PORT_STAT_IF_OUT_DISCARDS":       st.TxDropped,
	} {
		row[name] = strconv.FormatUint(n, 10)
	}
	return row
}

// rate smooths the rates of one port. As on a switch RX_BPS and TX_BPS are bytes per second, whatever the name says.
type rate struct {
	at           time.Time
	last         netlink.LinkStatistics
	rxBPS, txBPS float64
	rxPPS, txPPS float64
	samples      int
}

// sample takes the counters of now and gives the row, nil until there are two samples.
func (r *rate) sample(st *netlink.LinkStatistics, now time.Time) map[string]string {
	seconds := now.Sub(r.at).Seconds()
	previous := r.last
	r.at, r.last = now, *st
	r.samples++
	if r.samples == 1 || seconds <= 0 {
		return nil
	}
	weight := alpha
	if r.samples == 2 {
		weight = 1 // nothing older to mix in
	}
	for _, c := range []struct {
		smoothed *float64
		now, was uint64
	}{
		{&r.rxBPS, st.RxBytes, previous.RxBytes},
		{&r.txBPS, st.TxBytes, previous.TxBytes},
		{&r.rxPPS, st.RxPackets, previous.RxPackets},
		{&r.txPPS, st.TxPackets, previous.TxPackets},
	} {
		var delta float64
		if c.now > c.was { // else it was reset with its interface
			delta = float64(c.now - c.was)
		}
		*c.smoothed = weight*delta/seconds + (1-weight)**c.smoothed
	}
	return map[string]string{"RX_BPS": decimal(r.rxBPS), "TX_BPS": decimal(r.txBPS),
		"RX_PPS": decimal(r.rxPPS), "TX_PPS": decimal(r.txPPS)}
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }
