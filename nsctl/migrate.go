package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sonic-netservices/api"
	"sonic-netservices/netmap"
)

func (c *cli) migrate() *cobra.Command {
	var to, mode string
	var dry, watch bool
	var how moveFlags
	cmd := &cobra.Command{
		Use:   "migrate SERVICE[-N] --to NODE [--mode live|warm|cold]",
		Short: "Move a replica to another node",
		Long: `Moves a replica to another node:

  live  its processes with their memory; open connections go on
  warm  a second instance takes over: memory starts anew, files are brought along. For services that keep what matters in
        their volumes, or nothing. New connections are answered there; those from before may end at the old instance, for
        10 s if the service has no volumes. It is not moved when it does not become warm in time (warm_up in its spec).
  cold  stopped, copied, started elsewhere`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &api.MigrateRequest{Service: args[0], To: to}
			if id, err := netmap.ParseReplicaID(args[0]); err == nil { // no service has a name that looks like a replica's
				req.Service, req.Replica = id.Service, int32(id.Replica)
			}
			switch mode {
			case "":
			case "live":
				req.Mode = api.Mode_LIVE
			case "warm":
				req.Mode = api.Mode_WARM
			case "cold":
				req.Mode = api.Mode_COLD
			default:
				return refused(fmt.Errorf("--mode %q: want live, warm or cold", mode))
			}
			var err error
			if req.Options, err = how.options(); err != nil {
				return refused(err)
			}
			manager, err := c.connect()
			if err != nil {
				return err
			}
			if dry {
				return c.dryRun(cmd.Context(), manager, req)
			}
			each, end := c.progress, func() {}
			if watch {
				w := newWatcher(c.stderr)
				each, end = w.show, w.end
			}
			stream, err := manager.Migrate(cmd.Context(), req)
			if err != nil {
				return err
			}
			done, err := follow(cmd.Context(), stream, each)
			end()
			if err != nil {
				return err
			}
			return c.printMove(done[len(done)-1])
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "target node")
	cmd.Flags().StringVar(&mode, "mode", "", "live, warm or cold (default: what the service's spec says)")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "tell what would happen and everything that is missing; nothing is touched")
	cmd.Flags().BoolVar(&watch, "watch", false, "show how far each phase is, how fast, and the freeze to expect")
	how.add(cmd)
	_ = cmd.MarkFlagRequired("to") // only fails for a flag that does not exist
	return cmd
}

// move is a finished migration as --json shows it.
type move struct {
	Op              string   `json:"op"`
	Service         string   `json:"service"`
	Replica         int32    `json:"replica"`
	From            string   `json:"from"`
	To              string   `json:"to"`
	Mode            string   `json:"mode"`
	TookMS          int64    `json:"took_ms"`
	HeldMS          float64  `json:"held_ms"` // live and warm: packets waited, from the switch to their release; cold: nobody served for longer than this
	ImageBytes      int64    `json:"image_bytes"`
	VolumeBytes     int64    `json:"volume_bytes"`
	DeltaBytes      int64    `json:"delta_bytes"`
	CheckpointBytes int64    `json:"checkpoint_bytes"`
	PacketsHeld     int64    `json:"packets_held"`
	Phases          []phase  `json:"phases"`
	Instance        instance `json:"instance"`
}

type phase struct {
	Name    string  `json:"name"`
	StartMS float64 `json:"start_ms"`
	TookMS  float64 `json:"took_ms"`
}

func (c *cli) printMove(e *api.Event) error {
	m := moveOf(e)
	if c.json {
		return c.printJSON(m)
	}
	if m.Mode == "" { // the manager learned the outcome by asking; the trace is lost
		fmt.Fprintf(c.stdout, "%s is on %s, address %s\n", m.Instance.Container, m.Instance.Node, m.Instance.ServiceAddress)
		return nil
	}
	fmt.Fprintf(c.stdout, "%s-%d moved from %s to %s, %s, in %d ms, address %s\n",
		m.Service, m.Replica, m.From, m.To, m.Mode, m.TookMS, m.Instance.ServiceAddress)
	rows := [][]string{{"PHASE", "AT-MS", "TOOK-MS"}}
	for _, p := range m.Phases {
		rows = append(rows, []string{p.Name, fmt.Sprintf("%.1f", p.StartMS), fmt.Sprintf("%.1f", p.TookMS)})
	}
	if err := c.printTable(rows); err != nil {
		return err
	}
	switch m.Mode {
	case string(netmap.Live):
		fmt.Fprintf(c.stdout, "traffic held %.1f ms, %d packets; checkpoint %s; ", m.HeldMS, m.PacketsHeld, size(m.CheckpointBytes))
	case string(netmap.Warm):
		fmt.Fprintf(c.stdout, "traffic held %.1f ms, %d packets; ", m.HeldMS, m.PacketsHeld)
	}
	fmt.Fprintf(c.stdout, "image %s, volumes %s, delta %s\n", size(m.ImageBytes), size(m.VolumeBytes), size(m.DeltaBytes))
	return nil
}

func moveOf(e *api.Event) move {
	m := move{Op: e.Op, TookMS: e.AtMs, Phases: []phase{}}
	if e.Instance != nil {
		m.Instance = instanceOf(e.Instance)
		m.Service, m.Replica, m.To = m.Instance.Service, m.Instance.Replica, m.Instance.Node
	}
	if v := e.Move; v != nil {
		m.Service, m.Replica, m.From, m.To = v.Service, v.Replica, v.From, v.To
		m.Mode, m.HeldMS, m.PacketsHeld = strings.ToLower(v.Mode.String()), v.SwitchToReleaseMs, v.PacketsHeld
		m.ImageBytes, m.VolumeBytes, m.DeltaBytes, m.CheckpointBytes = v.ImageBytes, v.VolumeBytes, v.DeltaBytes, v.CheckpointBytes
		for _, p := range v.Phases {
			m.Phases = append(m.Phases, phase{p.Name, p.StartMs, p.TookMs})
		}
	}
	return m
}
