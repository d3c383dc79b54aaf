package scenario

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// golden is what rows wants to see on every switch.
//
//go:embed testdata/rows.golden
var golden string

// viewer is the switch on which rows looks: it has no manager, and what it shows of others came to it.
const viewer = firstHome

// rows looks at resour_DB as an operator does, with redis-cli on one switch: the rows of all switches are there, and
// the blackboard shows the service and where it is.
func rows(ctx context.Context, s *stage) error {
	owner, faults, err := s.settle(ctx)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return fmt.Errorf("not ready to begin: %s", strings.Join(faults, "; "))
	}
	redis := func(node string, args ...string) ([]string, error) {
		out, err := s.suite.Bed.Exec(ctx, node, append([]string{"redis-cli", "-n", "7"}, args...)...).Output()
		return strings.Split(strings.TrimSpace(string(out)), "\n"), err
	}
	// Another scenario may have restarted something a moment ago.
	limit, cancel := context.WithTimeout(ctx, awayTime)
	defer cancel()
	for {
		keys, err := redis(viewer, "--scan", "--pattern", "RESOUR_*")
		if err != nil {
			return err
		}
		got := steady(keys, owner)
		wrong := differences(golden, got)
		if len(wrong) > 0 && pause(limit) == nil {
			continue
		}
		for _, d := range wrong {
			s.fault("%s: redis-cli --scan: %s", viewer, d)
		}
		s.say("%s lists %d rows", viewer, len(keys))
		if err := os.WriteFile(filepath.Join(s.dir, "keys"), []byte(got), 0o644); err != nil {
			return err
		}
		break
	}

	board, err := redis(s.leader().Name, "hgetall", "RESOUR_BLACKBOARD|root")
	if err != nil {
		return err
	}
	for i := 0; i+1 < len(board); i += 2 {
		s.say("%-16s %s", board[i], board[i+1])
	}
	for name, want := range map[string]string{
		"Service1": service + ": compute 0.5, memory 64 MiB, storage 64 MiB",
		"Policy1":  replica + " on " + owner,
	} {
		if i := slices.Index(board, name); i < 0 || i%2 != 0 || board[i+1] != want {
			s.fault("RESOUR_BLACKBOARD|root %s: want %q in %q", name, want, board)
		}
	}
	return nil
}

var passing = regexp.MustCompile(`^RESOUR_(MIGRATION|RESERVED)\|`)

// steady is a list of keys without what differs from run to run: moves that were made, what is promised to them, and
// which of the homes the service is on.
func steady(keys []string, owner string) string {
	set := map[string]bool{}
	for _, k := range keys {
		if passing.MatchString(k) {
			continue
		}
		if strings.Contains(k, "|"+service+"|") {
			k = strings.Replace(k, "|"+owner, "|OWNER", 1)
		}
		set[k] = true
	}
	var lines []string
	for k := range set {
		lines = append(lines, k)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// differences lists the lines that only one of two sorted texts has.
func differences(want, got string) (list []string) {
	wants, gots := strings.Fields(want), strings.Fields(got)
	for _, w := range wants {
		if !slices.Contains(gots, w) {
			list = append(list, "no "+w)
		}
	}
	for _, g := range gots {
		if !slices.Contains(wants, g) {
			list = append(list, "there is "+g)
		}
	}
	return list
}
