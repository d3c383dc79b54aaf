package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/suite"
)

const policyKey = "NETSERVICES|policy"

// garbage gives the manager rows nobody can mean, thresholds nobody can keep and a tree nobody can tick: each is named
// and left out, or refused with its place, and the service goes on.
func garbage(ctx context.Context, s *stage) error {
	owner, faults, err := s.settle(ctx)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return fmt.Errorf("not ready to begin: %s", strings.Join(faults, "; "))
	}
	if err := s.badRows(ctx); err != nil {
		return fmt.Errorf("rows: %w", err)
	}
	if err := s.badPolicy(ctx); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	if err := s.badTrees(ctx); err != nil {
		return fmt.Errorf("trees: %w", err)
	}
	now, faults, err := s.settle(ctx)
	for _, f := range faults {
		s.fault("in the end: %s", f)
	}
	if now != owner {
		s.fault("%s runs on %q in the end, want %s", replica, now, owner)
	}
	return err
}

// badRows writes rows into the manager's resour_DB, looks at what it says of them, and removes them.
func (s *stage) badRows(ctx context.Context) (err error) {
	db, err := s.leader().db.DB(ctx, sonicdb.ResourDB)
	if err != nil {
		return err
	}
	rows := []struct {
		key, field, value string
		want              string // of what nsctl nodes says; "": of no table of ours, so that nobody looks at it
	}{
		{"RESOUR_RESOURCE|leaf9|compute", "used", "plenty", `RESOUR_RESOURCE\|leaf9\|compute: field used: .*"plenty"`},
		{"RESOUR_INSTANCE|" + service + "|0|leaf9", "state", "dancing", `RESOUR_INSTANCE\|` + service + `\|0\|leaf9: field state: .*"dancing"`},
		{"RESOUR_NODE|leaf9|behind", "addr", "10.1.0.9", `RESOUR_NODE\|leaf9\|behind: `},
		{"FOREIGN|leaf9", "used", "plenty", ""},
	}
	before, err := s.places(ctx)
	if err != nil {
		return err
	}
	for _, r := range rows {
		defer func() { err = errors.Join(err, db.Del(context.WithoutCancel(ctx), r.key)) }()
		if err := db.HSet(ctx, r.key, map[string]string{r.field: r.value}); err != nil {
			return err
		}
	}
	for _, r := range rows {
		said, err := s.awaitProblem(ctx, r.want)
		if err != nil {
			return err
		}
		if r.want != "" && said == "" {
			s.fault("%s %s=%q: nsctl nodes does not name it", r.key, r.field, r.value)
		}
		if r.want == "" && strings.Contains(said, r.key) {
			s.fault("%s is of no table of ours, but nsctl nodes names it: %s", r.key, said)
		}
		s.say("%-32s %s=%-8s %s", r.key, r.field, r.value, line(said, r.want))
	}
	// Nodes and services are seen in spite of it.
	views, err := s.views(ctx)
	if err != nil {
		return err
	}
	for _, v := range views {
		if v.Liveness != string(netmap.Alive) || v.Name == "leaf9" {
			s.fault("garbage in rows of leaf9, and %s is %s", v.Name, v.Liveness)
		}
	}
	if len(views) != len(s.nodes) {
		s.fault("nsctl nodes lists %d nodes, there are %d", len(views), len(s.nodes))
	}
	after, err := s.places(ctx)
	if !slices.Equal(before, after) {
		s.fault("garbage in rows, and %q became %q", before, after)
	}
	if err := s.healthy(ctx); err != nil {
		s.fault("%s does not answer beside garbage: %v", service, err)
	}
	return err
}

// awaitProblem returns what nsctl nodes says is wrong, as soon as want is in it; "" when it never is.
func (s *stage) awaitProblem(ctx context.Context, want string) (string, error) {
	limit, cancel := context.WithTimeout(ctx, awayTime)
	defer cancel()
	for limit.Err() == nil {
		views, err := s.views(limit)
		if err != nil && limit.Err() == nil {
			return "", err
		}
		var said []string
		for _, v := range views {
			said = append(said, v.Problem)
		}
		if all := strings.Join(said, "\n"); regexp.MustCompile(want).MatchString(all) {
			return all, nil
		}
		pause(limit)
	}
	return "", ctx.Err()
}

// line is the one of a text that matches.
func line(text, want string) string {
	for l := range strings.Lines(text) {
		if want != "" && regexp.MustCompile(want).MatchString(l) {
			return strings.TrimSpace(l)
		}
	}
	return "not looked at"
}

// badPolicy: bt-manager -check refuses each, and one that is started with such a policy ends with the reason. The
// service needs no manager to go on; with the policy mended the manager is back.
func (s *stage) badPolicy(ctx context.Context) (err error) {
	config, err := s.leader().db.DB(ctx, "CONFIG_DB")
	if err != nil {
		return err
	}
	clear := func() error { return config.Del(context.WithoutCancel(ctx), policyKey) }
	defer func() { err = errors.Join(err, clear()) }()
	for _, p := range []struct{ field, value, want string }{
		{"threshold", "1.5", `NETSERVICES\|policy: threshold: 1\.5 is not in \(0, 1\]`},
		{"clear", "0.9", `NETSERVICES\|policy: clear: 0\.9 is not above 0 and below the threshold 0\.8`},
		{"threshold_compute", "NaN", `NETSERVICES\|policy: compute\.threshold: NaN is not in`},
		{"samples", "0", `NETSERVICES\|policy: samples: 0 is not in 1\.\.`},
		{"samples", "five", `NETSERVICES\|policy samples=.*five.*: invalid syntax`},
		{"treshold", "0.8", `NETSERVICES\|policy treshold=.*: no such field`},
	} {
		if err := config.HSet(ctx, policyKey, map[string]string{p.field: p.value}); err != nil {
			return err
		}
		s.checked(ctx, p.field+"="+p.value, p.want, "-check")
		if err := clear(); err != nil {
			return err
		}
	}

	if err := config.HSet(ctx, policyKey, map[string]string{"threshold": "1.5"}); err != nil {
		return err
	}
	pid, err := s.suite.ContainerPID(ctx, s.leader().Node, suite.Manager)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		log, err := s.suite.Bed.Exec(ctx, s.leader().Name, "docker", "logs", "--tail", "3", suite.Manager).CombinedOutput()
		if strings.Contains(string(log), "threshold: 1.5 is not in (0, 1]") {
			s.say("%-44s %s", "started with threshold=1.5", lastLine(string(log)))
			break
		}
		if pause(limit) != nil {
			s.fault("started with threshold=1.5, %s says %q (%v)", suite.Manager, log, err)
			break
		}
	}
	if err := s.healthy(ctx); err != nil {
		s.fault("%s does not answer without a manager: %v", service, err)
	}
	return nil
}

// badTrees: bt-manager -check says where a tree file is wrong. The file is put where the container sees it.
func (s *stage) badTrees(ctx context.Context) error {
	path := filepath.Join(netmap.ManagerDir, "scenario.xml")
	file := filepath.Join(s.leader().Dir, path)
	defer os.Remove(file)
	if err := s.awaitManager(ctx); err != nil {
		return err
	}
	for _, b := range []struct{ name, text, want string }{
		{"a tree that is cut off", `<root BTCPP_format="4"><BehaviorTree ID="Intake">`, `scenario\.xml:1:\d+: `},
		{"a leaf there is not", "<root BTCPP_format=\"4\" main_tree_to_execute=\"Intake\">\n<BehaviorTree ID=\"Intake\">\n<Guess/>\n</BehaviorTree></root>",
			`scenario\.xml:3:\d+: .*Guess`},
	} {
		if err := os.WriteFile(file, []byte(b.text), 0o644); err != nil {
			return err
		}
		s.checked(ctx, b.name, b.want, "-check", "-tree", path)
	}
	s.checked(ctx, "no tree file", `no such file`, "-check", "-tree", path+".none")
	return nil
}

// checked runs bt-manager -check in its container: it must end with an error that says want.
func (s *stage) checked(ctx context.Context, name, want string, args ...string) {
	command := append([]string{"docker", "exec", suite.Manager, "/" + suite.Manager}, args...)
	out, err := s.suite.Bed.Exec(ctx, s.leader().Name, command...).CombinedOutput()
	s.say("%-44s %s", name, lastLine(string(out)))
	if err == nil || !regexp.MustCompile(want).Match(out) {
		s.fault("%s: %s %s says %q (%v), want %s", name, suite.Manager, strings.Join(args, " "), out, err, want)
	}
}

// awaitManager returns when it runs and answers.
func (s *stage) awaitManager(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		_, err := s.suite.Services(limit)
		if err == nil {
			return nil
		}
		if pause(limit) != nil {
			return fmt.Errorf("%s does not come back: %w", suite.Manager, err)
		}
	}
}
