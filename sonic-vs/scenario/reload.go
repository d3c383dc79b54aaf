package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"sonic-netservices/bt-manager/orders"
	"sonic-netservices/bt-manager/trees"
	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/suite"
)

// treeFile is the manager's file of trees, where its container sees it too.
const treeFile = netmap.ManagerDir + "/reload.xml"

// badTree is how a fault of it is told.
var badTree = regexp.MustCompile(`reload\.xml:\d+:\d+: .*`)

// newFile is another file of trees that comes in the middle of a move.
type newFile struct {
	name     string
	old, new string // what is other than in the built-in file; none: its second half is missing
	waits    bool   // what runs is not in it: the replica's tree stays in the former file until its operation has ended
}

var newFiles = []newFile{
	{name: "elsewhere", old: `name="redeploy, or wait"`, new: `name="redeploy or wait"`},
	{name: "beneath", old: `name="undo until cut-over"`, new: `name="undo before the cut-over"`, waits: true},
	{name: "broken"},
}

// treesStatus is `nsctl tree status --json`.
type treesStatus struct {
	File    string
	Hash    string
	Waiting []struct{ Name, Why string }
	Problem string
}

// reload exchanges the file of trees in the middle of moves that a tree has ordered: a good one takes effect and the move
// goes on, a broken one is refused by file, line and column, and the former trees go on.
func reload(ctx context.Context, s *stage) (err error) {
	owner, err := s.quiet(ctx)
	if err != nil {
		return err
	}
	if err := s.writeTrees(string(trees.Manager)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(s.leader().Dir+treeFile)) }()
	if err := s.restartWithTree(ctx, treeFile); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.restartWithTree(context.WithoutCancel(ctx), "")) }()
	var cases []kill
	files := map[string]newFile{}
	for _, f := range newFiles {
		name := "reload/" + f.name
		files[name] = f
		cases = append(cases, kill{Case: name, Victim: suite.Manager, Node: s.leader().Name, Step: journal.Step(orders.StepTransfer)})
	}
	return s.treeMoves(ctx, owner, cases, func(ctx context.Context, owner string, k *kill) (string, error) {
		return s.exchange(ctx, owner, files[k.Case], k)
	})
}

// exchange has the tree move the service away from owner, exchanges the file while the data goes over, and waits until
// all is settled. It returns who has the service then.
func (s *stage) exchange(ctx context.Context, owner string, e newFile, k *kill) (string, error) {
	fault := func(format string, args ...any) { k.Faults = append(k.Faults, fmt.Sprintf(format, args...)) }
	target := other(owner)
	if _, err := s.suite.Nsctl(ctx, "drain", target, "--end"); err != nil {
		return "", err
	}
	before, err := s.trees(ctx)
	if err != nil {
		return "", err
	}
	records, err := s.managerRecords(0)
	if err != nil {
		return "", err
	}
	moves, err := s.allMoves()
	if err != nil {
		return "", err
	}
	w, err := watchJournal(s.node(owner).agentPath("journal"), journal.Source)
	if err != nil {
		return "", err
	}
	defer w.close()
	if err := w.add(s.leader().managerFile("journal/log")); err != nil {
		return "", err
	}
	limit, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := s.drain(ctx, owner); err != nil {
		return "", err
	}
	if k.Op, err = s.leader().awaitStep(limit, w, len(records), orders.Step(k.Step)); err != nil {
		return "", fmt.Errorf("%s is drained, but the tree does not come to %s: %w", owner, k.Step, err)
	}
	k.KilledAt = time.Now().UTC() // the former trees, if you like
	if err := s.writeTrees(e.text()); err != nil {
		return "", err
	}
	answer, err := s.suite.Nsctl(ctx, "tree", "reload")
	code, told := exitCode(err)
	during, err := s.trees(ctx)
	if err != nil {
		return "", err
	}
	since, err := s.managerRecords(len(records))
	if err != nil {
		return "", err
	}
	if _, outcomes := begun(since, replica, orders.Move); len(outcomes) != 1 || outcomes[0] != "" {
		fault("the file was not exchanged in the middle of the move: %q", outcomes)
	}
	waits := len(during.Waiting) > 0 && during.Waiting[0].Name == replica
	if e.old == "" {
		s.say("%-18s %s", k.Case, line(told+"\n"+during.Problem, badTree.String()))
		if code == 0 || !badTree.MatchString(told) {
			fault("nsctl tree reload ends with %d and says %q, want the fault", code, told)
		}
		if !badTree.MatchString(during.Problem) || during.Hash != before.Hash {
			fault("nsctl tree status says %+v, want the fault, and the trees of hash %s", during, before.Hash)
		}
	} else {
		s.say("%-18s %s", k.Case, strings.ReplaceAll(strings.TrimSpace(answer), "\n", "\n"+strings.Repeat(" ", 19)))
		if code != 0 || during.Problem != "" || during.Hash == before.Hash || waits != e.waits {
			fault("nsctl tree reload ends with %d (%s), nsctl tree status says %+v; want other trees than %s, and %s waiting: %v", code, told, during, before.Hash, replica, e.waits)
		}
	}
	for {
		var left []string
		k.Owner, left = s.unsettled(limit)
		now, err := s.trees(limit)
		if len(left) == 0 && k.Owner == target && err == nil && len(now.Waiting) == 0 {
			if now.Hash != during.Hash {
				fault("the trees were of hash %s after the exchange, and are of %s", during.Hash, now.Hash)
			}
			break
		}
		if pause(limit) != nil {
			fault("after %v it runs on %q, want %s; waiting: %v (%v) %s", settleTime, k.Owner, target, now.Waiting, err, strings.Join(left, "; "))
			break
		}
	}
	if since, err = s.managerRecords(len(records)); err != nil {
		return "", err
	}
	if err := s.oneMove(k, since, moves); err != nil {
		return "", err
	}
	k.SettledMS = time.Since(k.KilledAt).Milliseconds()
	return k.Owner, nil
}

func (e newFile) text() string {
	whole := string(trees.Manager)
	if e.old == "" {
		return whole[:len(whole)/2]
	}
	return strings.Replace(whole, e.old, e.new, 1)
}

// writeTrees puts a file of trees where the manager looks, whole or not at all.
func (s *stage) writeTrees(text string) error {
	path := filepath.Join(s.leader().Dir, treeFile)
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// trees is which file of trees is in effect.
func (s *stage) trees(ctx context.Context) (t treesStatus, err error) {
	out, err := s.suite.Nsctl(ctx, "tree", "status", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &t)
	}
	return t, err
}

// restartWithTree has the manager begin anew with another file of trees, "" = the built-in one.
func (s *stage) restartWithTree(ctx context.Context, path string) error {
	config, err := s.leader().db.DB(ctx, "CONFIG_DB")
	if err != nil {
		return err
	}
	if err := config.HSet(ctx, config.Key("NETSERVICES", "global"), map[string]string{"tree": path}); err != nil {
		return err
	}
	pid, err := s.suite.ContainerPID(ctx, s.leader().Node, suite.Manager)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	// After further deaths SONiC starts a feature again only after a while.
	limit, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	want := path
	if want == "" {
		want = "manager.xml"
	}
	for {
		now, err := s.trees(limit)
		if err == nil && now.File == want {
			return nil
		}
		if pause(limit) != nil {
			return fmt.Errorf("%s does not begin with %s: its trees are %+v (%w)", suite.Manager, want, now, err)
		}
	}
}
