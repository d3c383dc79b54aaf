package orders

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"sonic-netservices/api"
	"sonic-netservices/internal/chunk"
	"sonic-netservices/netmap"
)

// An operation tells everybody who follows it the same, whenever they begin to listen.
func TestOperationFollow(t *testing.T) {
	op := newOperation("op1")
	op.phase("first", "one of %d", 2)
	heard := make(chan []string)
	listen := func() {
		var phases []string
		op.follow(t.Context(), func(e *api.Event) error {
			phases = append(phases, e.Phase)
			return nil
		})
		heard <- phases
	}
	go listen()
	op.phase("second", "")
	go listen()
	op.emit(&api.Event{Phase: "end", Done: true})
	go listen()
	for range 3 {
		if diff := cmp.Diff([]string{"first", "second", "end"}, <-heard); diff != "" {
			t.Errorf("a listener heard (-want +got):\n%s", diff)
		}
	}
}

// Who follows an order that is refused in the end hears it, too.
func TestOperationRefused(t *testing.T) {
	op := newOperation("op1")
	heard := make(chan error)
	follow := func() { heard <- op.follow(t.Context(), func(*api.Event) error { return nil }) }
	go follow()
	op.refuse(refusal(refused("no")))
	go follow()
	for range 2 {
		if err := <-heard; status.Code(err) != codes.FailedPrecondition {
			t.Errorf("a listener heard %v", err)
		}
	}
}

func TestOperationFollowEndsWithItsCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newOperation("op1").follow(ctx, func(*api.Event) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("follow: %v", err)
	}
}

func TestReplicaFiles(t *testing.T) {
	dir := t.TempDir()
	id := netmap.ReplicaID{Service: "kms", Replica: 0}
	want := &api.Replica{Service: "kms", Address: "10.20.0.10/24", Secrets: map[string]string{"TOKEN": "s"}}
	if err := writeReplicaFile(dir, id, want); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(replicaFile(dir, id))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a file with secrets has mode %v (%v)", info.Mode(), err)
	}
	got, err := readReplicaFiles(dir)
	if err != nil || len(got) != 1 || !proto.Equal(got[0], want) {
		t.Errorf("read back (-want +got, %v):\n%s", err, cmp.Diff([]*api.Replica{want}, got, protocmp.Transform()))
	}
	for range 2 { // removing what is gone is no error
		if err := removeReplicaFile(dir, id); err != nil {
			t.Error(err)
		}
	}
}

// A section ends with its end mark; a conversation that breaks before it is an error, not a short section.
func TestSectionReader(t *testing.T) {
	var touched time.Time
	parts := []*api.Part{{Data: []byte("b")}, {Data: []byte("c"), End: true}, {Data: []byte("of the next section")}}
	recv := func() (*api.Part, error) {
		if len(parts) == 0 {
			return nil, io.EOF
		}
		p := parts[0]
		parts = parts[1:]
		return p, nil
	}
	got, err := io.ReadAll(chunk.Reader(sectionReader(&api.Part{Section: "s", Data: []byte("a")}, recv, nil, &touched)))
	if err != nil || string(got) != "abc" || touched.IsZero() {
		t.Errorf("section %q, %v", got, err)
	}
	parts = []*api.Part{{Data: []byte("b")}}
	if _, err := io.ReadAll(chunk.Reader(sectionReader(&api.Part{Section: "s"}, recv, nil, &touched))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a section without end: %v", err)
	}
}

func TestCheckReplica(t *testing.T) {
	good := func() *api.Replica {
		return &api.Replica{Service: "kms", ImageId: "sha256:0", Address: "10.20.0.10/24",
			Volumes: []*api.Volume{{Name: "keys", Target: "/data"}}}
	}
	if err := checkReplica(good()); err != nil {
		t.Errorf("a good replica: %v", err)
	}
	for field, spoil := range map[string]func(*api.Replica){
		"service":           func(r *api.Replica) { r.Service = "../kms" },
		"replica":           func(r *api.Replica) { r.Replica = -1 },
		"image_id":          func(r *api.Replica) { r.ImageId = "kms:1.0.0" },
		"address":           func(r *api.Replica) { r.Address = "10.20.0.10" },
		"volumes[0].name":   func(r *api.Replica) { r.Volumes[0].Name = ".." },
		"volumes[0].target": func(r *api.Replica) { r.Volumes[0].Target = "/data:ro" },
		"cpu_limit":         func(r *api.Replica) { r.CpuLimit = -1 },
		"memory_limit":      func(r *api.Replica) { r.MemoryLimit = -1 },
	} {
		r := good()
		spoil(r)
		err := checkReplica(r)
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "replica."+field+":") {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := checkReplica(nil); status.Code(err) != codes.InvalidArgument {
		t.Errorf("no replica: %v", err)
	}
}

// A section whose checksum is another one has no good end, however its data were read.
func TestVerified(t *testing.T) {
	sum := sha256.Sum256([]byte("abc"))
	for _, c := range []struct {
		name string
		last *api.Part
		want error
	}{
		{"right", &api.Part{End: true, Sha256: sum[:]}, nil},
		{"none", &api.Part{End: true}, nil},
		{"wrong", &api.Part{End: true, Sha256: sum[1:]}, errDamaged},
	} {
		parts := []*api.Part{{Data: []byte("ab")}, {Data: []byte("c")}, c.last}
		recv := verified(func() (*api.Part, error) {
			p := parts[0]
			parts = parts[1:]
			return p, nil
		})
		var touched time.Time
		got, err := io.ReadAll(chunk.Reader(sectionReader(&api.Part{Section: "s"}, recv, nil, &touched)))
		if string(got) != "abc" || !errors.Is(err, c.want) {
			t.Errorf("%s: %q, %v, want %v", c.name, got, err, c.want)
		}
	}
	if !broken(fmt.Errorf("volume/x: %w", errDamaged)) {
		t.Error("a damaged section is not sent again")
	}
}

// A link that breaks is tried again for a while; a refusal is not.
func TestPersist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Agent{log: slog.New(slog.DiscardHandler)}
		m := &sourceMove{out: newOperation("op1")}
		lost := status.Error(codes.Unavailable, "link")
		for _, c := range []struct {
			answers []error
			want    error
			tries   int
		}{
			{[]error{nil}, nil, 1},
			{[]error{lost, lost, nil}, nil, 3},
			{slices.Repeat([]error{lost}, 20), lost, linkTries},
			{[]error{lost, errRefused, nil}, errRefused, 2},
		} {
			tries := 0
			err := a.persist(t.Context(), m, "x", func(again bool) error {
				if again != (tries > 0) {
					t.Errorf("try %d: again is %v", tries, again)
				}
				tries++
				return c.answers[tries-1]
			})
			if !errors.Is(err, c.want) || tries != c.tries {
				t.Errorf("%v: %v after %d tries, want %v after %d", c.answers, err, tries, c.want, c.tries)
			}
		}
	})
}
