package bt_test

import (
	"encoding/json"
	"testing"
	"time"

	"sonic-netservices/bt-manager/bt"
)

const allSorts = `<Parallel failure_count="-1"><SequenceWithMemory><RunOnce><L s="RS"/></RunOnce><L s="RRS"/></SequenceWithMemory>
	<IfThenElse><C s="SF"/><Timeout msec="50"><L s="R"/></Timeout><Delay delay_msec="5"><AlwaysSuccess/></Delay></IfThenElse>
	<TryCatch><L s="RF"/><L s="RS"/></TryCatch><LoopInt queue="1;2;3" value="{x}"><Sleep msec="5"/></LoopInt>
	<Switch2 variable="{x}" case_1="1" case_2="2"><L s="R"/><L s="RS"/><AlwaysSuccess/></Switch2>
	<Repeat num_cycles="3"><ParallelAll><L s="RS"/><Precondition if="x == 2" else="SKIPPED"><L s="S"/></Precondition></ParallelAll></Repeat></Parallel>`

// FuzzRestore: a journal that was damaged, or written by somebody else, is refused or taken, but nothing breaks.
func FuzzRestore(f *testing.F) {
	seed := try(&testing.T{}, allSorts)
	hash := seed.Program().Hash()
	for range 4 {
		seed.now = seed.now.Add(3 * time.Millisecond)
		seed.Tick(seed.now)
		text, err := json.Marshal(seed.Snapshot())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s bt.Snapshot
		if json.Unmarshal(text, &s) != nil {
			return
		}
		s.Tree = hash
		r := try(t, allSorts)
		if r.Restore(s) != nil {
			return
		}
		for range 5 {
			r.now = r.now.Add(3 * time.Millisecond)
			r.Tick(r.now)
		}
		r.Halt(r.now, bt.HaltTree)
		if n := r.Panics(); n > 0 {
			t.Fatalf("%d panics", n)
		}
	})
}
