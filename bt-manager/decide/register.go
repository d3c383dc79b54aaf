package decide

import (
	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
)

// leaves carries what every leaf works with.
type leaves struct {
	*Shared
	w World
}

// Register makes the manager's leaves known to a registry. Each is one question or one act; what is asked and done when
// is the tree's business. Leaves find their ports by place, so the lists below are their documentation and contract:
// the name, then what lies behind it. Outputs come last.
//
// Texts that name several things, such as the kinds in which or the nodes in refused, are lists in words: kinds with
// commas between, one "node: why" a line.
func Register(reg *bt.Registry, w World, shared *Shared) {
	l := &leaves{shared, w}
	condition := func(name string, tick bt.Func, ports ...bt.Port) { reg.AddFunc(name, bt.Condition, ports, tick) }
	act := func(name string, tick bt.Func, ports ...bt.Port) { reg.AddFunc(name, bt.Action, ports, tick) }
	slow := func(name string, make func() bt.Leaf, ports ...bt.Port) { reg.Add(name, bt.Action, ports, make) }

	// Services that an operator wants.
	condition("ServiceOnlineRequested", l.serviceOnlineRequested, out("request", board.Text)) // service, oldest first
	act("AdmitService", l.admitService, in("request", board.Text), out("index", board.Int))   // writes @ServiceN, N = index
	condition("AllServicesDeployed", l.allServicesDeployed, out("replica", board.Text), out("index", board.Int))
	act("GetNeededResources", l.getNeededResources, in("replica", board.Text), out("need", board.Opaque), out("mode", board.Text))

	// One replica: where it stands. Keeps @PolicyN true, whoever moved it.
	act("GetReplica", l.getReplica, in("replica", board.Text),
		out("index", board.Int), out("source", board.Text), out("need", board.Opaque), out("mode", board.Text))
	act("PickServiceToCheck", l.pickServiceToCheck, // the next one that is deployed, of all, in turn
		out("replica", board.Text), out("source", board.Text), out("need", board.Opaque), out("mode", board.Text))
	condition("OperationOfOthers", l.operationOfOthers, in("replica", board.Text))
	condition("OwnOperation", l.ownOperation, in("replica", board.Text), out("op", board.Text))
	condition("NotDeployed", l.notDeployed, in("source", board.Text))

	// A node that is gone, or shall be.
	condition("NodeDead", l.nodeDead, in("snapshot", board.Opaque), in("node", board.Text), out("reason", board.Text))
	condition("NodeDrained", l.nodeDrained, in("snapshot", board.Opaque), in("node", board.Text), out("reason", board.Text))
	condition("RedeployWanted", l.redeployWanted, in("replica", board.Text)) // on_lost_node: redeploy
	condition("LeaseOver", l.leaseOver, in("replica", board.Text))
	act("WaitForNode", l.waitForNode, in("replica", board.Text), in("node", board.Text))

	// A node that is overloaded. resource: a kind, several, or * for all a node has.
	condition("ResourceOverloaded", l.resourceOverloaded, in("snapshot", board.Opaque), in("node", board.Text),
		in("resource", board.Text), in("thresholds", board.Text), out("which", board.Text))
	slow("SustainedOverload", func() bt.Leaf { return &sustained{leaves: l} },
		in("replica", board.Text), in("node", board.Text), in("resource", board.Text), in("thresholds", board.Text),
		in("samples", board.Int), in("period_ms", board.Int),
		out("kind", board.Text), out("windows", board.Int), out("reason", board.Text))
	condition("MayLeave", l.mayLeave, in("replica", board.Text), in("node", board.Text)) // cool-down, moves in flight
	condition("LeavesFirst", l.leavesFirst, in("snapshot", board.Opaque), in("replica", board.Text), in("node", board.Text),
		in("kind", board.Text), in("thresholds", board.Text), // and what the choice of a node will be made with
		preset("admission", board.Real, "{@Admission}"), preset("mode", board.Text, "{@Scoring}"), preset("lambda", board.Real, "{@Lambda}"),
		preset("balance_weight", board.Real, "{@BalanceWeight}"), preset("cost_weight", board.Real, "{@CostWeight}"),
		preset("t_ref_ms", board.Int, "{@TRefMs}"))

	// The choice of a node. Refused grows while nodes say no.
	act("GetNodeStates", l.getNodeStates, preset("max_age_ms", board.Int, "10000"), out("snapshot", board.Opaque))
	act("PreselectNodes", l.preselectNodes, in("snapshot", board.Opaque), in("need", board.Opaque), in("source", board.Text),
		in("refused", board.Text), in("admission", board.Real), out("candidates", board.Opaque))
	act("ScoreCandidates", l.scoreCandidates, in("snapshot", board.Opaque), in("candidates", board.Opaque),
		in("mode", board.Text), in("lambda", board.Real), in("balance_weight", board.Real), in("cost_weight", board.Real),
		in("t_ref_ms", board.Int), preset("windows", board.Int, "0"), out("scored", board.Opaque))
	act("SelectOptimalNode", l.selectOptimalNode, in("replica", board.Text), in("scored", board.Opaque),
		out("target", board.Text), out("gain", board.Real))

	// Operations. Outcome: refused, failed or done.
	slow("IssuePolicy", func() bt.Leaf { return &issue{leaves: l} }, in("replica", board.Text), in("action", board.Text),
		in("target", board.Text), in("reason", board.Text), in("gain", board.Real),
		inout("refused", board.Text), out("outcome", board.Text)) // action: deploy or redeploy; writes @PolicyN
	act("Handshake", l.handshake, in("replica", board.Text), in("source", board.Text), in("target", board.Text),
		in("mode", board.Text), in("reason", board.Text), in("gain", board.Real),
		inout("refused", board.Text), out("op", board.Text), out("outcome", board.Text))
	slow("TransferData", func() bt.Leaf { return &transfer{leaves: l} }, in("op", board.Text), in("replica", board.Text),
		optional("target", board.Text), inout("refused", board.Text), out("outcome", board.Text))
	slow("Prewarm", func() bt.Leaf { return &advance{l, Transferred, Prewarm, TargetReady} }, in("op", board.Text))
	slow("Cutover", func() bt.Leaf { return &advance{l, TargetReady, Cutover, Committed} }, in("op", board.Text))
	slow("Ask", func() bt.Leaf { return &ask{l} }, in("op", board.Text), in("replica", board.Text))
	slow("Rollback", func() bt.Leaf { return &rollback{l} }, in("op", board.Text), in("replica", board.Text))
	act("RecordPolicy", l.recordPolicy, in("op", board.Text), in("replica", board.Text), optional("reason", board.Text),
		out("outcome", board.Text)) // writes @PolicyN

	// After a failure: 1, 2, 4 .. 60 s. of: a replica, or a service that waits to be admitted.
	condition("Rested", l.rested, in("of", board.Text))
	act("BackOff", l.backOff, in("of", board.Text))
}

func in(name string, kind board.Kind) bt.Port  { return bt.Port{Name: name, Type: kind} }
func out(name string, kind board.Kind) bt.Port { return bt.Port{Name: name, Dir: bt.Out, Type: kind} }
func inout(name string, kind board.Kind) bt.Port {
	return bt.Port{Name: name, Dir: bt.InOut, Type: kind}
}
func optional(name string, kind board.Kind) bt.Port {
	return bt.Port{Name: name, Type: kind, Optional: true}
}
func preset(name string, kind board.Kind, value string) bt.Port {
	return bt.Port{Name: name, Type: kind, Default: value}
}
