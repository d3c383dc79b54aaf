package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sonic-netservices/internal/n2n"
)

// startSupernode makes certificates and nsctl.yaml and bob.yaml, and starts n2n-supernode with that of leaf1. Its address for
// edges is kept for joinOverlay.
func startSupernode(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Exec("nsctl", "pki", "init", "--dir", "ca", "--as", "65100"))
	for _, who := range []string{"leaf1/node", "alice/operator", "bob/viewer"} {
		name, role := filepath.Split(who)
		name = filepath.Clean(name)
		ts.Check(ts.Exec("nsctl", "pki", "issue", name, "--role", role, "--dir", "ca", "--out", filepath.Join("pki", name)))
	}
	manage, edges := freePort(ts), freePort(ts)
	for who, file := range map[string]string{"alice": "nsctl.yaml", "bob": "bob.yaml"} {
		text := fmt.Sprintf("supernode: %s\nsupernode_name: leaf1\npki: pki/%s\n", manage, who)
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o600))
	}
	cmd := exec.Command(ts.Getenv("N2N_SUPERNODE"), append([]string{"-redis-root", "", "-dir", "none", "-metrics", "none", "-listen", edges, "-manage", manage,
		"-pki", ts.MkAbs("pki/leaf1")}, args...)...)
	cmd.Stderr = os.Stderr
	ts.Check(cmd.Start())
	ts.Defer(func() { kill(&cmd) })
	within(ts, "n2n-supernode to listen on "+manage, func() bool {
		conn, err := net.Dial("tcp", manage)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	process(ts).address = edges
}

func freePort(ts *testscript.TestScript) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer ln.Close()
	return ln.Addr().String()
}

// joinOverlay registers an edge: NAME MAC ADDRESS COMMUNITY.
func joinOverlay(ts *testscript.TestScript, _ bool, args []string) {
	conn, err := net.Dial("udp", process(ts).address)
	ts.Check(err)
	defer conn.Close()
	mac, err := net.ParseMAC(args[1])
	ts.Check(err)
	subnet, err := n2n.SubnetOf(netip.MustParsePrefix(args[2]))
	ts.Check(err)
	community, err := n2n.CommunityOf(args[3])
	ts.Check(err)
	r := n2n.RegisterSuper{Header: n2n.Header{TTL: n2n.DefaultTTL, Community: community}, MAC: n2n.MAC(mac), Subnet: subnet, Desc: n2n.DescOf(args[0]),
		Rest: (&n2n.Ours{NAT: n2n.NATSymmetric}).Append(nil)}
	_, err = conn.Write(r.Append(nil))
	ts.Check(err)
	ts.Check(conn.SetReadDeadline(time.Now().Add(10 * time.Second)))
	_, err = conn.Read(make([]byte, n2n.MaxPacket))
	ts.Check(err)
}
