package orders

import (
	"fmt"
	"sort"

	"google.golang.org/protobuf/proto"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/journal"
)

// How long a move will take is told before it begins: by a formula measured on a quiet machine with two cores (`sonic-vs
// bench migrate`), and by how the newest moves from this node compared with it.
const (
	freezeBase  = 160.0 // ms: CRIU's fixed work at both ends, switch, drain and release
	freezePerMB = 1.55  // ms
	warmBase    = 30.0  // ms: the address moves, nothing is frozen
	readyMS     = 1500  // ms: reservation, container, arming
	bulkRate    = 100e6 // bytes/s, unless a move's bandwidth is capped
	movesJudged = 5     // newest ones of the same mode
)

// expect fills in what the move will take.
func (a *Agent) expect(reply *api.PreflightReply, o *api.MoveOptions) {
	reply.ExpectedFreezeMs, reply.Formula = expectFreeze(reply.Mode, reply.MemoryBytes, a.recentMoves(reply.Mode))
	rate := bulkRate
	if o.GetBandwidthBps() > 0 {
		rate = float64(o.BandwidthBps) / 8
	}
	reply.ExpectedTotalMs = readyMS + float64(reply.ImageBytes+reply.VolumeBytes)/rate*1000 + reply.ExpectedFreezeMs
}

// expectFreeze is the formula times the median of how recent moves compared with it.
func expectFreeze(mode api.Mode, memory int64, recent []*api.Move) (ms float64, formula string) {
	by := func(memory int64) float64 {
		if mode == api.Mode_WARM {
			return warmBase
		}
		return freezeBase + freezePerMB*float64(memory)/1e6
	}
	ms, formula = by(memory), fmt.Sprintf("%.0f ms + %.2f ms/MB x %.1f MB", freezeBase, freezePerMB, float64(memory)/1e6)
	if mode == api.Mode_WARM {
		formula = fmt.Sprintf("%.0f ms: the address moves, nothing is frozen", warmBase)
	}
	var ratios []float64
	for _, m := range recent {
		if m.SwitchToReleaseMs > 0 {
			ratios = append(ratios, m.SwitchToReleaseMs/by(m.CheckpointBytes+m.PresentBytes))
		}
	}
	if len(ratios) == 0 {
		return ms, formula + " (a quiet machine; no move of this mode from this node is known yet)"
	}
	sort.Float64s(ratios)
	median := ratios[len(ratios)/2]
	return ms * median, fmt.Sprintf("(%s) x %.2f, the median of the newest %d moves from this node", formula, median, len(ratios))
}

// recentMoves are the newest committed moves from this node, as their journals remember them.
func (a *Agent) recentMoves(mode api.Mode) []*api.Move {
	entries, err := a.journal.List()
	if err != nil {
		a.log.Warn("recent moves", "err", err)
		return nil
	}
	var all []*api.Move
	for _, e := range entries {
		if e.Role != journal.Source {
			continue
		}
		recs, err := a.journal.Load(e.Op, e.Role)
		if err != nil || journal.Settled(recs) != journal.Committed {
			continue
		}
		for _, r := range recs {
			last := &api.Event{}
			if len(r.Answer) > 0 && proto.Unmarshal(r.Answer, last) == nil && last.Move != nil && last.Move.Mode == mode {
				all = append(all, last.Move)
			}
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].EndedUnixMs > all[j].EndedUnixMs })
	return all[:min(len(all), movesJudged)]
}
