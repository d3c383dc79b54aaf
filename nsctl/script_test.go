package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"nsctl": main, "fake-agents": fakeAgents})
}

// TestScripts runs nsctl against a real bt-manager process, and fake agents (fake_test.go): real ones need a switch.
// Beside testscript's own, a script has the commands
//
//	manager [ARG...]   starts bt-manager with the certificate of leaf3 in the background, named manager
//	agents NODE...     starts the fake agents and waits until the manager has taken them in
//	kill-manager       kill -9
//	kill-agents        kill -9
//	exits CODE CMD...  runs a command that must end with this code
//	until RE CMD...    runs a command again and again until it ends well and its stdout matches
//	netns              makes the network namespace $NETNS, and inside.yaml, which leads nsctl there
//	image FILE NAME    writes an image as docker save does
//	await FILE         waits for a file
//	supernode [ARG...] starts n2n-supernode (overlay_test.go)
//	join NAME MAC ADDRESS COMMUNITY   registers an edge there
func TestScripts(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "sonic-netservices/bt-manager", "sonic-netservices/n2n-supernode").CombinedOutput(); err != nil {
		t.Fatalf("build bt-manager and n2n-supernode: %v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("BT_MANAGER", filepath.Join(bin, "bt-manager"))
			env.Setenv("N2N_SUPERNODE", filepath.Join(bin, "n2n-supernode"))
			env.Setenv("NSCTL_CONFIG", filepath.Join(env.WorkDir, "nsctl.yaml"))
			env.Setenv("NETNS", fmt.Sprintf("nsctl-test-%d", os.Getpid()))
			env.Values[managerKey{}] = &managerProcess{}
			env.Defer(func() { env.Values[managerKey{}].(*managerProcess).stop() })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"manager":      startManager,
			"agents":       startAgents,
			"kill-manager": func(ts *testscript.TestScript, _ bool, _ []string) { kill(&process(ts).manager) },
			"kill-agents":  func(ts *testscript.TestScript, _ bool, _ []string) { kill(&process(ts).agents) },
			"exits":        exits,
			"until":        until,
			"image":        func(ts *testscript.TestScript, _ bool, args []string) { writeImage(ts, args[0], args[1]) },
			"await":        func(ts *testscript.TestScript, _ bool, args []string) { await(ts, args[0]) },
			"netns":        makeNetNS,
			"supernode":    startSupernode,
			"join":         joinOverlay,
		},
	})
}

// managerProcess is the bt-manager of one script, with the agents that talk to it.
type managerProcess struct {
	manager, agents *exec.Cmd
	address         string
}

type managerKey struct{}

func process(ts *testscript.TestScript) *managerProcess {
	return ts.Value(managerKey{}).(*managerProcess)
}

func (p *managerProcess) stop() {
	kill(&p.manager)
	kill(&p.agents)
}

func kill(cmd **exec.Cmd) {
	if *cmd != nil {
		_ = (*cmd).Process.Kill()
		_ = (*cmd).Wait()
		*cmd = nil
	}
}

// startManager makes the AS on its first call.
func startManager(ts *testscript.TestScript, _ bool, args []string) {
	p := process(ts)
	if p.address == "" {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		p.address = ln.Addr().String()
		ln.Close()
		ts.Check(ts.Exec("nsctl", "pki", "init", "--dir", "ca", "--as", "65100"))
		for _, who := range []string{"leaf1/node", "leaf2/node", "leaf3/manager", "alice/operator", "bob/viewer"} {
			name, role := filepath.Split(who)
			name = filepath.Clean(name)
			ts.Check(ts.Exec("nsctl", "pki", "issue", name, "--role", role, "--dir", "ca", "--out", filepath.Join("pki", name)))
		}
		for _, who := range []string{"alice", "bob"} {
			file := "nsctl.yaml"
			if who == "bob" {
				file = "bob.yaml"
			}
			text := fmt.Sprintf("manager: %s\nmanager_name: leaf3\npki: pki/%s\n", p.address, who)
			ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o600))
		}
		text := fmt.Sprintf("manager: 127.0.0.1:1,%s\nmanager_name: leaf2,leaf3\npki: pki/alice\n", p.address)
		ts.Check(os.WriteFile(ts.MkAbs("two.yaml"), []byte(text), 0o600)) // one of them is not there
	}
	args = append([]string{"-node", "leaf3", "-listen", p.address, "-journal", "127.0.0.1:0", "-pki", ts.MkAbs("pki/leaf3"),
		"-dir", ts.MkAbs("state"), "-segment", "10.20.0.1/24", "-redis-root", ""}, args...)
	p.manager = exec.Command(ts.Getenv("BT_MANAGER"), args...)
	log, err := os.OpenFile(ts.MkAbs("manager.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer log.Close()
	p.manager.Stderr = log
	ts.Check(p.manager.Start())
	within(ts, "bt-manager to listen on "+p.address, func() bool {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func startAgents(ts *testscript.TestScript, _ bool, nodes []string) {
	p := process(ts)
	self, err := os.Executable()
	ts.Check(err)
	p.agents = exec.CommandContext(context.Background(), self, append([]string{p.address, "leaf3", "pki"}, nodes...)...)
	p.agents.Args[0] = "fake-agents" // the test binary runs the command of this name
	p.agents.Dir = ts.MkAbs(".")
	p.agents.Stderr = os.Stderr
	ts.Check(p.agents.Start())
	for _, node := range nodes {
		await(ts, node+".joined")
	}
}

func await(ts *testscript.TestScript, file string) {
	within(ts, "file "+file, func() bool { _, err := os.Stat(ts.MkAbs(file)); return err == nil })
}

func within(ts *testscript.TestScript, what string, happened func() bool) {
	for range 500 {
		if happened() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	ts.Fatalf("waited in vain for %s", what)
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

func until(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile(`(?m)` + args[0])
	within(ts, strings.Join(args, " "), func() bool {
		return ts.Exec(args[1], args[2:]...) == nil && want.MatchString(ts.ReadFile("stdout"))
	})
}

// makeNetNS makes the network namespace $NETNS with its loopback up, for the time of the script.
func makeNetNS(ts *testscript.TestScript, _ bool, _ []string) {
	name := ts.Getenv("NETNS")
	ts.Check(ts.Exec("ip", "netns", "add", name))
	ts.Defer(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	ts.Check(ts.Exec("ip", "-n", name, "link", "set", "lo", "up"))
	config := fmt.Sprintf("manager: 127.0.0.9:7301\nmanager_name: leaf3\npki: pki/alice\nnetns: /run/netns/%s\n", name)
	ts.Check(os.WriteFile(ts.MkAbs("inside.yaml"), []byte(config), 0o600))
}

// writeImage writes an image of one layer.
func writeImage(ts *testscript.TestScript, file, name string) {
	layer := "a layer's tar"
	config := fmt.Sprintf(`{"os":"linux","architecture":"amd64","config":{"Labels":{"name":%q}},"rootfs":{"type":"layers","diff_ids":["sha256:%x"]}}`,
		name, sha256.Sum256([]byte(layer)))
	configName := fmt.Sprintf("%x.json", sha256.Sum256([]byte(config)))
	manifest := fmt.Sprintf(`[{"Config":%q,"RepoTags":[%q],"Layers":["l/layer.tar"]}]`, configName, name)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range [][2]string{{configName, config}, {"l/layer.tar", layer}, {"manifest.json", manifest}} {
		ts.Check(w.WriteHeader(&tar.Header{Name: f[0], Size: int64(len(f[1])), Mode: 0o644, Typeflag: tar.TypeReg}))
		_, err := io.WriteString(w, f[1])
		ts.Check(err)
	}
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(file), b.Bytes(), 0o600))
}
