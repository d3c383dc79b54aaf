package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-edge/edge/peering"
	"sonic-netservices/n2n-edge/edge/udp"
)

// Status is what n2n-edge status shows.
type Status struct {
	Device     string            `json:"device"`
	MAC        string            `json:"mac"`
	Community  string            `json:"community"`
	Transform  string            `json:"transform"`
	Uptime     time.Duration     `json:"uptime_ns"`
	TAPOffload bool              `json:"tap_offload"` // the kernel leaves cutting and joining TCP to us
	Socket     udp.Features      `json:"socket"`
	Peering    peering.Status    `json:"peering"`
	Stations   []StationStatus   `json:"stations"`
	Packets    map[string]uint64 `json:"packets"`
	Drops      map[string]uint64 `json:"drops"`
}

// StationStatus is the traffic of one peer.
type StationStatus struct {
	MAC            string `json:"mac"`
	SentDirect     uint64 `json:"sent_direct"`
	SentRelay      uint64 `json:"sent_relay"`
	ReceivedDirect uint64 `json:"received_direct"`
	ReceivedRelay  uint64 `json:"received_relay"`
	SentBytes      uint64 `json:"sent_bytes"`
	ReceivedBytes  uint64 `json:"received_bytes"`
}

func (e *Edge) status() Status {
	e.mu.Lock()
	p, counts := e.machine.Status(time.Now()), e.machine.Counts
	e.mu.Unlock()
	s := Status{Device: e.doors.Device.Name(), MAC: e.mac.String(), Community: e.cfg.Community, Transform: e.cfg.Transform,
		Uptime: time.Since(e.started), TAPOffload: e.doors.Device.Offload(), Socket: e.doors.Socket.Features(), Peering: p,
		Packets: map[string]uint64{"tap_read": e.count.read.Load(), "tap_written": e.count.written.Load(),
			"sent": e.count.sent.Load(), "received": e.count.received.Load()},
		Drops: map[string]uint64{"control_community": counts.Community, "control_stranger": counts.Stranger,
			"control_cookie": counts.Cookie, "control_not_for_us": counts.NotForUs, "control_loop": counts.Loop, "control_full": counts.Full}}
	for i := range drops {
		s.Drops[dropNames[i]] = e.count.drops[i].Load()
	}
	for r := n2n.ReasonNone + 1; r < n2n.Reasons; r++ {
		s.Drops["control_"+r.String()] += counts.Malformed[r]
	}
	e.table.mu.RLock()
	for mac, st := range e.table.stations {
		s.Stations = append(s.Stations, StationStatus{mac.String(), st.SentDirect.Load(), st.SentRelay.Load(), st.ReceivedDirect.Load(),
			st.ReceivedRelay.Load(), st.SentBytes.Load(), st.ReceivedBytes.Load()})
	}
	e.table.mu.RUnlock()
	slices.SortFunc(s.Stations, func(a, b StationStatus) int { return strings.Compare(a.MAC, b.MAC) })
	return s
}

// serve answers at the status socket.
func (e *Edge) serve(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(e.status()) // an error is the client's, who is gone
	})
	if err := os.Remove(e.cfg.Status); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("status: %w", err)
	}
	ln, err := net.Listen("unix", e.cfg.Status)
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("status: %w", err)
	}
	return ctx.Err()
}
