package orders

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// allegiance is whom this node obeys: the cluster of managers it obeyed first, and of that the newest leader. A second
// manager that somebody started for the same AS is refused, and so is a leader that does not know yet that it was
// deposed. Only a cluster that an operator founded in the place of the first one is changed over to, and for good.
type allegiance struct {
	Cluster string   `json:"cluster"`
	Epoch   uint64   `json:"epoch"`
	Former  []string `json:"former,omitempty"` // clusters that were given up
}

func allegianceFile(dir string) string { return filepath.Join(dir, "obeys.json") }

func readAllegiance(dir string) (a allegiance, err error) {
	text, err := os.ReadFile(allegianceFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil {
		return a, fmt.Errorf("read %s: %w", allegianceFile(dir), err)
	}
	return a, nil
}

func (a allegiance) write(dir string) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return writeDurable(allegianceFile(dir), append(text, '\n'))
}

// order is what says whose it is: an order, a renewal of leases, the members.
type order interface {
	GetEpoch() uint64
	GetCluster() string
	GetAnew() bool
}

// hears gives the allegiance after an order, or why it is refused.
func (a allegiance) hears(o order) (allegiance, error) {
	cluster, epoch := o.GetCluster(), o.GetEpoch()
	switch {
	case cluster == a.Cluster:
	case a.Cluster == "":
		return allegiance{Cluster: cluster, Epoch: epoch}, nil
	case o.GetAnew() && !slices.Contains(a.Former, cluster):
		return allegiance{Cluster: cluster, Epoch: epoch, Former: append(slices.Clone(a.Former), a.Cluster)}, nil
	case slices.Contains(a.Former, cluster):
		return a, status.Errorf(codes.FailedPrecondition, "cluster: %s was given up for %s, which this node obeys now", cluster, a.Cluster)
	default:
		return a, status.Errorf(codes.FailedPrecondition, "cluster: this node obeys the managers of %s, not those of %q; "+
			"a manager in their place must be started with -found-anew", a.Cluster, cluster)
	}
	if epoch < a.Epoch {
		return a, status.Errorf(codes.FailedPrecondition, "epoch: %d is stale, the newest manager has epoch %d", epoch, a.Epoch)
	}
	a.Epoch = epoch
	return a, nil
}

// admit refuses who is not to be obeyed, and remembers on disk who is before it acts on the order.
func (a *Agent) admit(o order) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, err := a.obeys.hears(o)
	if err != nil {
		a.log.Warn("refused", "cluster", o.GetCluster(), "epoch", o.GetEpoch(), "err", status.Convert(err).Message())
		return err
	}
	if now.Cluster == a.obeys.Cluster && now.Epoch == a.obeys.Epoch {
		return nil
	}
	if err := now.write(a.cfg.Dir); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	a.log.Info("obeys", "cluster", now.Cluster, "epoch", now.Epoch)
	a.obeys = now
	a.succeeded(now)
	return nil
}
