package address

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// fabric is three switches on one underlay, as namespaces: a client on an access port of the third, and one holder namespace on each
// of the first two.
type fabric struct {
	t      *testing.T
	prefix string
}

const service = "10.20.0.10" // held by h1 or h2

func (f fabric) ns(name string) string { return "/run/netns/" + f.prefix + name }

// ip runs an ip command; @name becomes the namespace's name.
func (f fabric) ip(command string) string {
	f.t.Helper()
	return run(f.t, "ip "+strings.ReplaceAll(command, "@", f.prefix))
}

func run(t *testing.T, command string) string {
	t.Helper()
	words := strings.Fields(command)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

func newFabric(t *testing.T) fabric {
	f := fabric{t, fmt.Sprintf("nsat%d-", os.Getpid())}
	t.Cleanup(func() {
		for _, name := range []string{"u", "s1", "s2", "s3", "h1", "h2", "c"} {
			exec.Command("ip", "netns", "del", f.prefix+name).Run()
		}
	})
	for _, name := range []string{"u", "s1", "s2", "s3", "h1", "h2", "c"} {
		f.ip("netns add @" + name)
		f.ip("netns exec @" + name + " sysctl -q -w net.ipv6.conf.default.disable_ipv6=1") // it would chat
	}
	f.ip("-n @u link add br0 type bridge")
	f.ip("-n @u link set br0 up")
	for i := 1; i <= 3; i++ {
		s := fmt.Sprintf("@s%d", i)
		f.ip(fmt.Sprintf("-n %s link add Ethernet0 type veth peer name p%d netns @u", s, i))
		f.ip(fmt.Sprintf("-n @u link set p%d master br0 up", i))
		f.ip("-n " + s + " link set lo up")
		f.ip("-n " + s + " link set Ethernet0 up")
		f.ip(fmt.Sprintf("-n %s address add 192.168.0.%d/24 dev Ethernet0", s, i))
		f.ip("-n " + s + " link add Loopback0 type bridge") // the kernel may have no dummy device
		f.ip("-n " + s + " link set Loopback0 up")
		f.ip(fmt.Sprintf("-n %s address add 10.1.0.%d/32 dev Loopback0", s, i))
		f.ip("netns exec " + s + " sysctl -q -w net.ipv4.ip_forward=1")
		for j := 1; j <= 3; j++ {
			if j != i {
				f.ip(fmt.Sprintf("-n %s route add 10.1.0.%d/32 via 192.168.0.%d src 10.1.0.%d", s, j, j, i))
			}
		}
	}
	f.ip("-n @s3 link add Ethernet8 type veth peer name eth0 netns @c")
	f.ip("-n @c address add 10.20.0.100/24 dev eth0")
	f.ip("-n @c link set eth0 up")
	return f
}

// segment is what switch i shall have.
func (f fabric) segment(i int) Segment {
	s := Segment{VNI: 1000, UDPPort: 14789, MTU: 1240, Local: netip.MustParseAddr(fmt.Sprintf("10.1.0.%d", i)),
		Gateways: []netip.Prefix{netip.MustParsePrefix("10.20.0.1/24")}}
	for j := 1; j <= 3; j++ {
		if j != i {
			s.Peers = append(s.Peers, netip.MustParseAddr(fmt.Sprintf("10.1.0.%d", j)))
		}
	}
	if i == 3 {
		s.Access = []string{"Ethernet8"}
		return s
	}
	s.Holders = []Holder{{Name: "kms-0.net", NetNS: f.ns(fmt.Sprintf("h%d", i)), Addresses: []netip.Prefix{netip.MustParsePrefix(service + "/24")},
		MAC: MAC(fmt.Sprintf("leaf%d", i), "kms-0")}}
	return s
}

func (f fabric) set(i int, s Segment) {
	f.t.Helper()
	if err := Set(context.Background(), f.ns(fmt.Sprintf("s%d", i)), s); err != nil {
		f.t.Fatal(err)
	}
}

// up sets all three; the first holder owns the address, the second has yielded it.
func up(t *testing.T) fabric {
	f := newFabric(t)
	must(t, Yield(f.ns("h2")))
	for i := 1; i <= 3; i++ {
		f.set(i, f.segment(i))
	}
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listen opens a TCP listener in a namespace, which answers each connection with name and what it was sent, up to the end.
func (f fabric) listen(ns, name string) {
	f.t.Helper()
	var l net.Listener
	must(f.t, within(f.ns(ns), func() (err error) {
		l, err = net.Listen("tcp", ":80")
		return err
	}))
	f.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.WriteString(c, name+" ")
				io.Copy(c, c)
			}()
		}
	}()
}

// dial opens a TCP connection from a namespace.
func (f fabric) dial(ns, to, from string, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	d.SetMultipathTCP(false)
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	var c net.Conn
	err := within(f.ns(ns), func() (err error) {
		c, err = d.Dial("tcp", net.JoinHostPort(to, "80"))
		return err
	})
	return c, err
}

// ask sends b and gives the whole answer.
func (f fabric) ask(ns, to, from string, b []byte, timeout time.Duration) (string, error) {
	c, err := f.dial(ns, to, from, timeout)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(timeout))
	go func() {
		c.Write(b)
		c.(*net.TCPConn).CloseWrite()
	}()
	answer, err := io.ReadAll(c)
	return string(answer), err
}

func TestSegmentCarries(t *testing.T) {
	f := up(t)
	f.listen("h1", "h1")
	bulk := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MB: large segments through veth, bridge and VXLAN
	got, err := f.ask("c", service, "", bulk, 5*time.Second)
	if err != nil || got != "h1 "+string(bulk) {
		t.Errorf("client in the segment: %d bytes, %v", len(got), err)
	}
	// A client outside: routed by a switch that has no holder, to one on another switch.
	if got, err := f.ask("s3", service, "10.1.0.3", []byte("x"), 5*time.Second); err != nil || got != "h1 x" {
		t.Errorf("routed client: %q, %v", got, err)
	}
	if got, err := f.ask("c", "10.20.0.1", "", nil, 5*time.Second); err == nil {
		t.Errorf("gateway answered %q, want connection refused", got)
	} else if !strings.Contains(err.Error(), "refused") {
		t.Errorf("gateway: %v, want connection refused", err)
	}
}

// state is all a Set may change on a switch and in its holder.
func (f fabric) state(i int) string {
	var b strings.Builder
	s := fmt.Sprintf("@s%d", i)
	for _, c := range []string{"-n " + s + " -d link", "-n " + s + " address", "-n " + s + " route", "netns exec " + s + " bridge fdb show dev nsvx",
		"netns exec " + s + " nft list ruleset"} {
		b.WriteString(f.ip(c))
	}
	if i < 3 {
		b.WriteString(f.ip(fmt.Sprintf("-n @h%d -d address", i)) + f.ip(fmt.Sprintf("-n @h%d route", i)))
	}
	return moving.ReplaceAllString(b.String(), "")
}

// moving is what changes by itself: the bridge's timers, and forwarding entries it has learned.
var moving = regexp.MustCompile(`\w+_timer +[0-9.]+|topology_change\w* \d|(?m)^([0-9a-f]{2}:){5}.* (nsbr|self) $`)

func TestSetTwice(t *testing.T) {
	f := up(t)
	for i := 1; i <= 3; i++ {
		before := f.state(i)
		f.set(i, f.segment(i))
		if diff := cmp.Diff(before, f.state(i)); diff != "" {
			t.Errorf("switch %d changed:\n%s", i, diff)
		}
	}
	for i := 1; i <= 3; i++ {
		s := fmt.Sprintf("@s%d", i)
		must(t, Clear(context.Background(), f.ns(fmt.Sprintf("s%d", i))))
		must(t, Clear(context.Background(), f.ns(fmt.Sprintf("s%d", i))))
		left := f.ip("-n "+s+" link") + f.ip("netns exec "+s+" nft list ruleset")
		for _, name := range []string{bridgeName, vxlanName, vethPrefix, tableName} {
			if strings.Contains(left, name) {
				t.Errorf("%s is left after Clear:\n%s", name, left)
			}
		}
	}
}

func TestSetReconciles(t *testing.T) {
	f := up(t)
	f.listen("h1", "h1")
	c, err := f.dial("c", service, "", 5*time.Second)
	must(t, err)
	defer c.Close()
	veth := f.segment(1).Holders[0].veth()
	index := f.ip("-n @s1 -o link show " + veth)

	// One peer less, one holder more: the other holder's link stays as it is, and its connection too.
	s1 := f.segment(1)
	s1.Peers = s1.Peers[1:]
	s1.Holders = append(s1.Holders, Holder{Name: "kms-1.net", NetNS: f.ns("u"), Addresses: []netip.Prefix{netip.MustParsePrefix("10.20.0.11/24")}, MAC: MAC("leaf1", "kms-1")})
	f.set(1, s1)
	if fdb := f.ip("netns exec @s1 bridge fdb show dev nsvx"); strings.Contains(fdb, "10.1.0.2") || !strings.Contains(fdb, "10.1.0.3") {
		t.Errorf("forwarding entries after the peer 10.1.0.2 was removed:\n%s", fdb)
	}
	if now := f.ip("-n @s1 -o link show " + veth); now != index {
		t.Errorf("holder's link changed:\n%swas:\n%s", now, index)
	}
	must(t, c.SetDeadline(time.Now().Add(5*time.Second)))
	fmt.Fprint(c, "still here")
	want := []byte("h1 still here")
	if _, err := io.ReadFull(c, want); err != nil || string(want) != "h1 still here" {
		t.Errorf("connection after Set: %q, %v", want, err)
	}

	// The second holder goes; an access port that is not there is told but stops nothing.
	s1 = f.segment(1)
	s1.Access = []string{"Ethernet99"}
	if err := Set(context.Background(), f.ns("s1"), s1); err == nil || !strings.Contains(err.Error(), "Ethernet99") {
		t.Errorf("missing access port: %v", err)
	}
	if n := strings.Count(f.ip("-n @s1 -o link"), vethPrefix); n != 1 {
		t.Errorf("%d holder links, want 1", n)
	}
	if fdb := f.ip("netns exec @s1 bridge fdb show dev nsvx"); !strings.Contains(fdb, "00:00:00:00:00:00 dst 10.1.0.2") {
		t.Errorf("peer 10.1.0.2 did not come back:\n%s", fdb)
	}

	// The holder's container is made anew: same name, another namespace.
	s1 = f.segment(1)
	s1.Holders[0].NetNS = f.ns("u")
	f.set(1, s1)
	if !strings.Contains(f.ip("-n @u address show eth0"), service) {
		t.Error("the new namespace has no address")
	}

	s3 := f.segment(3)
	s3.Access = nil
	f.set(3, s3)
	if strings.Contains(f.ip("-n @s3 link show Ethernet8"), "master") {
		t.Error("access port is still on the bridge")
	}
}

func TestSetRefuses(t *testing.T) {
	for field, spoil := range map[string]func(*Segment){
		"vni":     func(s *Segment) { s.VNI = 0 },
		"udp":     func(s *Segment) { s.UDPPort = 70000 },
		"mtu":     func(s *Segment) { s.MTU = 100 },
		"local":   func(s *Segment) { s.Local = netip.Addr{} },
		"gateway": func(s *Segment) { s.Gateways = nil },
		"holder":  func(s *Segment) { s.Holders[0].MAC = nil },
		"same":    func(s *Segment) { s.Holders = append(s.Holders, s.Holders[0]) },
	} {
		s := fabric{}.segment(1)
		spoil(&s)
		if err := s.validate(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestGatewayStaysHome listens on the VXLAN while holder, client and both gateways ask for each other.
func TestGatewayStaysHome(t *testing.T) {
	f := up(t)
	var fd int
	must(t, within(f.ns("s1"), func() error {
		vxlan, err := net.InterfaceByName(vxlanName)
		if err != nil {
			return err
		}
		const arp = unix.ETH_P_ARP<<8&0xff00 | unix.ETH_P_ARP>>8
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		// All protocols: a listener for ARP alone does not see what is sent.
		const everything = unix.ETH_P_ALL << 8
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: vxlan.Index})
	}))
	defer unix.Close(fd)
	f.listen("h1", "h1")
	for _, from := range []struct{ ns, to, source string }{
		{"c", service, ""},          // client asks for the holder
		{"h1", "10.20.0.1", ""},     // holder asks for its gateway
		{"s1", "10.20.0.100", ""},   // gateway asks for the client, on another switch
		{"s3", service, "10.1.0.3"}, // the other gateway asks for the holder
		{"c", "10.20.0.1", ""},
	} {
		f.ask(from.ns, from.to, from.source, nil, 300*time.Millisecond)
	}
	must(t, Announce(f.ns("h1"), netip.MustParseAddr(service)))
	time.Sleep(50 * time.Millisecond)

	gateway := netip.MustParseAddr("10.20.0.1").As4()
	seen, probes := 0, 0
	buf := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			break
		}
		if ll := from.(*unix.SockaddrLinklayer); ll.Protocol != unix.ETH_P_ARP>>8|unix.ETH_P_ARP&0xff<<8 || n < 28 {
			continue
		}
		seen++
		sender, target := [4]byte(buf[arpSender:]), [4]byte(buf[arpTarget:])
		if sender == gateway || target == gateway {
			t.Errorf("ARP crossed the VXLAN: sender %v, target %v", sender, target)
		}
		if sender == [4]byte{} {
			probes++
		}
	}
	if seen < 4 || probes < 2 {
		t.Errorf("%d ARP frames with %d probes seen on the VXLAN, want the others to cross", seen, probes)
	}
}
