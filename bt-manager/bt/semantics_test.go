package bt_test

import (
	"strings"
	"testing"
	"time"

	"sonic-netservices/bt-manager/bt"
)

// One row for each thing a node type of BehaviorTree.CPP 4.10 does with its children's answers; the traces of the original
// hold the same in every mixture. L and C play their string in a circle, a tick apart; | is a halt of the tree.
func TestNodeTypes(t *testing.T) {
	for _, c := range []struct{ says, tree, want string }{
		{"Sequence resumes at the child that runs", `<Sequence><C s="SF"/><L s="RRS"/></Sequence>`, "RUNNING RUNNING SUCCESS FAILURE"},
		{"Sequence begins anew after a halt", `<Sequence><C s="SF"/><L s="R"/></Sequence>`, "RUNNING | FAILURE"},
		{"Sequence passes over what is skipped", `<Sequence><L s="F" _skipIf="true"/><C s="S"/></Sequence>`, "SUCCESS"},
		{"Sequence of skipped children is SKIPPED", `<Sequence><L s="F" _skipIf="true"/><L s="F" _skipIf="true"/></Sequence>`, "SKIPPED"},
		{"AsyncSequence yields between children", `<AsyncSequence><C s="S"/><C s="S"/><C s="S"/></AsyncSequence>`, "RUNNING RUNNING SUCCESS"},
		{"SequenceWithMemory does so too", `<SequenceWithMemory><C s="S"/><C s="S"/><C s="S"/></SequenceWithMemory>`, "RUNNING RUNNING SUCCESS"},
		{"SequenceWithMemory tries a failed child again, not those before", `<SequenceWithMemory><C s="SF"/><C s="FS"/></SequenceWithMemory>`, "RUNNING FAILURE SUCCESS FAILURE"},
		{"SequenceWithMemory keeps its place over a halt", `<SequenceWithMemory><C s="SF"/><L s="RS"/></SequenceWithMemory>`, "RUNNING RUNNING | SUCCESS"},
		{"ReactiveSequence asks from the first child", `<ReactiveSequence><C s="SSF"/><L s="R"/></ReactiveSequence>`, "RUNNING RUNNING FAILURE"},
		{"ReactiveSequence of skipped children is SKIPPED", `<ReactiveSequence><L s="R" _skipIf="true"/></ReactiveSequence>`, "SKIPPED"},

		{"Fallback resumes at the child that runs", `<Fallback><C s="FS"/><L s="RRF"/></Fallback>`, "RUNNING RUNNING FAILURE SUCCESS"},
		{"Fallback of skipped children is SKIPPED", `<Fallback><L s="S" _skipIf="true"/></Fallback>`, "SKIPPED"},
		{"AsyncFallback yields between children", `<AsyncFallback><C s="F"/><C s="F"/><C s="S"/></AsyncFallback>`, "RUNNING RUNNING SUCCESS"},
		{"ReactiveFallback asks from the first child", `<ReactiveFallback><C s="FFS"/><L s="R"/></ReactiveFallback>`, "RUNNING RUNNING SUCCESS"},

		{"Parallel wants all by default, and fails with the first", `<Parallel><L s="RS"/><L s="RRSF"/></Parallel>`, "RUNNING RUNNING SUCCESS FAILURE"},
		{"Parallel does not ask again who has ended", `<Parallel failure_count="2"><C s="SF"/><L s="RRS"/></Parallel>`, "RUNNING RUNNING SUCCESS"},
		{"Parallel: negative counts are all but so many", `<Parallel success_count="-2" failure_count="-1"><C s="F"/><C s="S"/><C s="S"/></Parallel>`, "SUCCESS"},
		{"Parallel fails when success is out of reach", `<Parallel success_count="2" failure_count="3"><C s="F"/><C s="F"/><L s="R"/></Parallel>`, "FAILURE"},
		{"Parallel: skipped counts where the count is from all", `<Parallel success_count="-1"><C s="S"/><C s="S" _skipIf="true"/></Parallel>`, "SUCCESS"},
		{"ParallelAll waits for all", `<ParallelAll max_failures="2"><C s="F"/><L s="RRS"/></ParallelAll>`, "RUNNING RUNNING SUCCESS"},
		{"ParallelAll fails at max_failures, not above", `<ParallelAll max_failures="1"><C s="F"/><C s="S"/></ParallelAll>`, "FAILURE"},
		{"ParallelAll of skipped children is SKIPPED", `<ParallelAll><C s="F" _skipIf="true"/></ParallelAll>`, "SKIPPED"},

		{"IfThenElse does not ask again", `<IfThenElse><C s="SF"/><L s="RRS"/><C s="F"/></IfThenElse>`, "RUNNING RUNNING SUCCESS FAILURE"},
		{"IfThenElse without else fails", `<IfThenElse><C s="F"/><C s="S"/></IfThenElse>`, "FAILURE"},
		{"WhileDoElse asks each time", `<WhileDoElse><C s="SSF"/><L s="R"/><C s="S"/></WhileDoElse>`, "RUNNING RUNNING SUCCESS"},
		{"WhileDoElse without else fails", `<WhileDoElse><C s="SF"/><L s="R"/></WhileDoElse>`, "RUNNING FAILURE"},
		{"Switch takes the case, or the last", `<Switch2 variable="b" case_1="a" case_2="b"><C s="F"/><C s="S"/><C s="F"/></Switch2>`, "SUCCESS"},
		{"Switch compares numbers as numbers", `<Switch2 variable="1.0" case_1="0" case_2="1"><C s="F"/><C s="S"/><C s="F"/></Switch2>`, "SUCCESS"},
		{"Switch is SKIPPED with its child", `<Switch2 variable="a" case_1="a" case_2="b"><C s="S" _skipIf="true"/><C s="S"/><C s="S"/></Switch2>`, "SKIPPED"},
		{"TryCatch tries", `<TryCatch><C s="S"/><L s="RS"/><C s="S"/></TryCatch>`, "RUNNING SUCCESS"},
		{"TryCatch catches, then fails", `<TryCatch><C s="F"/><L s="RS"/></TryCatch>`, "RUNNING FAILURE"},

		{"Inverter passes RUNNING on", `<Inverter><L s="RSF"/></Inverter>`, "RUNNING FAILURE SUCCESS"},
		{"Inverter passes SKIPPED on", `<Inverter><L s="R" _skipIf="true"/></Inverter>`, "SKIPPED"},
		{"ForceSuccess", `<ForceSuccess><L s="RFS"/></ForceSuccess>`, "RUNNING SUCCESS SUCCESS"},
		{"ForceFailure", `<ForceFailure><L s="RSF"/></ForceFailure>`, "RUNNING FAILURE FAILURE"},
		{"RetryUntilSuccessful yields between instant attempts", `<RetryUntilSuccessful num_attempts="3"><AlwaysFailure/></RetryUntilSuccessful>`, "RUNNING RUNNING FAILURE"},
		{"RetryUntilSuccessful does not where the attempt took time", `<RetryUntilSuccessful num_attempts="2"><L s="RF"/></RetryUntilSuccessful>`, "RUNNING RUNNING FAILURE"},
		{"RetryUntilSuccessful forgets its count when halted", `<RetryUntilSuccessful num_attempts="2"><AlwaysFailure/></RetryUntilSuccessful>`, "RUNNING | RUNNING FAILURE"},
		{"Repeat", `<Repeat num_cycles="3"><C s="SSSSF"/></Repeat>`, "RUNNING RUNNING SUCCESS RUNNING FAILURE"},
		{"KeepRunningUntilFailure", `<KeepRunningUntilFailure><C s="SSF"/></KeepRunningUntilFailure>`, "RUNNING RUNNING FAILURE"},
		{"KeepRunningUntilFailure runs on over SKIPPED", `<KeepRunningUntilFailure><C s="F" _skipIf="true"/></KeepRunningUntilFailure>`, "RUNNING RUNNING"},
		{"RunOnce skips from then on, also after a halt", `<RunOnce><L s="RF"/></RunOnce>`, "RUNNING FAILURE SKIPPED | SKIPPED"},
		{"RunOnce gives the first answer again", `<RunOnce then_skip="false"><L s="RFS"/></RunOnce>`, "RUNNING FAILURE FAILURE"},
		{"Precondition", `<Precondition if="1 &gt; 2" else="SKIPPED"><C s="S"/></Precondition>`, "SKIPPED"},
		{"Timeout", `<Timeout msec="2500"><L s="R"/></Timeout>`, "RUNNING RUNNING RUNNING FAILURE RUNNING"},
		{"Timeout of a child that ends in time", `<Timeout msec="2500"><L s="RRS"/></Timeout>`, "RUNNING RUNNING SUCCESS"},
		{"Timeout of 0 is none", `<Timeout msec="0"><L s="RRRRS"/></Timeout>`, "RUNNING RUNNING RUNNING RUNNING SUCCESS"},
		{"Delay", `<Delay delay_msec="1500"><C s="F"/></Delay>`, "RUNNING RUNNING FAILURE RUNNING"},
		{"Sleep", `<Sleep msec="1500"/>`, "RUNNING RUNNING SUCCESS RUNNING"},
		{"Loop runs its child once for each item", `<LoopString queue="a;b" value="{x}"><C s="S"/></LoopString>`, "RUNNING RUNNING SUCCESS RUNNING"},
		{"Loop ends with a child that fails", `<LoopInt queue="1;2;3" value="{x}"><C s="SF"/></LoopInt>`, "RUNNING FAILURE"},
		{"Loop without items", `<LoopDouble queue="" value="{x}" if_empty="FAILURE"><C s="S"/></LoopDouble>`, "FAILURE"},
		{"Loop of truth values", `<LoopBool queue="true;false" value="{x}"><ScriptCondition code="x"/></LoopBool>`, "RUNNING FAILURE"},

		{"_failureIf comes before _successIf, and that before _skipIf", `<Sequence><ForceSuccess><C s="S" _failureIf="true" _successIf="true"/></ForceSuccess><C s="F" _successIf="true" _skipIf="true"/></Sequence>`, "SUCCESS"},
		{"_while skips before it begins", `<C s="S" _while="false"/>`, "SKIPPED"},
		{"_onSuccess and _post run behind an answer", `<Sequence><C s="S" _onSuccess="a := 1" _onFailure="a := 2" _post="b := a + 1"/><ScriptCondition code="a == 1 &amp;&amp; b == 2"/></Sequence>`, "SUCCESS"},
	} {
		t.Run(c.says, func(t *testing.T) {
			r := try(t, c.tree)
			for i, part := range strings.Split(c.want, "|") {
				if i > 0 {
					r.Halt(r.now, bt.HaltTree)
				}
				r.ticks(time.Second, part)
			}
		})
	}
}
