package bt

import (
	"fmt"

	"sonic-netservices/bt-manager/bt/board"
)

type opcode uint8

const (
	opLeaf        opcode = iota // becomes one of the next four when compiled
	opFunc                      // a Func without scripts around it
	opGuardedFunc               // a Func with scripts
	opSync
	opStateful

	opSequence
	opAsyncSequence
	opSequenceWithMemory
	opReactiveSequence
	opFallback
	opAsyncFallback
	opReactiveFallback
	opParallel
	opParallelAll
	opIfThenElse
	opWhileDoElse
	opSwitch
	opTryCatch

	opInverter
	opForceSuccess
	opForceFailure
	opRetry
	opRepeat
	opKeepRunning
	opTimeout
	opDelay
	opRunOnce
	opPrecondition
	opLoop
	opSkipUnlessUpdated
	opWaitValueUpdate
	opSubTree

	opAlwaysSuccess
	opAlwaysFailure
	opScript
	opScriptCondition
	opSetBlackboard
	opUnsetBlackboard
	opSleep
	opWasEntryUpdated
)

const many = 1 << 16

// builtin lists the node types of v4. Ports are read by their place in the list.
func builtin() []NodeType {
	control := func(name string, op opcode, min, max int, ports ...Port) NodeType {
		return NodeType{Name: name, Class: Control, Ports: ports, op: op, minKids: min, maxKs: max}
	}
	decorator := func(name string, op opcode, ports ...Port) NodeType {
		return NodeType{Name: name, Class: Decorator, Ports: ports, op: op, minKids: 1, maxKs: 1}
	}
	leaf := func(name string, class Class, op opcode, ports ...Port) NodeType {
		return NodeType{Name: name, Class: class, Ports: ports, op: op}
	}
	whole := func(name, def string, min float64) Port {
		return Port{Name: name, Type: board.Int, Default: def, Min: min, Max: 1 << 31}
	}
	text := func(name, def string) Port { return Port{Name: name, Type: board.Text, Default: def} }
	entry := Port{Name: "entry"}
	list := []NodeType{
		control("Sequence", opSequence, 1, many),
		control("AsyncSequence", opAsyncSequence, 1, many),
		control("SequenceWithMemory", opSequenceWithMemory, 1, many),
		control("ReactiveSequence", opReactiveSequence, 1, many),
		control("Fallback", opFallback, 1, many),
		control("AsyncFallback", opAsyncFallback, 1, many),
		control("ReactiveFallback", opReactiveFallback, 1, many),
		control("Parallel", opParallel, 1, many, whole("success_count", "-1", -many), whole("failure_count", "1", -many)),
		control("ParallelAll", opParallelAll, 1, many, whole("max_failures", "1", -many)),
		control("IfThenElse", opIfThenElse, 2, 3),
		control("WhileDoElse", opWhileDoElse, 2, 3),
		control("TryCatch", opTryCatch, 2, many, Port{Name: "catch_on_halt", Type: board.Bool, Default: "false"}),
		decorator("Inverter", opInverter),
		decorator("ForceSuccess", opForceSuccess),
		decorator("ForceFailure", opForceFailure),
		decorator("RetryUntilSuccessful", opRetry, whole("num_attempts", "", -1)),
		decorator("Repeat", opRepeat, whole("num_cycles", "", -1)),
		decorator("KeepRunningUntilFailure", opKeepRunning),
		decorator("Timeout", opTimeout, whole("msec", "", 0)),
		decorator("Delay", opDelay, whole("delay_msec", "", 0)),
		decorator("RunOnce", opRunOnce, Port{Name: "then_skip", Type: board.Bool, Default: "true"}),
		decorator("Precondition", opPrecondition, text("if", ""), text("else", "FAILURE")),
		decorator("SkipUnlessUpdated", opSkipUnlessUpdated, entry),
		decorator("WaitValueUpdate", opWaitValueUpdate, entry),
		leaf("AlwaysSuccess", Action, opAlwaysSuccess),
		leaf("AlwaysFailure", Action, opAlwaysFailure),
		leaf("Script", Action, opScript, text("code", "")),
		leaf("ScriptCondition", Condition, opScriptCondition, text("code", "")),
		leaf("SetBlackboard", Action, opSetBlackboard, Port{Name: "value"}, Port{Name: "output_key", Dir: InOut}),
		leaf("UnsetBlackboard", Action, opUnsetBlackboard, Port{Name: "key"}),
		leaf("Sleep", Action, opSleep, whole("msec", "", 0)),
		leaf("WasEntryUpdated", Action, opWasEntryUpdated, entry),
	}
	for n := 2; n <= 6; n++ {
		ports := []Port{{Name: "variable"}}
		for c := 1; c <= n; c++ {
			ports = append(ports, Port{Name: fmt.Sprintf("case_%d", c)})
		}
		list = append(list, control(fmt.Sprintf("Switch%d", n), opSwitch, n+1, n+1, ports...))
	}
	for name, kind := range map[string]board.Kind{"Int": board.Int, "Bool": board.Bool, "Double": board.Real, "String": board.Text} {
		list = append(list, decorator("Loop"+name, opLoop, Port{Name: "queue", Dir: InOut}, text("if_empty", "SUCCESS"),
			Port{Name: "value", Dir: Out, Type: kind}))
	}
	return list
}
