package orders

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
)

// Fencing: whom a node obeys stays known over a restart; an older epoch and another cluster are refused by name.
func TestAdmit(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		cluster string
		epoch   uint64
		anew    bool
		refused string // what the refusal names; "" = obeyed
	}{
		{"one", 3, false, ""},
		{"one", 3, false, ""},
		{"one", 2, false, "epoch: 2 is stale, the newest manager has epoch 3"},
		{"one", 4, false, ""},
		{"one", 3, false, "epoch: 3 is stale"},
		{"two", 9, false, "cluster: this node obeys the managers of one, not those of \"two\""},
		{"", 9, false, "cluster: this node obeys the managers of one"},
		{"two", 100, true, ""},
		{"two", 100, true, ""},
		{"two", 99, true, "epoch: 99 is stale"},
		{"one", 200, false, "cluster: one was given up for two"},
		{"one", 200, true, "cluster: one was given up for two"},
		{"three", 300, true, ""},
	} {
		obeys, err := readAllegiance(dir) // as after a restart
		if err != nil {
			t.Fatal(err)
		}
		a := &Agent{cfg: Config{Dir: dir}, obeys: obeys, log: slog.New(slog.DiscardHandler)}
		orders := []order{
			&api.Order{Cluster: c.cluster, Epoch: c.epoch, Anew: c.anew},
			&api.RenewRequest{Cluster: c.cluster, Epoch: c.epoch, Anew: c.anew},
		}
		for _, o := range orders {
			err := a.admit(o)
			want := codes.OK
			if c.refused != "" {
				want = codes.FailedPrecondition
			}
			if status.Code(err) != want || !strings.Contains(status.Convert(err).Message(), c.refused) {
				t.Errorf("%T of %s, epoch %d: %v, want %q", o, c.cluster, c.epoch, err, c.refused)
			}
		}
	}
	if err := os.WriteFile(allegianceFile(dir), []byte("four"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readAllegiance(dir); err == nil {
		t.Error("a damaged file was read as nothing: any manager would be obeyed")
	}
}

// TestSucceeded: a node leaves a manager as soon as a newer one gives orders, and no other for it.
func TestSucceeded(t *testing.T) {
	for _, c := range []struct {
		name  string
		order *api.RenewRequest
		stays bool
	}{
		{"the manager itself", &api.RenewRequest{Cluster: "one", Epoch: 3}, true},
		{"the one before it", &api.RenewRequest{Cluster: "one", Epoch: 2}, true},
		{"of another cluster", &api.RenewRequest{Cluster: "two", Epoch: 9}, true},
		{"the next one", &api.RenewRequest{Cluster: "one", Epoch: 4}, false},
		{"one in place of lost ones", &api.RenewRequest{Cluster: "two", Epoch: 1, Anew: true}, false},
	} {
		ctx, leave := context.WithCancelCause(t.Context())
		a := &Agent{cfg: Config{Dir: t.TempDir()}, obeys: allegiance{Cluster: "one", Epoch: 3},
			joined: &joined{"one", 3, leave}, log: slog.New(slog.DiscardHandler)}
		_ = a.admit(c.order) // whether it is obeyed is TestAdmit's
		if left := errors.Is(context.Cause(ctx), errSucceeded); left == c.stays {
			t.Errorf("%s orders: leaves the manager it is joined to: %v", c.name, left)
		}
		leave(nil)
	}
}
