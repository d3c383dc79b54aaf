package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/sonic-vs/chaos"
	"sonic-netservices/sonic-vs/load"
	"sonic-netservices/sonic-vs/suite"
	"sonic-netservices/sonic-vs/testbed"
)

// Chaos says which moves to play.
type Chaos struct {
	chaos.Choice
	Moves int
	Seed  uint64        // 0: any, which is printed
	Time  time.Duration // no move begins after it; 0: without end
}

const (
	chaosSettle = time.Minute // of one move, from the order on: a switch may have to come up again
	steadyTime  = 500 * time.Millisecond
	slowMove    = 5 * time.Second // after it people want to know what was waited for
	freshEvery  = 20              // moves; a volume that grows without end takes its time to verify
)

// RunChaos raises the test bed as far as it is missing, plays a deck of moves on it, and judges each.
func RunChaos(ctx context.Context, c Config, want Chaos) error {
	s, err := raise(ctx, c)
	if err != nil {
		return fmt.Errorf("raise test bed: %w", err)
	}
	defer func() { s.close() }() // its doors are not those of the beginning
	return s.chaos(ctx, want)
}

// chaos plays the deck. Records of moves without a violation are thrown away.
func (s *stage) chaos(ctx context.Context, want Chaos) error {
	cases, err := chaos.Cases(want.Choice)
	if err != nil {
		return err
	}
	if want.Seed == 0 {
		want.Seed = rand.Uint64N(1_000_000) + 1
	}
	if want.Moves == 0 {
		want.Moves = len(cases)
	}
	top := filepath.Join(s.Out, "chaos")
	if err := errors.Join(os.RemoveAll(top), os.MkdirAll(top, 0o755)); err != nil {
		return err
	}
	out, err := os.Create(filepath.Join(s.Out, "chaos.jsonl"))
	if err != nil {
		return err
	}
	defer out.Close()
	s.say("seed %d: %d moves out of %d cases", want.Seed, want.Moves, len(cases))
	var moves []chaos.Move
	violated := 0
	began := time.Now()
	for i, c := range chaos.Deck(cases, want.Moves, want.Seed) {
		if want.Time > 0 && time.Since(began) > want.Time {
			s.say("time is over after %d moves", i)
			break
		}
		s.dir = filepath.Join(top, strconv.Itoa(i+1))
		m, err := s.chaosMove(ctx, i, c)
		if err != nil {
			s.keepJournals()
			return fmt.Errorf("move %d, %s, seed %d: %w", i+1, c, want.Seed, err)
		}
		m.Seed = want.Seed
		moves = append(moves, m)
		if err := json.NewEncoder(out).Encode(m); err != nil {
			return err
		}
		wrong := m.Violations()
		left := time.Since(began) / time.Duration(i+1) * time.Duration(want.Moves-i-1)
		s.say("%3d/%d %-30s %-9s on %-6s %3d failed, gap %5.0f ms, took %5.1f s, %v left  %s",
			i+1, want.Moves, c, m.Outcome, m.Owner, m.Failed, m.GapMS, float64(m.TookMS)/1000, left.Round(time.Second), m.Note)
		for _, v := range wrong {
			s.say("  VIOLATION %s", v)
		}
		if len(wrong) > 0 {
			violated++
			s.keepJournals()
		} else if err := os.RemoveAll(s.dir); err != nil {
			return err
		}
		if m.Owner == "" || m.Leftovers > 0 { // the next move must not pay for it
			if err := s.renew(ctx); err != nil {
				return fmt.Errorf("begin anew after move %d: %w", i+1, err)
			}
		}
	}
	s.say("%s", strings.TrimRight(chaos.Table(moves), "\n"))
	if violated > 0 {
		s.say("FAIL chaos, seed %d: %d of %d moves violated what must hold; records in %s", want.Seed, violated, len(moves), top)
		return fmt.Errorf("%w: chaos: %d of %d moves", ErrFailed, violated, len(moves))
	}
	s.say("PASS chaos, seed %d: %d moves in %v, %s", want.Seed, len(moves), time.Since(began).Round(time.Second), out.Name())
	return nil
}

// chaosMove plays one case under a load of its own.
func (s *stage) chaosMove(ctx context.Context, n int, c chaos.Case) (chaos.Move, error) {
	m := chaos.Move{N: n + 1, Fault: c.Fault.Name, Step: c.Step, Spoils: c.Spoils()}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return m, err
	}
	owner, faults, err := s.settle(ctx)
	if err != nil {
		return m, err
	}
	if len(faults) > 0 {
		return m, fmt.Errorf("not ready to begin: %s", strings.Join(faults, "; "))
	}
	if n > 0 && n%freshEvery == 0 {
		if err := s.deployAnew(ctx, owner); err != nil {
			return m, err
		}
	}
	m.From, m.To = owner, other(owner)
	strike := strikes[c.Fault.Name](s, m.From, m.To)
	if strike.before != nil {
		if err := strike.before(ctx); err != nil {
			return m, fmt.Errorf("prepare: %w", err)
		}
	}
	clients, err := s.startLoad(ctx)
	if err != nil {
		return m, err
	}
	defer clients.kill()
	time.Sleep(steadyTime)
	began := time.Now()
	limit, cancel := context.WithTimeout(ctx, chaosSettle)
	defer cancel()
	notes, err := s.strikeMove(ctx, limit, &m, strike)
	if err != nil {
		return m, err
	}
	s.waited = ""
	owner, faults, err = s.settleWithin(limit, ctx)
	if err != nil {
		return m, err
	}
	m.TookMS = time.Since(began).Milliseconds()
	m.Owner, m.Leftovers = owner, len(faults)
	m.Owners = s.owners(ctx)
	notes = append(notes, faults...)
	if len(faults) == 0 && s.waited != "" && m.TookMS > slowMove.Milliseconds() {
		notes = append(notes, "waited for: "+s.waited)
	}
	if m.Outcome, err = s.decided(m.From, m.Op); err != nil {
		return m, err
	}
	time.Sleep(steadyTime)
	report, err := clients.stop(s, owner)
	if err != nil {
		return m, err
	}
	notes = append(notes, report.Problems...)
	m.Leftovers += len(report.Problems)
	for _, p := range report.Parts {
		count(&m, p)
	}
	if owner != "" {
		if err := s.serials(owner); err != nil {
			m.Repeated++
			notes = append(notes, err.Error())
		}
	}
	m.Note = strings.Join(notes, "; ")
	return m, nil
}

// count takes over what the checker computed from the records of the load and the volume.
func count(m *chaos.Move, p load.PartReport) {
	m.Requests, m.Failed, m.Broken, m.GapMS = p.Requests, p.Failed, p.Broken, p.GapMS.Milliseconds()
	if p.Lost != nil && p.Duplicate != nil {
		m.LostWrites, m.Repeated = *p.Lost, *p.Duplicate
	}
}

// strikeMove orders the move, strikes at its step, and mends. It returns when the order is answered, or at the limit.
func (s *stage) strikeMove(ctx, limit context.Context, m *chaos.Move, strike strike) (notes []string, err error) {
	writer, role := s.node(m.From), journal.Source
	if m.Step == journal.Reserved {
		writer, role = s.node(m.To), journal.Target
	}
	w, err := watchJournal(writer.agentPath("journal"), role)
	if err != nil {
		return nil, err
	}
	defer w.close()
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	moved := make(chan error, 1)
	go func() {
		moved <- s.move(ctx, m.To)
		time.AfterFunc(time.Second, cancel) // a move that ends without the record never writes it
	}()
	m.Op, err = w.await(watching, m.Step)
	switch {
	case err == nil:
		m.Struck = true
		if err := strike.hit(ctx); errors.Is(err, errMissed) {
			m.Struck = false
			notes = append(notes, err.Error())
		} else if err != nil {
			return notes, fmt.Errorf("strike: %w", err)
		}
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		notes = append(notes, "it ended before "+string(m.Step))
	}
	if strike.after != nil && m.Struck { // the order may wait for it
		if err := strike.after(limit); err != nil {
			return notes, fmt.Errorf("mend: %w", err)
		}
	}
	select {
	case err := <-moved:
		if code, said := exitCode(err); code != 0 {
			notes = append(notes, lastLine(said))
		}
	case <-limit.Done():
		notes = append(notes, fmt.Sprintf("nsctl migrate has no answer after %v", chaosSettle))
		m.Leftovers++
	}
	if strike.end != nil {
		if err := strike.end(ctx); err != nil {
			return notes, fmt.Errorf("mend: %w", err)
		}
	}
	return notes, nil
}

// owners counts the nodes on which the replica runs.
func (s *stage) owners(ctx context.Context) (n int) {
	for _, node := range s.nodes {
		if running, _ := s.inspect(ctx, node); running {
			n++
		}
	}
	return n
}

// decided is how a move ended, by the journal that decides. A move without a record never came to its cut-over.
func (s *stage) decided(from, op string) (string, error) {
	if op == "" {
		return string(journal.Aborted), nil
	}
	j, err := journal.Open(s.node(from).agentPath("journal"), "scenario")
	if err != nil {
		return "", err
	}
	recs, err := j.Load(op, journal.Source)
	if err != nil || len(recs) > 0 {
		return string(journal.Settled(recs)), err
	}
	return string(journal.Aborted), nil
}

// renew takes the test bed down and raises it again.
func (s *stage) renew(ctx context.Context) error {
	instance := s.suite.Bed.Instance
	if err := errors.Join(s.close(), testbed.Down(ctx, instance)); err != nil {
		return err
	}
	fresh, err := raise(ctx, s.Config)
	if err != nil {
		return err
	}
	s.suite, s.nodes = fresh.suite, fresh.nodes
	return nil
}

// deployAnew gives the service an empty volume.
func (s *stage) deployAnew(ctx context.Context, node string) error {
	if _, err := s.suite.Nsctl(ctx, "remove", service); err != nil {
		return err
	}
	_, err := s.suite.Deploy(ctx, s.spec(), node)
	return err
}

// keepJournals copies the agents' journals, and what the programs said, beside the records of a move.
func (s *stage) keepJournals() {
	for _, n := range s.nodes {
		dir := filepath.Join(s.dir, n.Name)
		err := os.CopyFS(filepath.Join(dir, "journal"), os.DirFS(n.agentPath("journal")))
		for _, name := range []string{suite.Agent, helper, suite.Manager} {
			if n != s.leader() && name == suite.Manager {
				continue
			}
			err = errors.Join(err, n.keepLog(name, filepath.Join(dir, name+".log")))
		}
		if err != nil {
			s.say("  records of %s: %v", n.Name, err)
		}
	}
}

// keepLog writes down what a container has said lately.
func (n *node) keepLog(name, path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	said, err := n.docker.ContainerLogs(ctx, name, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: "2000"})
	if err != nil {
		return err
	}
	defer said.Close()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, said)
	return errors.Join(err, f.Close())
}
