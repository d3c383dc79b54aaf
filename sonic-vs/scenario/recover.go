package scenario

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// recoverLost powers off the node of a service that waits for it, gives the copy there up by an operator's word, and
// switches the node on again: the old copy never answers, and nothing is left of it.
func recoverLost(ctx context.Context, s *stage) error {
	owner, faults, err := s.settle(ctx)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return fmt.Errorf("not ready to begin: %s", strings.Join(faults, "; "))
	}
	before, err := s.publicKey(ctx)
	if err != nil {
		return err
	}
	if err := s.expectRefusal(ctx, "answers: "+replica+" is not lost", "recover", replica, "--accept-loss"); err != nil {
		return err
	}
	if err := s.powerOff(s.node(owner)); err != nil {
		return err
	}
	if err := s.awaitDead(ctx, s.node(owner)); err != nil {
		return err
	}
	if err := s.expectRefusal(ctx, "all of its volumes ("+volume+")", "recover", replica); err != nil {
		return err
	}
	said, err := s.suite.Nsctl(ctx, "recover", replica, "--accept-loss", "--to", other(owner))
	if err != nil {
		return err
	}
	s.say("%s is off; nsctl recover: %s", owner, lastLine(said))
	now, err := s.publicKey(ctx)
	if err != nil {
		return err
	}
	if now == before {
		s.fault("%s answers with the key of the copy that was given up", service)
	}
	watch := s.watchKey(ctx, now)
	if err := s.repair(ctx); err != nil {
		return err
	}
	home, faults, err := s.settle(ctx)
	if err != nil {
		return err
	}
	for _, f := range faults {
		s.fault("%s is back: %s", owner, f)
	}
	if home != other(owner) {
		s.fault("%s runs on %q once %s is back, want %s", replica, home, owner, other(owner))
	}
	looks, others := watch()
	s.say("%s is back: %s runs on %s alone; of %d answers meanwhile %d were another copy's", owner, replica, home, looks, others)
	if others > 0 {
		s.fault("the copy that was given up has answered %d times", others)
	}
	return nil
}

// expectRefusal runs nsctl, which must refuse with this text.
func (s *stage) expectRefusal(ctx context.Context, want string, args ...string) error {
	_, err := s.suite.Nsctl(ctx, args...)
	code, said := exitCode(err)
	if code != 2 || !strings.Contains(said, want) {
		s.fault("nsctl %s ended with %d, %q; want 2 and %q", strings.Join(args, " "), code, said, want)
		return ctx.Err()
	}
	s.say("nsctl %s: %s", strings.Join(args, " "), lastLine(said))
	return nil
}

// publicKey tells copies of the service with different volumes apart.
func (s *stage) publicKey(ctx context.Context) (string, error) {
	conn := http.Client{Transport: &http.Transport{DialContext: s.dial, DisableKeepAlives: true}, Timeout: time.Second}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+kmsAddress+"/pubkey", nil)
	if err != nil {
		return "", err
	}
	reply, err := conn.Do(req)
	if err != nil {
		return "", err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = fmt.Errorf("pubkey: %s", reply.Status)
	}
	return string(text), err
}

// watchKey asks again and again until the watch is ended: how many answers came, and how many with another key.
func (s *stage) watchKey(ctx context.Context, want string) (end func() (looks, others int)) {
	ctx, cancel := context.WithCancel(ctx)
	was := *s // the doors of s are opened anew when a node is switched on
	var watching sync.WaitGroup
	var looks, others int
	watching.Go(func() {
		for pause(ctx) == nil {
			if key, err := was.publicKey(ctx); err == nil {
				looks++
				if key != want {
					others++
				}
			}
		}
	})
	return func() (int, int) {
		cancel()
		watching.Wait()
		return looks, others
	}
}
