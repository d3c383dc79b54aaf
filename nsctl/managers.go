package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/managers"
)

// managerStatus is the managers of the AS as --json shows them.
type managerStatus struct {
	Cluster  string    `json:"cluster"`
	AS       string    `json:"as"`
	Leader   string    `json:"leader"` // "": none leads
	Epoch    uint64    `json:"epoch"`
	Managers []manager `json:"managers"`
}

type manager struct {
	Node      string `json:"node"`
	Addr      string `json:"addr"`
	Journal   string `json:"journal"`
	Voter     bool   `json:"voter"`
	Leads     bool   `json:"leads"`
	Version   string `json:"version"`
	LastIndex uint64 `json:"last_index"` // of its journal
	Lag       uint64 `json:"lag"`        // entries that the leader has applied and it has not
	Since     string `json:"since"`      // it follows or is the present leader, RFC 3339
	Lost      bool   `json:"lost"`       // its disk was, and with it its vote: it is to be joined again
	Problem   string `json:"problem"`    // it does not answer
}

func (c *cli) manager() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manager",
		Short: "The managers of the AS: who leads, who can",
		Long: `The managers of the AS: who leads, who can.

One manager is enough; three go on when one of them is lost. A further one is started on its switch with manager_join
in CONFIG_DB NETSERVICES|global (or -join), waits, and is added with join. One whose disk was lost has no vote until it
is joined again, in its own place; until then the others can lose no further one.`,
	}
	cmd.AddCommand(c.managerStatus(), c.managerJoin(), c.managerTransfer(), c.managerRemove())
	return cmd
}

func (c *cli) managerStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "List the managers: who leads, how far each journal has come",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conn, err := c.dial()
			if err != nil {
				return err
			}
			return c.showManagers(cmd.Context(), conn)
		},
	}
}

func (c *cli) managerJoin() *cobra.Command {
	return &cobra.Command{
		Use:   "join NODE [ADDR]",
		Short: "Add the manager that waits on a switch; ADDR is host:port where it serves (default: 7301 at its agent's)",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref := &api.ManagerRef{Node: args[0]}
			if len(args) == 2 {
				ref.Addr = args[1]
			}
			return c.changeManagers(cmd.Context(), api.ManagerClient.JoinManager, ref)
		},
	}
}

func (c *cli) managerRemove() *cobra.Command {
	return &cobra.Command{
		Use:     "remove NODE",
		Aliases: []string{"leave"},
		Short:   "Take a manager out; let another one lead before if it leads",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.changeManagers(cmd.Context(), api.ManagerClient.RemoveManager, &api.ManagerRef{Node: args[0]})
		},
	}
}

func (c *cli) managerTransfer() *cobra.Command {
	return &cobra.Command{
		Use:   "transfer [NODE]",
		Short: "Let another manager lead",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref := &api.ManagerRef{}
			if len(args) == 1 {
				ref.Node = args[0]
			}
			return c.changeManagers(cmd.Context(), api.ManagerClient.TransferLead, ref)
		},
	}
}

// managerOrder is one of the methods that change who the managers are.
type managerOrder func(api.ManagerClient, context.Context, *api.ManagerRef, ...grpc.CallOption) (*api.ManagerList, error)

// changeManagers gives an order and shows what came of it.
func (c *cli) changeManagers(ctx context.Context, order managerOrder, ref *api.ManagerRef) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	if _, err := order(api.NewManagerClient(conn), ctx, ref); err != nil {
		return err
	}
	return c.showManagers(ctx, conn)
}

// showManagers asks every manager for itself: one that is cut off from the leader says so.
func (c *cli) showManagers(ctx context.Context, conn *managers.Conn) error {
	_, leader, err := conn.Leader(ctx)
	all := &managerStatus{Managers: []manager{}}
	var lists []*api.ManagerList
	if err == nil {
		var list *api.ManagerList
		if list, err = api.NewManagerClient(leader).Managers(ctx, &api.Empty{}); err != nil {
			return err
		}
		lists = append(lists, list)
	} else {
		for _, at := range conn.All() {
			if list, askErr := conn.Ask(ctx, at); askErr == nil {
				lists = append(lists, list)
			}
		}
		if len(lists) == 0 {
			return err
		}
	}
	first := lists[0]
	all.Cluster, all.AS, all.Epoch = first.Cluster, first.As, first.Epoch
	if first.Self.Leads {
		all.Leader = first.Self.Node
	}
	views := first.Managers
	if len(views) == 0 { // it waits to be joined
		views = []*api.ManagerView{first.Self}
	}
	all.Managers = make([]manager, len(views))
	var asked sync.WaitGroup
	for i, view := range views {
		m := &all.Managers[i]
		*m = manager{Node: view.Node, Addr: view.Addr, Journal: view.Journal, Voter: view.Voter, Leads: view.Node == all.Leader}
		asked.Go(func() {
			told, err := conn.Ask(ctx, managers.At{Node: view.Node, Addr: view.Addr})
			if err != nil {
				m.Problem = "does not answer: " + status.Convert(err).Message()
				return
			}
			m.Version, m.LastIndex = told.Version, told.LastIndex
			if view.Life != "" && told.Self.GetLife() != view.Life {
				m.Lost = true
			}
			m.Lag = first.AppliedIndex - min(first.AppliedIndex, told.AppliedIndex)
			m.Since = time.UnixMilli(told.SinceUnixMs).UTC().Format(time.RFC3339)
		})
	}
	asked.Wait()
	return c.printManagers(all)
}

func (c *cli) printManagers(all *managerStatus) error {
	if c.json {
		return c.printJSON(all)
	}
	rows := [][]string{{"MANAGER", "ADDRESS", "ROLE", "LAST", "LAG", "SINCE", "VERSION"}}
	for _, m := range all.Managers {
		role := "follower"
		switch {
		case m.Leads:
			role = "leader"
		case m.Lost:
			role = "lost its journal, waits to be joined"
		case !m.Voter && all.Cluster == "":
			role = "waits to be joined"
		case !m.Voter:
			role = "catches up"
		}
		row := []string{m.Node, m.Addr, role, strconv.FormatUint(m.LastIndex, 10), strconv.FormatUint(m.Lag, 10), m.Since, m.Version}
		if m.Problem != "" {
			row = []string{m.Node, m.Addr, "away", "-", "-", "-", "-"}
			fmt.Fprintf(c.stderr, "nsctl: %s: %s\n", m.Node, m.Problem)
		}
		rows = append(rows, row)
	}
	if all.Leader == "" {
		fmt.Fprintln(c.stderr, "nsctl: nobody leads")
	}
	fmt.Fprintf(c.stdout, "cluster %s of AS %s, epoch %d\n\n", cmp.Or(all.Cluster, "-"), cmp.Or(all.AS, "-"), all.Epoch)
	return c.printTable(rows)
}
