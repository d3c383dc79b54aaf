package serve

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/managers"
	"sonic-netservices/internal/pki"
)

// further starts another manager of the AS, which waits to be joined.
func (s *site) further(node string) (at managers.At, dir string, stop func()) {
	s.t.Helper()
	at, dir = managers.At{Node: node, Addr: freeAddr(s.t)}, s.t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	c := Config{Node: node, Listen: at.Addr, Journal: freeAddr(s.t), Join: true, PKI: s.pki(node, pki.Manager), Dir: dir, Metrics: metricsOf(s.t, at)}
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c, nil) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("run %s: %v", node, err)
		}
	})
	s.t.Cleanup(stop)
	return at, dir, stop
}

// metricsOf is where further shows the metrics of a manager: the port of its service, at another address of the loopback.
func metricsOf(t *testing.T, at managers.At) string {
	t.Helper()
	_, port, err := net.SplitHostPort(at.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.2", port)
}

// metrics reads what a manager shows.
func metrics(t *testing.T, at managers.At) string {
	t.Helper()
	reply, err := http.Get("http://" + metricsOf(t, at) + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// TestThreeManagers: two join; who does not lead says who does; images come along; the leader goes, another one has all.
func TestThreeManagers(t *testing.T) {
	s := newSite(t, nil)
	s.load()
	two, dir, _ := s.further("leaf1")
	three, _, lose := s.further("leaf2")
	conn := managers.New(s.identity("alice", pki.Operator), func() []managers.At { return []managers.At{two, three, {Node: "leaf3", Addr: s.addr}} })
	defer conn.Close()
	client := api.NewManagerClient(conn)
	join := func(at managers.At) {
		t.Helper()
		comes(t, func() string {
			list, err := client.JoinManager(t.Context(), &api.ManagerRef{Node: at.Node, Addr: at.Addr})
			if err != nil {
				return err.Error()
			}
			for _, one := range list.Managers {
				if one.Node == at.Node && one.Addr == at.Addr && one.Voter {
					return ""
				}
			}
			return "is no voter"
		})
	}
	join(two)
	join(three)
	lose() // with its disk; it comes back with an empty one
	three, _, _ = s.further("leaf2")
	join(three)
	follower, err := conn.To(two)
	if err != nil {
		t.Fatal(err)
	}
	var details []any
	comes(t, func() string { // the connection was tried before the manager listened, and rests a while after that
		_, err = api.NewManagerClient(follower).Services(t.Context(), &api.Empty{})
		if details = status.Convert(err).Details(); status.Code(err) == codes.Unavailable && len(details) == 1 {
			return ""
		}
		return fmt.Sprintf("a follower answers %v, %v", err, details)
	})
	if to, ok := details[0].(*api.NotLeading); !ok || to.Node != "leaf3" || to.Addr != s.addr {
		t.Errorf("it names %v, want leaf3 at %s", details[0], s.addr)
	}
	comes(t, func() string {
		if _, err := os.Stat(filepath.Join(dir, "images", strings.TrimPrefix(imageID, "sha256:")+".tar")); err != nil {
			return err.Error()
		}
		return ""
	})
	for _, want := range []string{"bt_manager_leads 0", `bt_manager_role{role="follower"} 1`, "bt_manager_voters 3", "bt_manager_last_contact_seconds 0."} {
		if got := metrics(t, two); !strings.Contains(got, want) {
			t.Errorf("metrics of a follower: no %s in\n%s", want, got)
		}
	}
	before, err := client.Managers(t.Context(), &api.Empty{})
	if err != nil {
		t.Fatal(err)
	}

	s.stop()
	comes(t, func() string {
		list, err := client.Managers(t.Context(), &api.Empty{})
		if err != nil {
			return err.Error()
		}
		if !list.Self.Leads || list.Self.Node == "leaf3" || list.Cluster != before.Cluster || list.Epoch <= before.Epoch {
			return list.String()
		}
		return ""
	})
	if _, err := client.Services(t.Context(), &api.Empty{}); err != nil {
		t.Errorf("the next leader: %v", err)
	}
}

// comes tries until nothing is wrong.
func comes(t *testing.T, wrong func() string) {
	t.Helper()
	said := ""
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if said = wrong(); said == "" {
			return
		}
	}
	t.Fatal(said)
}
