package witness

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sonic-netservices/api"
)

// says answers after a while, or when nobody listens any more.
func says(after time.Duration, outcome api.Outcome, err error) ask {
	return func(ctx context.Context) (*api.OutcomeReply, error) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(after):
		}
		if err != nil {
			return nil, err
		}
		return &api.OutcomeReply{Outcome: outcome}, nil
	}
}

func TestInTurn(t *testing.T) {
	const (
		soon  = 10 * time.Millisecond
		never = time.Hour
	)
	away := errors.New("away")
	for _, tt := range []struct {
		name  string
		asks  []ask
		want  api.Outcome
		fails bool
		took  time.Duration
	}{
		{"the agent knows", []ask{says(soon, api.Outcome_PENDING, nil), says(0, api.Outcome_ABORTED, nil)}, api.Outcome_PENDING, false, soon},
		{"the agent is dead, its helper reads the journal",
			[]ask{says(0, 0, away), says(soon, api.Outcome_COMMITTED, nil)}, api.Outcome_COMMITTED, false, soon},
		{"the way is cut, the manager has another",
			[]ask{says(never, 0, nil), says(never, 0, nil), says(soon, api.Outcome_COMMITTED, nil)}, api.Outcome_COMMITTED, false, 2*nextAfter + soon},
		{"what a helper does not know means nothing while the agent is silent",
			[]ask{says(time.Second, api.Outcome_PENDING, nil), says(soon, api.Outcome_UNKNOWN, nil), says(never, 0, nil)},
			api.Outcome_PENDING, false, time.Second},
		{"nobody answers", []ask{says(soon, 0, away), says(soon, 0, away), says(soon, 0, away)}, 0, true, 3 * soon},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				reply, err := inTurn(t.Context(), tt.asks)
				if (err != nil) != tt.fails || reply.GetOutcome() != tt.want {
					t.Errorf("got %v, %v", reply, err)
				}
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
			})
		})
	}
}
