package serve

import (
	"bytes"
	"context"
	"flag"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/n2n"
	"sonic-netservices/internal/pki"
	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/internal/sonicdb/dbtest"
)

// configured completes a configuration of these flags.
func configured(t testing.TB, args ...string) *Config {
	t.Helper()
	c := &Config{}
	flags := flag.NewFlagSet("n2n-supernode", flag.ContinueOnError)
	c.Flags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := c.Complete(t.Context(), nil, ""); err != nil {
		t.Fatal(err)
	}
	return c
}

// free gives the address of a port of a loopback address that nobody has.
func free(t testing.TB, host string) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skipf("no %s here: %v", host, err)
	}
	defer conn.Close()
	return conn.LocalAddr().String()
}

// run serves until the test ends, or stop is called.
func run(t testing.TB, dbs *sonicdb.Set, args ...string) (stop func()) {
	return serve(t, dbs, "", args...)
}

// serve is run on a switch of a name.
func serve(t testing.TB, dbs *sonicdb.Set, node string, args ...string) (stop func()) {
	t.Helper()
	c := configured(t, append([]string{"-manage", "none", "-metrics", "none"}, args...)...)
	c.Node = node
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, c, dbs) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		done <- nil
	}
	t.Cleanup(stop)
	return stop
}

// edge is one that a test plays.
type edge struct {
	t      *testing.T
	conn   net.Conn
	header n2n.Header
	mac    n2n.MAC
	cookie uint32
}

func newEdge(t *testing.T, network, addr string, mac byte) *edge {
	t.Helper()
	var conn net.Conn
	var err error
	for range 100 { // it may not be up yet
		if conn, err = net.Dial(network, addr); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c, _ := n2n.CommunityOf("office")
	return &edge{t: t, conn: conn, header: n2n.Header{TTL: 2, Community: c}, mac: n2n.MAC{2, 0, 0, 0, 0, mac}}
}

func (e *edge) send(b []byte) {
	e.t.Helper()
	if _, ok := e.conn.(*net.TCPConn); ok {
		b = n2n.AppendTCP(nil, b)
	}
	if _, err := e.conn.Write(b); err != nil {
		e.t.Fatal(err)
	}
}

// receive gives the next message, nil when none comes.
func (e *edge) receive(within time.Duration) []byte {
	e.t.Helper()
	_ = e.conn.SetReadDeadline(time.Now().Add(within))
	b := make([]byte, n2n.MaxPacket)
	if _, ok := e.conn.(*net.TCPConn); ok {
		if _, err := io.ReadFull(e.conn, b[:2]); err != nil {
			return nil
		}
		b = b[:int(b[0])<<8|int(b[1])]
		if _, err := io.ReadFull(e.conn, b); err != nil {
			return nil
		}
		return b
	}
	n, err := e.conn.Read(b)
	if err != nil {
		return nil
	}
	return b[:n]
}

// register asks until it is answered.
func (e *edge) register() n2n.RegisterSuperAck {
	e.t.Helper()
	auth, _ := n2n.AuthOf(n2n.AuthID, bytes.Repeat([]byte{e.mac[5]}, 16))
	r := n2n.RegisterSuper{Header: e.header, MAC: e.mac, Subnet: n2n.Subnet{Addr: [4]byte{10, 0, 0, e.mac[5]}, Bits: 24}, Desc: n2n.DescOf("edge"), Auth: auth}
	for range 50 {
		e.cookie++
		r.Cookie = e.cookie
		if _, err := e.conn.Write(e.framed(r.Append(nil))); err != nil { // refused: not up yet
			time.Sleep(20 * time.Millisecond)
			continue
		}
		var a n2n.RegisterSuperAck
		if b := e.receive(100 * time.Millisecond); b != nil && a.Decode(b) == nil && a.Cookie == e.cookie {
			return a
		}
		time.Sleep(20 * time.Millisecond)
	}
	e.t.Fatal("no answer to REGISTER_SUPER")
	return n2n.RegisterSuperAck{}
}

func (e *edge) framed(b []byte) []byte {
	if _, ok := e.conn.(*net.TCPConn); ok {
		return n2n.AppendTCP(nil, b)
	}
	return b
}

func (e *edge) frame(to *edge, payload string) {
	e.t.Helper()
	e.send((&n2n.Packet{Header: e.header, Src: e.mac, Dst: to.mac, Compression: n2n.CompressionNone, Transform: n2n.TransformNull, Payload: []byte(payload)}).Append(nil))
}

func (e *edge) wantFrame(payload string) {
	e.t.Helper()
	var p n2n.Packet
	if b := e.receive(5 * time.Second); p.Decode(b) != nil || string(p.Payload) != payload {
		e.t.Fatalf("got %q, want the frame %q", b, payload)
	}
}

// Edges of both families and of both transports reach each other, by two readers.
func TestAllWays(t *testing.T) {
	defer goleak.VerifyNone(t)
	addr := free(t, "::1")
	_, port, _ := net.SplitHostPort(addr)
	stop := run(t, nil, "-listen", ":"+port, "-dir", "none", "-readers", "2")
	edges := []*edge{newEdge(t, "udp", "127.0.0.1:"+port, 1), newEdge(t, "udp", addr, 2), newEdge(t, "tcp", "127.0.0.1:"+port, 3), newEdge(t, "tcp", addr, 4)}
	for _, e := range edges {
		if a := e.register(); a.Sock.String() != e.conn.LocalAddr().String() {
			t.Errorf("seen as %v, is %v", a.Sock, e.conn.LocalAddr())
		}
	}
	for i, from := range edges {
		for j, to := range edges {
			if i != j {
				text := strconv.Itoa(i) + " to " + strconv.Itoa(j)
				from.frame(to, text)
				to.wantFrame(text)
			}
		}
	}
	for _, e := range edges {
		e.conn.Close()
	}
	stop()
}

// Frames of one edge to another that come in a burst leave in one, cut again into what they were, in order and of their own
// lengths.
func TestBurst(t *testing.T) {
	addr := free(t, "127.0.0.1")
	run(t, nil, "-listen", addr, "-dir", "none", "-readers", "1")
	a, b := newEdge(t, "udp", addr, 1), newEdge(t, "udp", addr, 2)
	a.register()
	b.register()
	_ = b.conn.(*net.UDPConn).SetReadBuffer(4 << 20)
	var want []string
	for i := range 300 {
		text := strings.Repeat(strconv.Itoa(i%10), 1200)
		if i%50 == 49 {
			text = text[:100+i]
		}
		want = append(want, text)
	}
	for _, text := range want[:150] {
		a.frame(b, text)
	}
	for _, text := range want[:150] {
		b.wantFrame(text)
	}
	for _, text := range want[150:] {
		a.frame(b, text)
	}
	for _, text := range want[150:] {
		b.wantFrame(text)
	}
}

// One of our own edges finds out whether its NAT is a full cone: the second answer comes from another port.
func TestOtherPort(t *testing.T) {
	addr := free(t, "127.0.0.1")
	run(t, nil, "-listen", addr, "-dir", "none")
	newEdge(t, "udp", addr, 1).register() // it is up
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c, _ := n2n.CommunityOf("office")
	q := n2n.QueryPeer{Header: n2n.Header{TTL: 2, Community: c}, Src: n2n.MAC{2}, Rest: (&n2n.Ours{OtherPort: true}).Append(nil)}
	if _, err := conn.WriteToUDPAddrPort(q.Append(nil), netip.MustParseAddrPort(addr)); err != nil {
		t.Fatal(err)
	}
	ports := map[uint16]bool{}
	for range 2 {
		var b [n2n.MaxPacket]byte
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, from, err := conn.ReadFromUDPAddrPort(b[:])
		var i n2n.PeerInfo
		if err != nil || i.Decode(b[:n]) != nil {
			t.Fatalf("%v, %x", err, b[:n])
		}
		ports[from.Port()] = true
	}
	if len(ports) != 2 || !ports[netip.MustParseAddrPort(addr).Port()] {
		t.Errorf("answers from %v, want two ports", ports)
	}
}

// What breaks the framing of TCP ends the connection, and nothing else.
func TestBadTCP(t *testing.T) {
	addr := free(t, "127.0.0.1")
	run(t, nil, "-listen", addr, "-dir", "none")
	good := newEdge(t, "tcp", addr, 1)
	good.register()
	for _, bytes := range [][]byte{{0xff, 0xff}, {0, 3, 3, 2, 0}} {
		bad, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer bad.Close()
		if _, err := bad.Write(bytes); err != nil {
			t.Fatal(err)
		}
		_ = bad.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := bad.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("% x: %v, want the end", bytes, err)
		}
	}
	good.register()
}

// A restart keeps the edges and the supernode's own name; what cannot be read is put aside.
func TestStateIsKept(t *testing.T) {
	addr, dir := free(t, "127.0.0.1"), t.TempDir()
	stop := run(t, nil, "-listen", addr, "-dir", dir)
	a, b := newEdge(t, "udp", addr, 1), newEdge(t, "udp", addr, 2)
	before := a.register()
	b.register()
	stop()
	file := filepath.Join(dir, "state.json")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	stop = run(t, nil, "-listen", addr, "-dir", dir)
	if after := newEdge(t, "udp", addr, 3).register(); after.MAC != before.MAC {
		t.Errorf("the supernode was %s and is %s", before.MAC, after.MAC)
	}
	a.frame(b, "at once")
	b.wantFrame("at once")
	stop()
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, nil, "-listen", addr, "-dir", dir)
	a.register()
	if text, err := os.ReadFile(file + ".unread"); err != nil || string(text) != "{" {
		t.Errorf("%q, %v", text, err)
	}
}

// Who may look, and what is seen.
func TestOverlayAndMetrics(t *testing.T) {
	ca, dir := t.TempDir(), t.TempDir()
	if err := pki.Init(ca, "65100"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		role pki.Role
	}{{"leaf1", pki.Node}, {"ann", pki.Viewer}, {"leaf9", pki.Manager}} {
		if err := pki.Issue(ca, dir, c.name, []pki.Role{c.role}); err != nil {
			t.Fatal(err)
		}
	}
	addr, manage, metrics := free(t, "127.0.0.1"), free(t, "127.0.0.1"), free(t, "127.0.0.1")
	run(t, nil, "-listen", addr, "-dir", "none", "-manage", manage, "-metrics", metrics, "-pki", dir)
	newEdge(t, "udp", addr, 7).register()
	newEdge(t, "tcp", addr, 8).register()
	ask := func(role pki.Role) (*api.EdgeList, error) {
		id, err := pki.Load(dir, role)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := daemon.Dial(manage, id.Client("leaf1", pki.Node))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return api.NewOverlayClient(conn).Edges(t.Context(), &api.EdgesRequest{})
	}
	list, err := ask(pki.Viewer)
	if err != nil || len(list.Edges) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	if e := list.Edges[0]; e.Community != "office" || e.Mac != "02:00:00:00:00:07" || e.Address != "10.0.0.7/24" || e.Transport != "udp" || e.RelayedMs != -1 {
		t.Errorf("%v", e)
	}
	if e := list.Edges[1]; e.Transport != "tcp" || e.Why == "" {
		t.Errorf("%v", e)
	}
	if _, err := ask(pki.Manager); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a manager: %v", err)
	}
	answer, err := http.Get("http://" + metrics + "/metrics")
	for range 100 { // served a little later
		if err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
		answer, err = http.Get("http://" + metrics + "/metrics")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	for _, want := range []string{"n2n_supernode_edges 2", `n2n_supernode_answered_total{kind="register"}`, `n2n_supernode_refused_total{reason="wrong_address"} 0`} {
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("no %s (%v) in\n%s", want, err, text)
		}
	}
}

// On SIGHUP the community file is read again; one that makes no sense changes nothing.
func TestReload(t *testing.T) {
	list := filepath.Join(t.TempDir(), "communities")
	reload := func(text string) {
		t.Helper()
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(list, []byte("office\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := free(t, "127.0.0.1")
	run(t, nil, "-listen", addr, "-dir", "none", "-communities", list)
	office, lab := newEdge(t, "udp", addr, 1), newEdge(t, "udp", addr, 2)
	lab.header.Community, _ = n2n.CommunityOf("lab")
	office.register() // also: it listens, to signals as well

	reload("lab\n")
	lab.register() // asks for 6 s
	reload("lab\noffice\n* alice nokey\n")
	time.Sleep(200 * time.Millisecond) // what must not happen gets some time to
	lab.register()
	reload("office\n")
	office.register()
	lab.send((&n2n.QueryPeer{Header: lab.header, Src: lab.mac}).Append(nil))
	if b := lab.receive(200 * time.Millisecond); b != nil {
		t.Errorf("a community that is in the file no more is answered: %x", b)
	}
}

// RESOUR_EDGE is what is registered, also after what an earlier life left.
func TestRows(t *testing.T) {
	sw := dbtest.Start(t)
	sw.Redis(t, "7", "hset", "RESOUR_EDGE|office/02:00:00:00:00:77", "public", "192.0.2.1:1", "supernode", "leaf3")
	sw.Redis(t, "7", "hset", "RESOUR_EDGE|office/02:00:00:00:00:78", "public", "192.0.2.1:1", "supernode", "leaf1", "incarnation", "1", "rev", "7")
	dbs, err := sonicdb.Open(sw.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer dbs.Close()
	addr := free(t, "127.0.0.1")
	serve(t, dbs, "leaf3", "-listen", addr, "-dir", "none")
	e := newEdge(t, "udp", addr, 9)
	e.register()
	await := func(want string) {
		t.Helper()
		var keys string
		for range 100 {
			if keys = strings.TrimSpace(sw.Redis(t, "7", "keys", "RESOUR_EDGE|*")); strings.Contains(keys, want) != (want == "") {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("keys %q, want %q", keys, want)
	}
	await("RESOUR_EDGE|office/02:00:00:00:00:09")
	if row := sw.Redis(t, "7", "hget", "RESOUR_EDGE|office/02:00:00:00:00:09", "public"); !strings.Contains(row, e.conn.LocalAddr().String()) {
		t.Errorf("public %s", row)
	}
	keys := sw.Redis(t, "7", "keys", "RESOUR_EDGE|*")
	if strings.Contains(keys, ":77") {
		t.Errorf("the row of an earlier life is still there: %s", keys)
	}
	if !strings.Contains(keys, ":78") {
		t.Errorf("the row of another node's supernode is gone: %s", keys)
	}
	if at := sw.Redis(t, "7", "hget", "RESOUR_EDGE|office/02:00:00:00:00:09", "supernode"); strings.TrimSpace(at) != `"leaf3"` {
		t.Errorf("registered at %s", at)
	}
	sw.Redis(t, "7", "del", "RESOUR_EDGE|office/02:00:00:00:00:09", "RESOUR_EDGE|office/02:00:00:00:00:78") // as an empty Redis
	for range 400 {
		if keys = sw.Redis(t, "7", "keys", "RESOUR_EDGE|*"); strings.Contains(keys, ":09") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !strings.Contains(keys, ":09") {
		t.Error("rows that are gone do not come back")
	}
	auth, _ := n2n.AuthOf(n2n.AuthID, bytes.Repeat([]byte{9}, 16))
	e.send((&n2n.UnregisterSuper{Header: e.header, Auth: auth, MAC: e.mac}).Append(nil))
	for range 100 {
		if keys := sw.Redis(t, "7", "keys", "RESOUR_EDGE|*"); !strings.Contains(keys, "RESOUR") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("the row of an edge that is gone is still there")
}
