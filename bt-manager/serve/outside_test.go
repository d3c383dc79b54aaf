package serve

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/groot"
	"sonic-netservices/bt-manager/run"
	"sonic-netservices/bt-manager/trees"
	"sonic-netservices/internal/btlog"
	"sonic-netservices/netmap"
	"sonic-netservices/plan/balance"
)

// quiet is a world in which nothing is wanted.
type quiet struct{ decide.World }

func (quiet) Snapshot() *netmap.Snapshot    { return &netmap.Snapshot{} }
func (quiet) Requests() []string            { return nil }
func (quiet) Replicas() []decide.Replica    { return nil }
func (quiet) Rests() map[string]decide.Rest { return nil }
func (quiet) Landed() []decide.Landing      { return nil }

// The trees of a manager, seen by Groot2 and by the recorder.
func TestOutside(t *testing.T) {
	const file = `<root BTCPP_format="4"><BehaviorTree ID="Intake"><Sequence><Script code="n := 1"/><Sleep name="rest" msec="50"/></Sequence></BehaviorTree></root>`
	runner, err := run.New(run.Config{Params: decide.Defaults(), Balance: balance.Defaults(), File: trees.File{Name: "t.xml", Text: file}}, quiet{}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	c := Config{Node: "leaf3", Dir: t.TempDir(), Groot: free.Addr().String()}
	o, err := newOutside(c, runner)
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	if _, err := o.monitor("alice", "", false, false); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a port that is taken: %v", err)
	}
	o.addr = "127.0.0.1:0"
	if _, err := o.monitor("alice", "", false, false); status.Code(err) != codes.NotFound || o.socket != nil {
		t.Errorf("before there are trees: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() {
		_ = runner.Run(ctx)
		o.recorder.Run(ctx)
		close(ended)
	}()
	reply, again := opened(t, o, false), opened(t, o, true)
	if reply.Name != "intake" || reply.Node != "leaf3" || reply.Write || !again.Write || again.Rep != reply.Rep || again.Pub == again.Rep {
		t.Errorf("opened %+v, then %+v", reply, again)
	}
	client, err := groot.Dial(t.Context(), again.Rep)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	sub, err := groot.Subscribe(t.Context(), again.Pub)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	uid, err := client.UID("rest")
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Insert(groot.Breakpoint(uid, bt.Before)); err != nil {
		t.Fatal(err)
	}
	if got, err := sub.Next(10 * time.Second); err != nil || got != uid {
		t.Errorf("told of %d, want %d: %v", got, uid, err)
	}
	if _, err := o.monitor("alice", "", false, true); err != nil || o.socket != nil {
		t.Error(err)
	}
	if _, err := client.Do(groot.StatusOfAll); err == nil {
		t.Error("the socket is closed, but answers")
	}
	cancel()
	<-ended
	log, err := o.recording("", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r, err := btlog.NewReader(log)
	if err != nil || r.Tree.Main != "Intake" {
		t.Fatal(r, err)
	}
	if first, err := r.Next(); err != nil || first.Node.Path != "Sequence::1" || first.To != btlog.Running {
		t.Errorf("recorded %+v, %v", first, err)
	}
	if _, err := o.recording("kms-0", 1); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "no log 1 before the newest of kms-0") {
		t.Errorf("a log that is not there: %v", err)
	}
	if _, err := o.recording("", 9); status.Code(err) != codes.InvalidArgument {
		t.Errorf("log 9: %v", err)
	}
}

// opened opens the socket, as soon as there is a tree.
func opened(t *testing.T, o *outside, write bool) (reply *api.MonitorReply) {
	t.Helper()
	eventually(t, "a tree", func() (there bool) {
		r, err := o.monitor("alice", "", write, false)
		reply = r
		return err == nil
	})
	return reply
}

func TestOutsideTurnedOff(t *testing.T) {
	dir := t.TempDir()
	o, err := newOutside(Config{Node: "leaf3", Dir: dir, Groot: off, Record: off}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.monitor("alice", "", false, false); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("socket: %v", err)
	}
	if _, err := o.monitor("alice", "", false, true); err != nil {
		t.Errorf("close what is closed: %v", err)
	}
	if _, err := o.recording("", 0); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("recording: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "log")); err == nil {
		t.Error("a folder for logs that are not kept")
	}
}
