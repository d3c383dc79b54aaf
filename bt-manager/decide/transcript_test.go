package decide

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"sonic-netservices/internal/transcript"
	"sonic-netservices/netmap"
)

// TestTranscripts runs each testdata/*.txt: a line that begins with "> " is a command, what follows it is everything
// that happened. Time begins at 0 s; a period is 1 s. Commands:
//
//	judge [FIELD=VALUE...]             begins anew; threshold clear samples majority gap cool-down, KIND=THRESHOLD/CLEAR
//	sample [Nx] [+DURATION] KIND=USE...  N samples, each one period, or DURATION, after the one before
//	look +DURATION                     the judgement later, without a sample
//	disarm REASON
//	wait DURATION
//	begin REPLICA FROM TO
//	end REPLICA
//	leave REPLICA FROM
//	enter TO
func TestTranscripts(t *testing.T) { transcript.Test(t, play) }

type machine struct {
	t     *testing.T
	out   strings.Builder
	judge *Judge
	moves *Moves
	now   time.Duration
}

func play(t *testing.T, text string) string {
	m := &machine{t: t}
	for line := range strings.Lines(text) {
		command, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "> ")
		switch {
		case ok:
			fmt.Fprintf(&m.out, "> %s\n", command)
			m.run(strings.Fields(command))
		case strings.HasPrefix(line, "#"), line == "\n":
			m.out.WriteString(line)
		}
	}
	return m.out.String()
}

func (m *machine) run(words []string) {
	verb, words := words[0], words[1:]
	switch verb {
	case "judge":
		m.begin(words)
	case "sample":
		m.sample(words)
	case "look":
		m.now += m.duration(words[0])
		m.show(m.judge.At(m.now))
	case "disarm":
		m.judge.Disarm(strings.Join(words, " "))
		m.show(m.judge.At(m.now))
	case "wait":
		m.now += m.duration(words[0])
	case "begin":
		m.moves.Begin(m.replica(words[0]), words[1], words[2])
	case "end":
		m.moves.End(m.replica(words[0]), m.now)
	case "leave":
		m.may(m.moves.Leave(m.replica(words[0]), words[1], m.now))
	case "enter":
		m.may(m.moves.Enter(words[0]))
	default:
		m.t.Fatalf("no command %s", verb)
	}
}

func (m *machine) begin(words []string) {
	p := Defaults()
	for _, w := range words {
		field, value, _ := strings.Cut(w, "=")
		switch field {
		case "threshold":
			p.Threshold = m.number(value)
		case "clear":
			p.Clear = m.number(value)
		case "samples":
			p.Samples = int(m.number(value))
		case "majority":
			p.Majority = value == "on"
		case "gap":
			p.Gap = int(m.number(value))
		case "cool-down":
			p.CoolDown = int(m.number(value))
		default:
			threshold, clear, _ := strings.Cut(value, "/")
			if p.Kinds == nil {
				p.Kinds = map[netmap.Kind]Limits{}
			}
			p.Kinds[netmap.Kind(field)] = Limits{m.number(threshold), m.number(clear)}
		}
	}
	m.now = 0
	var err error
	if m.judge, err = NewJudge(p); err != nil {
		fmt.Fprintln(&m.out, err)
		return
	}
	if m.moves, err = NewMoves(p); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) sample(words []string) {
	times, step := 1, time.Second
	use := map[netmap.Kind]float64{}
	for _, w := range words {
		kind, value, isUse := strings.Cut(w, "=")
		switch {
		case isUse:
			use[netmap.Kind(kind)] = m.number(value)
		case strings.HasSuffix(w, "x"):
			times = int(m.number(strings.TrimSuffix(w, "x")))
		default:
			step = m.duration(w)
		}
	}
	for range times {
		m.now += step
		m.show(m.judge.Feed(Sample{At: m.now, Use: use}))
	}
}

func (m *machine) show(j Judgement) {
	fmt.Fprintf(&m.out, "%4v %-9s %s\n", m.now, j.State, j.Reason)
	for _, v := range j.Kinds {
		if v.Kind != j.Kind {
			fmt.Fprintf(&m.out, "     %-9s %s\n", v.State, v.Reason)
		}
	}
}

func (m *machine) may(why string) {
	if why == "" {
		why = "yes"
	}
	fmt.Fprintln(&m.out, why)
}

func (m *machine) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		m.t.Fatal(err)
	}
	return d
}

func (m *machine) number(s string) float64 {
	x, err := strconv.ParseFloat(s, 64)
	if err != nil {
		m.t.Fatal(err)
	}
	return x
}

func (m *machine) replica(s string) netmap.ReplicaID {
	id, err := netmap.ParseReplicaID(s)
	if err != nil {
		m.t.Fatal(err)
	}
	return id
}
