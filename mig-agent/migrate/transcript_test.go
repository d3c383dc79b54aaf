package migrate

import (
	"bufio"
	"fmt"
	"strings"
	"testing"

	"sonic-netservices/internal/transcript"
	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/netmap"
)

// machine is what both sides have in common.
type machine interface {
	Next(Input) Action
	Finished() bool
	Guarded() bool
}

// TestTranscripts plays testdata/*.txt. A line that begins with "<" is told to the machine, the lines with ">" below it
// are its answers; the runner answers every action with ok, unless the line says otherwise:
//
//	< source live                 a new machine (source or target, live, warm or cold)
//	< source live data            of a replica with volumes
//	< source lazy                 live, and memory follows after the commit
//	< resume source live STEP..   a machine that finds these journal steps
//	< ACTION=failed: text         from now on that action fails so (once)
//	< ACTION=settled STEP         that record finds the journal settled the other way (once)
//	< ACTION=gone: text           the memory that it waits for will not come
//	< ACTION=committed|aborted    that question gets this answer (once)
//	< EVENT [text]                an order or event
func TestTranscripts(t *testing.T) { transcript.Test(t, play) }

// play runs the told lines of a transcript and writes it with the answers of now.
func play(t *testing.T, script string) string {
	var out strings.Builder
	var m machine
	answers := map[string]Input{}
	for sc := bufio.NewScanner(strings.NewReader(script)); sc.Scan(); {
		line := sc.Text()
		if strings.HasPrefix(line, ">") {
			continue
		}
		fmt.Fprintln(&out, line)
		told, ok := strings.CutPrefix(line, "< ")
		if !ok {
			continue
		}
		if made := construct(told); made != nil {
			m, answers = made, map[string]Input{}
			continue
		}
		if act, answer, ok := strings.Cut(told, "="); ok {
			answers[act] = parseAnswer(t, answer)
			continue
		}
		what, text, _ := strings.Cut(told, " ")
		run(t, &out, m, Input{What: Happened(what), Err: text}, answers)
	}
	return out.String()
}

func construct(told string) machine {
	words := strings.Fields(told)
	switch {
	case told == "source lazy":
		return NewLazySource(false)
	case told == "target lazy":
		return NewLazyTarget()
	case len(words) == 2 && words[0] == "source":
		return NewSource(netmap.Mode(words[1]), false)
	case len(words) == 3 && words[0] == "source" && words[2] == "data":
		return NewSource(netmap.Mode(words[1]), true)
	case len(words) == 2 && words[0] == "target":
		return NewTarget(netmap.Mode(words[1]))
	case len(words) >= 3 && words[0] == "resume":
		var recs []journal.Record
		mode := netmap.Mode(words[2])
		if words[2] == "lazy" {
			mode = netmap.Live
			recs = append(recs, journal.Record{Facts: &journal.Facts{Lazy: true}})
		}
		for _, step := range words[3:] {
			recs = append(recs, journal.Record{Role: journal.Role(words[1]), Step: journal.Step(step)})
		}
		if words[1] == "source" {
			return ResumeSource(mode, recs)
		}
		return ResumeTarget(mode, recs)
	}
	return nil
}

func parseAnswer(t *testing.T, s string) Input {
	switch word, rest, _ := strings.Cut(s, " "); word {
	case "failed:":
		return Input{What: Failed, Err: rest}
	case "settled":
		return Input{What: Failed, Err: "already " + rest, Settled: journal.Step(rest)}
	case "gone:":
		return Input{What: Gone, Err: rest}
	case "committed":
		return Input{What: Committed}
	case "aborted":
		return Input{What: Aborted, Err: "the source says so"}
	default:
		t.Fatalf("answer %q", s)
		return Input{}
	}
}

func run(t *testing.T, out *strings.Builder, m machine, in Input, answers map[string]Input) {
	act := m.Next(in)
	for steps := 0; ; steps++ {
		if steps > 100 {
			t.Fatalf("the machine does not come to an end after %s", in.What)
		}
		guarded := ""
		if m.Guarded() {
			guarded = "   (guarded)"
		}
		fmt.Fprintf(out, "> %s%s\n", act, guarded)
		switch act.Act {
		case Reply:
			if m.Finished() {
				fmt.Fprintln(out, "> finished")
			}
			return
		case Again: // the driver waits and does the same once more; now it works
			act = m.Next(Input{What: OK})
			continue
		}
		key := string(act.Act)
		if act.Step != "" {
			key += " " + string(act.Step)
		}
		answer, ok := answers[key]
		delete(answers, key)
		if !ok {
			answer = Input{What: OK}
		}
		act = m.Next(answer)
	}
}
