package suite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"sonic-netservices/sonic-vs/images"
	"sonic-netservices/sonic-vs/testbed"
	"sonic-netservices/sonic-vs/vswitch"
)

// TestMain: this test program is also the sonic-vs its nodes are started with.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		root := &cobra.Command{SilenceUsage: true, SilenceErrors: true}
		root.AddCommand(testbed.Commands()...)
		root.AddCommand(vswitch.Command())
		if err := root.ExecuteContext(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestInstall uses the programs in out/bin, as they are.
func TestInstall(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("namespaces and mounts need root")
	}
	const instance = "suitetest"
	t.Cleanup(func() {
		if err := testbed.Down(context.Background(), instance); err != nil {
			t.Error(err)
		}
	})
	o := Options{Repo: "../..", Out: t.TempDir()}
	bed, err := testbed.Up(t.Context(), testbed.Options{
		Topology: "../topologies/triangle.yaml", Instance: instance, Out: o.Out, Restart: testbed.SONiCRestart(),
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Install(t.Context(), bed, o)
	if err != nil {
		t.Fatal(err)
	}
	first := programs(t, s)
	for name, pid := range first {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if want := strings.Fields(name)[1]; err != nil || !strings.HasPrefix(string(text), "/"+want) {
			t.Errorf("%s is process %d: %q, %v", name, pid, text, err)
		}
	}
	if services, err := s.Services(t.Context()); err != nil || len(services) != 0 {
		t.Errorf("services %v, %v", services, err)
	}
	refused := (*NsctlError)(nil)
	if _, err := s.Migrate(t.Context(), "none-0", "leaf1", "live"); !errors.As(err, &refused) || refused.Code != 2 {
		t.Errorf("move of an unknown service: %v", err)
	}

	t.Run("again", func(t *testing.T) {
		if _, err := Install(t.Context(), bed, o); err != nil {
			t.Fatal(err)
		}
		if again := programs(t, s); !maps.Equal(first, again) {
			t.Errorf("programs were %v and are %v", first, again)
		}
	})
	t.Run("another authority", func(t *testing.T) {
		if err := os.RemoveAll(s.pki()); err != nil {
			t.Fatal(err)
		}
		if _, err := Install(t.Context(), bed, o); err != nil {
			t.Fatal(err)
		}
		for name, pid := range programs(t, s) {
			if first[name] == pid {
				t.Errorf("%s goes on with its former certificate", name)
			}
		}
	})
	t.Run("an agent that does not come up", func(t *testing.T) {
		n := bed.Nodes[0]
		err := images.With(t.Context(), n, func(sw images.Switch) error { return uninstall(t.Context(), sw, Agent) })
		if err != nil {
			t.Fatal(err)
		}
		dir := s.Host(n, "/host/netservices/pki")
		if _, err := s.Nsctl(t.Context(), "pki", "issue", "somebody", "--role", "node", "--dir", s.pki(), "--out", dir); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		_, err = Install(ctx, bed, o)
		if err == nil || !strings.Contains(err.Error(), "leaf1: mig-agent has not joined; its log ends:") ||
			!strings.Contains(err.Error(), "certificate is for somebody, this node is leaf1") {
			t.Errorf("%v", err)
		}
	})
}

// programs are the processes of the suite by node and program.
func programs(t *testing.T, s *Suite) map[string]int {
	t.Helper()
	all := map[string]int{}
	for _, n := range s.Bed.Nodes {
		for name, find := range map[string]func(context.Context, testbed.Node) (int, error){"mig-agent": s.AgentPID, "mig-agent helper": s.HelperPID} {
			pid, err := find(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			all[n.Name+" "+name] = pid
		}
	}
	return all
}
