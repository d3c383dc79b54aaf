package peering

import (
	"bufio"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/internal/transcript"
)

// TestTranscripts plays testdata/*.txt. A line that begins with "<" is told to the machine, the lines with ">" below it are
// what it wants done, with the time since the start. mN is the MAC 02:00:00:00:00:0N, or "nobody"; options are key=value.
//
//	< new SUPERNODE,.. [address=P] [relay-only] [users] [preferred=A] [fan=N] [draws=N]   a new edge, started; without address it asks for one
//	< resolved SUPERNODE A..       the supernode's addresses
//	< local A [also=A,..]          where the edge is, and other addresses of the host
//	< wait DURATION                time passes, in ticks of 250 ms
//	< ack A [sock=A] [sns=A,..] [subnet=P] [cookie=wrong]    the supernode's yes, to the last registration
//	< nak A                        its no
//	< pong A sock=A [other=A] [fast]   its answer to a ping; the second one comes from other; a fast one is ours
//	< info A mN sock=A [preferred=A]                         its answer to a query
//	< register A mN rank=R [sn] [sock=A] [to=mN] [ours=NAT[,draws][,fan]] [also=A,..]   a REGISTER, by a supernode (sn) or straight
//	< acked A mN rank=R [ours=NAT]                           a REGISTER_ACK
//	< relayed mN A | heard mN A | wanted mN                  frames that came by the supernode, came straight, are to go
//	< rekey A | changed | stop | status | counts
func TestTranscripts(t *testing.T) { transcript.Test(t, play) }

var epoch = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

type counter uint64

func (c *counter) Uint64() uint64 { *c++; return uint64(*c) }

// player plays one transcript.
type player struct {
	t       *testing.T
	out     strings.Builder
	m       *Machine
	now     time.Time
	options map[string]string
	words   []string
}

func play(t *testing.T, script string) string {
	p := &player{t: t, now: epoch}
	for sc := bufio.NewScanner(strings.NewReader(script)); sc.Scan(); {
		line := sc.Text()
		if strings.HasPrefix(line, ">") {
			continue
		}
		fmt.Fprintln(&p.out, line)
		if told, ok := strings.CutPrefix(line, "< "); ok {
			p.tell(told)
			p.answers()
		}
	}
	return p.out.String()
}

func (p *player) tell(line string) {
	p.options, p.words = map[string]string{}, nil
	for _, w := range strings.Fields(line) {
		if k, v, ok := strings.Cut(w, "="); ok {
			p.options[k] = v
		} else {
			p.words = append(p.words, w)
		}
	}
	switch p.words[0] {
	case "new":
		p.start()
	case "resolved":
		p.m.Resolved(p.now, p.words[1], p.list(p.words[2:]))
	case "local":
		local := p.addr(p.words[1])
		addrs := []netip.Addr{local.Addr()}
		for _, a := range p.split("also") {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		p.m.Local(p.now, local.Addr(), addrs, local.Port())
	case "wait":
		d, err := time.ParseDuration(p.words[1])
		if err != nil {
			p.t.Fatal(err)
		}
		for end := p.now.Add(d); p.now.Before(end); {
			p.now = p.now.Add(250 * time.Millisecond)
			p.m.Tick(p.now)
			p.answers()
		}
	case "relayed":
		p.m.Relayed(p.now, p.mac(p.words[1]), p.addr(p.words[2]))
	case "heard":
		p.m.Heard(p.now, p.mac(p.words[1]), p.addr(p.words[2]))
	case "wanted":
		p.m.Wanted(p.now, p.mac(p.words[1]))
	case "changed":
		p.m.Changed(p.now)
	case "stop":
		p.m.Stop(p.now)
	case "status":
		p.status()
	case "counts":
		fmt.Fprintf(&p.out, "> %+v\n", p.m.Counts)
	default:
		b := p.message() // may change where it comes from
		p.m.Message(p.now, p.addr(p.words[1]), b)
	}
}

func (p *player) start() {
	c := Config{Community: must(n2n.CommunityOf("net")), MAC: p.mac("m1"), Desc: n2n.DescOf("me"), Interval: 20 * time.Second, Ports: 20,
		Fan: p.number("fan"), Draws: p.number("draws"), Rate: 40}
	c.Token = must(n2n.AuthOf(n2n.AuthID, make([]byte, 16)))
	if a := p.options["address"]; a != "" {
		c.Subnet = must(n2n.SubnetOf(netip.MustParsePrefix(a)))
	}
	c.Preferred = p.option("preferred")
	c.Relayed = p.has("relay-only")
	if p.has("users") {
		key := n2n.UserKey("me", "secret")
		c.User = must(key.Public())
		c.Secret = must(key.Share(must(n2n.FederationKey("Federation").Public())))
	}
	p.m, p.now = New(c, strings.Split(p.words[1], ","), new(counter)), epoch
	p.m.Start(p.now)
}

// message makes the message that a line is about.
func (p *player) message() []byte {
	h := n2n.Header{TTL: 2, Community: must(n2n.CommunityOf("net"))}
	sn := h
	sn.Flags = n2n.FromSupernode
	switch p.words[0] {
	case "ack":
		a := n2n.RegisterSuperAck{Header: sn, Cookie: p.m.cookie, MAC: n2n.MAC{0xaa}, Sock: p.option("sock")}
		if p.options["cookie"] != "" {
			a.Cookie++
		}
		for _, other := range p.split("sns") {
			a.Supernodes = a.Supernodes.Append(n2n.Supernode{Addr: p.addr(other)})
		}
		if s := p.options["subnet"]; s != "" {
			a.Subnet = must(n2n.SubnetOf(netip.MustParsePrefix(s)))
		}
		if p.m.cfg.Secret != nil {
			login := p.m.cfg.Secret.Login(p.m.cfg.User, p.m.challenge)
			a.Auth = must(p.m.cfg.Secret.Answer(&login, n2n.DynamicKey{7}))
		}
		return a.Append(nil)
	case "nak":
		return (&n2n.RegisterSuperNak{Header: sn, Cookie: p.m.cookie, MAC: p.m.cfg.MAC}).Append(nil)
	case "pong":
		i := n2n.PeerInfo{Header: sn, Src: n2n.MAC{0xaa}, Sock: p.option("sock"), Version: n2n.VersionTextOf("3.1.1")}
		if p.has("fast") {
			i.Rest = (&n2n.Ours{Fast: true}).Append(nil)
		}
		if other := p.option("other"); other.IsValid() {
			p.m.Message(p.now, p.addr(p.words[1]), i.Append(nil))
			p.words[1] = other.String()
		}
		return i.Append(nil)
	case "info":
		return (&n2n.PeerInfo{Header: sn, Src: p.m.cfg.MAC, MAC: p.mac(p.words[2]), Sock: p.option("sock"), Preferred: p.option("preferred")}).Append(nil)
	case "register":
		r := n2n.Register{Header: h, Rank: p.rank(), Src: p.mac(p.words[2]), Dst: p.m.cfg.MAC, Sock: p.option("sock"), Rest: p.ours(),
			Desc: n2n.DescOf("peer"), Subnet: must(n2n.SubnetOf(netip.MustParsePrefix("10.99.0.9/24")))}
		if to := p.options["to"]; to != "" {
			r.Dst = p.mac(to)
		}
		if p.has("sn") {
			r.Header = sn
		}
		return r.Append(nil)
	case "acked":
		return (&n2n.RegisterAck{Header: h, Rank: p.rank(), Dst: p.m.cfg.MAC, Src: p.mac(p.words[2]), Rest: p.ours()}).Append(nil)
	case "rekey":
		return (&n2n.ReRegisterSuper{Header: sn}).Append(nil)
	}
	p.t.Fatalf("%s: no such line", p.words[0])
	return nil
}

var ranks = map[n2n.Rank]string{n2n.RankForwarded: "forwarded", n2n.RankPort: "port", n2n.RankRegular: "regular", n2n.RankMulticast: "multicast",
	n2n.RankLocal: "local"}

func (p *player) rank() n2n.Rank {
	for r, name := range ranks {
		if name == p.options["rank"] {
			return r
		}
	}
	p.t.Fatalf("rank %q", p.options["rank"])
	return 0
}

func (p *player) ours() []byte {
	nat, ok := p.options["ours"]
	if !ok {
		return nil
	}
	nat, more, _ := strings.Cut(nat, ",")
	o := n2n.Ours{Fast: true, Draws: strings.Contains(more, "draws"), Fan: strings.Contains(more, "fan")}
	for n := n2n.NATUnknown; n <= n2n.NATSymmetric; n++ {
		if strings.HasPrefix(n.String(), nat) {
			o.NAT = n
		}
	}
	for _, a := range p.split("also") {
		o.AddAddr(p.addr(a))
	}
	return o.Append(nil)
}

// answers writes what the machine wants.
func (p *player) answers() {
	if p.m == nil {
		return
	}
	for _, a := range p.m.Take() {
		fmt.Fprintf(&p.out, "> %6.2fs %s\n", p.now.Sub(epoch).Seconds(), p.describe(a))
	}
}

func (p *player) describe(a Action) string {
	switch a := a.(type) {
	case Send:
		return p.describeSend(a)
	case Fan:
		return fmt.Sprintf("fan of %d: %s", a.Sockets, p.describeSend(Send{To: a.To, Message: a.Message}))
	case Fold:
		return fmt.Sprintf("fold the fan to %v", a.To)
	case Route:
		if !a.To.IsValid() {
			return fmt.Sprintf("route %v by the supernode", short(a.MAC))
		}
		return fmt.Sprintf("route %v to %v fast %v", short(a.MAC), a.To, a.Fast)
	case Pace:
		return fmt.Sprintf("pace %v %v", short(a.MAC), a.On)
	case Relay:
		return fmt.Sprintf("relay %v fast %v", a.To, a.Fast)
	case Supernodes:
		return fmt.Sprintf("supernodes %v", a.Addrs)
	case Assign:
		return fmt.Sprintf("assign %v", a.Subnet.Prefix())
	case Announce:
		return "announce"
	case Resolve:
		return "resolve " + a.Name
	case Rebind:
		return "rebind"
	case LookAround:
		return fmt.Sprintf("look around towards %v", a.Towards)
	case Key:
		return fmt.Sprintf("key %x", a.Key[:2])
	case Note:
		return strings.TrimSpace(fmt.Sprintf("note %q %v", a.Text, a.Of))
	}
	return fmt.Sprintf("%T", a)
}

func (p *player) describeSend(a Send) string {
	h, err := n2n.ParseHeader(a.Message)
	if err != nil {
		p.t.Fatalf("the edge sends what it would refuse: %v", err)
	}
	text := fmt.Sprintf("send %v to %v", h.Type, a.To)
	switch h.Type {
	case n2n.TypeRegisterSuper:
		var m n2n.RegisterSuper
		err = m.Decode(a.Message)
		text += fmt.Sprintf(" cookie %d mac %v subnet %v", m.Cookie, short(m.MAC), m.Subnet.Prefix())
	case n2n.TypeRegister:
		var m n2n.Register
		err = m.Decode(a.Message)
		o, _ := n2n.ParseOurs(m.Rest)
		text += fmt.Sprintf(" %s for %v nat %v also %v", ranks[m.Rank], short(m.Dst), o.NAT, o.Addrs())
		if o.Fan {
			text += " fan"
		}
	case n2n.TypeRegisterAck:
		var m n2n.RegisterAck
		err = m.Decode(a.Message)
		text += fmt.Sprintf(" %s for %v", ranks[m.Rank], short(m.Dst))
	case n2n.TypeQueryPeer:
		var m n2n.QueryPeer
		err = m.Decode(a.Message)
		text += " about " + short(m.Target)
	case n2n.TypeUnregisterSuper:
		var m n2n.UnregisterSuper
		err = m.Decode(a.Message)
	default:
		p.t.Fatalf("an edge sends no %v", h.Type)
	}
	if err != nil {
		p.t.Fatalf("the edge sends what it would refuse: %v", err)
	}
	return text
}

func (p *player) status() {
	s := p.m.Status(p.now)
	fmt.Fprintf(&p.out, "> registered %v at %v, refused %q, local %v public %v nat %s address %v\n", s.Registered, s.Supernode, s.Refused, s.Local, s.Public, s.NAT, s.Address)
	for _, n := range s.Supernodes {
		fmt.Fprintf(&p.out, "> supernode %v current %v public %v rtt %v\n", n.Addr, n.Current, n.Public, n.RTT)
	}
	for _, q := range s.Peers {
		fmt.Fprintf(&p.out, "> peer %s %s at %v nat %s ours %v rtt %v why %q\n", q.MAC[15:], q.Path, q.Addr, q.NAT, q.Ours, q.RTT, q.Why)
	}
}

func short(m n2n.MAC) string {
	if m.IsZero() {
		return "nobody"
	}
	return fmt.Sprintf("m%x", m[5])
}

func (p *player) mac(s string) n2n.MAC {
	if s == "nobody" {
		return n2n.MAC{}
	}
	m := n2n.MAC{2}
	if _, err := fmt.Sscanf(s, "m%x", &m[5]); err != nil {
		p.t.Fatalf("MAC %q", s)
	}
	return m
}

func (p *player) addr(s string) netip.AddrPort {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

func (p *player) list(words []string) (list []netip.AddrPort) {
	for _, w := range words {
		list = append(list, p.addr(w))
	}
	return list
}

func (p *player) option(name string) netip.AddrPort {
	if s := p.options[name]; s != "" {
		return p.addr(s)
	}
	return netip.AddrPort{}
}

func (p *player) number(name string) (n int) {
	if s := p.options[name]; s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			p.t.Fatal(err)
		}
	}
	return n
}

func (p *player) split(name string) []string {
	if s := p.options[name]; s != "" {
		return strings.Split(s, ",")
	}
	return nil
}

func (p *player) has(word string) bool {
	for _, w := range p.words[1:] {
		if w == word {
			return true
		}
	}
	return false
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
