package rendezvous

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/internal/transcript"
)

// TestTranscripts plays testdata/*.txt. A line that begins with "<" comes in, the lines with ">" below it are what the
// supernode sends or why it refuses:
//
//	< supernode [takeover] [any-token] [list FILE] [federation NAME] [peer ADDR] [max-edges N] [rate N]   a new one
//	< edge NAME MAC SUBNET ADDR [in COMMUNITY] [encrypted] [token N] [local ADDR] [password PASSWORD]   somebody who may register
//	< register NAME [nat N]        draw NAME     unregister NAME     ping NAME [ours]
//	< send NAME NAME|MAC           handshake NAME NAME               query NAME NAME|MAC
//	< peer NAME MAC ADDR                                                                  another supernode
//	< join NAME                    ack NAME                          it registers; answers with whom it knows
//	< from NAME: LINE              the supernode passes on what an edge has sent to it
//	< again                        the bytes of the last packet
//	< again from ADDR              from elsewhere
//	< raw ADDR HEX                 any bytes
//	< wait DURATION                with a tick each second
//	< list FILE                    another list
//	< peers ADDR...                names of supernodes mean other addresses now
//	< restart                      a new one from the state of the old one
//	< edges                        who is registered
func TestTranscripts(t *testing.T) { transcript.Test(t, play) }

// stage is one transcript at play.
type stage struct {
	t       *testing.T
	text    strings.Builder
	now     time.Time
	config  Config
	m       *Machine
	w       *Worker
	random  *rand.ChaCha8
	edges   map[string]*actor
	peers   map[string]*actor
	stamps  n2n.Stamper
	cookie  uint32          // of the last registration
	asked   map[Path]uint32 // cookies of what the supernode last asked other ones
	last    []byte          // that came in
	lastOf  Path
	relayer *actor // the supernode that passes the next packet on
}

// actor is an edge or another supernode.
type actor struct {
	name      string
	mac       n2n.MAC
	subnet    n2n.Subnet
	at        Path
	community n2n.Community
	encrypted bool
	auth      n2n.Auth
	local     netip.AddrPort
	secret    *n2n.Secret // of a user
}

func play(t *testing.T, script string) string {
	s := &stage{t: t, now: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)}
	s.begin(nil)
	for sc := bufio.NewScanner(strings.NewReader(script)); sc.Scan(); {
		line := sc.Text()
		if strings.HasPrefix(line, ">") {
			continue
		}
		fmt.Fprintln(&s.text, line)
		if told, ok := strings.CutPrefix(line, "< "); ok {
			s.now = s.now.Add(time.Millisecond)
			s.tell(told)
		}
	}
	return s.text.String()
}

func (s *stage) say(format string, args ...any) { fmt.Fprintf(&s.text, "> "+format+"\n", args...) }

// begin makes a new supernode.
func (s *stage) begin(words []string) {
	s.asked = map[Path]uint32{}
	s.edges, s.peers = map[string]*actor{}, map[string]*actor{}
	s.config = Config{MAC: n2n.MAC{2, 0, 0, 0, 0, 1}, Version: "1.0", Seed: 1}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		value := func() (v string) { v, words = words[0], words[1:]; return v }
		switch word {
		case "takeover":
			s.config.Takeover = true
		case "any-token":
			s.config.AnyToken = true
		case "list":
			text, err := os.ReadFile(filepath.Join("testdata", value()))
			if err != nil {
				s.t.Fatal(err)
			}
			if s.config.Communities, err = ParseList(string(text)); err != nil {
				s.t.Fatal(err)
			}
		case "federation":
			s.config.Federation = value()
		case "as-ntop":
			s.config.AsNtop = true
		case "peer":
			s.config.Peers = append(s.config.Peers, netip.MustParseAddrPort(value()))
		case "max-edges":
			s.config.MaxEdges = s.number(value())
		case "rate":
			s.config.Rate = s.number(value())
		default:
			s.t.Fatalf("supernode %s", word)
		}
	}
	s.random = rand.NewChaCha8([32]byte{})
	s.m = New(s.config, s.now)
	s.w = s.m.Worker(s.random)
}

func (s *stage) number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *stage) mac(text string) n2n.MAC {
	if a := s.edges[text]; a != nil {
		return a.mac
	}
	if text == "all" {
		return n2n.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	hw, err := net.ParseMAC(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return n2n.MAC(hw)
}

func path(text string) Path {
	if addr, ok := strings.CutPrefix(text, "tcp:"); ok {
		return Path{netip.MustParseAddrPort(addr), 7}
	}
	return Path{Addr: netip.MustParseAddrPort(text)}
}

func (s *stage) tell(line string) {
	if name, rest, ok := strings.Cut(line, ": "); ok && strings.HasPrefix(name, "from ") {
		s.relayer = s.peers[name[len("from "):]]
		line = rest
	}
	words := strings.Fields(line)
	args := append(words[1:], "", "", "")
	a := s.edges[args[0]]
	var header n2n.Header
	if a != nil {
		header = n2n.Header{TTL: n2n.DefaultTTL, Community: a.community}
	}
	if s.relayer != nil {
		header.Flags |= n2n.FromSupernode
		header.TTL--
	}
	switch words[0] {
	case "supernode":
		s.begin(words[1:])
	case "edge":
		s.edges[args[0]] = s.actor(words[1:])
	case "peer":
		s.peers[args[0]] = &actor{name: args[0], mac: s.mac(args[1]), at: path(words[3]), encrypted: true, community: s.m.federal.community}
	case "register", "draw":
		s.cookie++
		r := n2n.RegisterSuper{Header: header, Cookie: s.cookie, MAC: a.mac, Subnet: a.subnet, Desc: n2n.DescOf(a.name), Auth: a.auth, Sock: a.local}
		if args[1] == "nat" {
			r.Rest = (&n2n.Ours{NAT: n2n.NAT(s.number(args[2]))}).Append(nil)
		}
		if words[0] == "draw" {
			r.MAC, r.Subnet = n2n.MAC{}, n2n.Subnet{}
		}
		if s.relayer != nil {
			r.Sock = a.at.Addr
		}
		s.come(a, &r, 0)
	case "unregister":
		s.come(a, &n2n.UnregisterSuper{Header: header, MAC: a.mac, Auth: a.auth}, 0)
	case "ping":
		q := n2n.QueryPeer{Header: header, Src: a.mac}
		if args[1] == "ours" {
			q.Rest = (&n2n.Ours{OtherPort: true}).Append(nil)
		}
		s.come(a, &q, 0)
	case "query":
		s.come(a, &n2n.QueryPeer{Header: header, Src: a.mac, Target: s.mac(args[1])}, 0)
	case "answer":
		s.come(a, &n2n.PeerInfo{Header: header, Src: a.mac, MAC: s.mac(args[1]), Sock: s.edges[args[1]].at.Addr}, 0)
	case "nak":
		s.come(a, &n2n.RegisterSuperNak{Header: header, Cookie: s.cookie, MAC: a.mac}, 0)
	case "handshake":
		s.come(a, &n2n.Register{Header: header, Rank: n2n.RankForwarded, Src: a.mac, Dst: s.mac(args[1]), Subnet: a.subnet, Desc: n2n.DescOf(a.name)}, 0)
	case "send":
		p := n2n.Packet{Header: header, Src: a.mac, Dst: s.mac(args[1]), Compression: n2n.CompressionNone, Transform: n2n.TransformNull, Payload: []byte("frame")}
		if s.relayer != nil {
			p.Sock = a.at.Addr
		}
		s.come(a, &p, p.HeaderLen())
	case "join":
		p := s.peers[args[0]]
		s.come(p, &n2n.RegisterSuper{Header: n2n.Header{TTL: n2n.DefaultTTL, Flags: n2n.FromSupernode, Community: p.community}, Cookie: 99, MAC: p.mac}, 0)
	case "ack":
		p := s.peers[args[0]]
		var list n2n.SupernodeList
		for _, name := range words[2:] {
			list = list.Append(n2n.Supernode{Addr: s.peers[name].at.Addr, MAC: s.peers[name].mac})
		}
		s.come(p, &n2n.RegisterSuperAck{Header: n2n.Header{TTL: n2n.DefaultTTL, Flags: n2n.FromSupernode, Community: p.community}, Cookie: s.asked[p.at], MAC: p.mac, Supernodes: list}, 0)
	case "again":
		if args[0] == "from" {
			s.lastOf = path(args[1])
		}
		s.packet(s.lastOf, s.last)
	case "raw":
		var b []byte
		if _, err := fmt.Sscanf(args[1], "%x", &b); err != nil {
			s.t.Fatal(err)
		}
		s.packet(path(args[0]), b)
	case "wait":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			s.t.Fatal(err)
		}
		for end := s.now.Add(d); s.now.Before(end); {
			s.now = s.now.Add(time.Second)
			var out Out
			s.m.Tick(s.now, s.w, &out)
			s.sent(&out)
		}
	case "restart":
		state, edges, _ := s.m.State()
		state.Edges = slices.Collect(edges)
		s.m = New(s.config, s.now)
		s.w = s.m.Worker(s.random)
		s.say("%d restored", s.m.Restore(state, s.now))
	case "list":
		text, err := os.ReadFile(filepath.Join("testdata", args[0]))
		if err != nil {
			s.t.Fatal(err)
		}
		l, err := ParseList(string(text))
		if err != nil {
			s.t.Fatal(err)
		}
		s.m.SetList(l)
	case "peers":
		var list []netip.AddrPort
		for _, addr := range words[1:] {
			list = append(list, netip.MustParseAddrPort(addr))
		}
		s.m.SetPeers(list, s.now)
	case "edges":
		for _, e := range s.m.Edges() {
			s.say("%s %s %s %v at %s, NAT %s, %d relayed", e.Community, e.MAC, e.Name, e.Address, e.Public, e.NAT, e.Relayed)
		}
	default:
		s.t.Fatalf("what is %q?", line)
	}
	s.relayer = nil
}

// actor reads NAME MAC SUBNET ADDR [in COMMUNITY] [encrypted] [token N] [local ADDR].
func (s *stage) actor(words []string) *actor {
	a := &actor{name: words[0], mac: s.mac(words[1]), at: path(words[3])}
	subnet, err := n2n.SubnetOf(netip.MustParsePrefix(words[2]))
	if err != nil {
		s.t.Fatal(err)
	}
	a.subnet = subnet
	community, token := "office", 1
	for i := 4; i < len(words); i++ {
		switch words[i] {
		case "in":
			i++
			community = words[i]
		case "encrypted":
			a.encrypted = true
		case "token":
			i++
			token = s.number(words[i])
		case "local":
			i++
			a.local = netip.MustParseAddrPort(words[i])
		case "password":
			i++
			s.user(a, words[i])
		default:
			s.t.Fatalf("edge ... %s", words[i])
		}
	}
	a.community, _ = n2n.CommunityOf(community)
	if a.secret == nil {
		a.auth, _ = n2n.AuthOf(n2n.AuthID, append(make([]byte, 15), byte(token)))
	}
	return a
}

// user makes an actor one that logs in by its name and a password.
func (s *stage) user(a *actor, password string) {
	private := n2n.UserKey(a.name, password)
	name, err := private.Public()
	if err != nil {
		s.t.Fatal(err)
	}
	supernodes, err := n2n.FederationKey(s.m.federal.name).Public()
	if err != nil {
		s.t.Fatal(err)
	}
	if a.secret, err = private.Share(supernodes); err != nil {
		s.t.Fatal(err)
	}
	a.encrypted, a.auth = true, a.secret.Login(name, n2n.Challenge{1})
}

// dynamicKey is what the supernode told all users of a community.
func (s *stage) dynamicKey(c n2n.Community) *n2n.HeaderKey {
	return (*s.m.communities.Load())[c].dynamic.Load().header
}

// come lets a message of an actor come in; headerLen 0: all of it is header.
func (s *stage) come(a *actor, m message, headerLen int) {
	b := m.Append(nil)
	if a.encrypted {
		if headerLen == 0 {
			headerLen = len(b)
		}
		key := n2n.NewHeaderKey(a.community)
		_, registers := m.(*n2n.RegisterSuper)
		if a.secret != nil && !registers {
			key = s.dynamicKey(a.community)
			headerLen = min(headerLen+payloadIV, len(b))
		}
		key.Seal(b, headerLen, s.stamps.Next(s.now), 5)
		if a.secret != nil && registers {
			b = a.secret.AppendTrailer(b)
		}
	}
	at := a.at
	if s.relayer != nil {
		at = s.relayer.at
	}
	s.packet(at, b)
}

func (s *stage) packet(from Path, b []byte) {
	s.last, s.lastOf = slices.Clone(b), from
	var out Out
	if why := s.w.Packet(s.now, from, b, &out); why != accepted {
		s.say("refused: %s", why)
	}
	s.sent(&out)
}

// sent writes what the supernode sends.
func (s *stage) sent(out *Out) {
	for _, send := range out.Sends {
		b := slices.Clone(out.Message(send))
		sealed := ""
		if !n2n.IsClear(b) {
			sealed = "encrypted "
			if !s.unseal(b) {
				s.t.Fatalf("nobody can read %x", b)
			}
		}
		if send.OtherPort {
			sealed = "from another port " + sealed
		}
		s.say("%s %s%s", send.To, sealed, s.read(send.To, b))
	}
}

func (s *stage) unseal(b []byte) bool {
	keys := []*n2n.HeaderKey{}
	if s.m.federal.key != nil {
		keys = append(keys, s.m.federal.key)
	}
	for _, a := range s.edges {
		keys = append(keys, n2n.NewHeaderKey(a.community))
		if a.secret != nil {
			keys = append(keys, s.dynamicKey(a.community))
		}
	}
	return slices.ContainsFunc(keys, func(k *n2n.HeaderKey) bool {
		if _, _, err := k.Open(b); err == nil {
			return true
		}
		_, _, err := k.Open(b[:max(0, len(b)-n2n.TrailerLen)])
		return err == nil
	})
}

// read writes a message as a line.
func (s *stage) read(to Path, b []byte) string {
	h, err := n2n.ParseHeader(b)
	if err != nil {
		s.t.Fatal(err)
	}
	line := fmt.Sprintf("%s ttl %d", h.Type, h.TTL)
	if h.Flags&n2n.FromSupernode == 0 {
		line += " NOT FROM A SUPERNODE"
	}
	add := func(format string, args ...any) { line += fmt.Sprintf(format, args...) }
	var bad error
	switch h.Type {
	case n2n.TypePacket:
		var p n2n.Packet
		bad = p.Decode(b)
		add(" %s > %s sock %s %q", p.Src, p.Dst, p.Sock, p.Payload)
	case n2n.TypeRegister:
		var r n2n.Register
		bad = r.Decode(b)
		add(" %s > %s sock %s rank %x", r.Src, r.Dst, r.Sock, r.Rank)
	case n2n.TypeRegisterSuper:
		var r n2n.RegisterSuper
		bad = r.Decode(b)
		s.asked[to] = r.Cookie
		add(" %s %s sock %s %s %v", r.Community, r.MAC, r.Sock, r.Subnet.Prefix(), r.Auth)
	case n2n.TypeRegisterSuperAck:
		var a n2n.RegisterSuperAck
		bad = a.Decode(b)
		add(" cookie %d you are %s", a.Cookie, a.Sock)
		if !a.Subnet.WantsAddress() {
			add(", take %s", a.Subnet.Prefix())
		}
		for i := range a.Supernodes.Len() {
			n, err := a.Supernodes.At(i)
			if err != nil {
				s.t.Fatal(err)
			}
			add(", also %s %s", n.Addr, n.MAC)
		}
	case n2n.TypeRegisterSuperNak:
		var n n2n.RegisterSuperNak
		bad = n.Decode(b)
		add(" cookie %d %s", n.Cookie, n.MAC)
	case n2n.TypePeerInfo:
		var i n2n.PeerInfo
		bad = i.Decode(b)
		add(" for %s: %s at %s", i.Src, i.MAC, i.Sock)
		if i.Preferred.IsValid() {
			add(" or %s", i.Preferred)
		}
		if i.MAC.IsZero() {
			add(", load %d up %ds version %q", i.Load, i.Uptime, i.Version[:])
			if o, ok := n2n.ParseOurs(i.Rest); ok {
				add(", fast %v", o.Fast)
			}
		}
	case n2n.TypeQueryPeer:
		var q n2n.QueryPeer
		bad = q.Decode(b)
		add(" %s asks for %s", q.Src, q.Target)
	}
	if bad != nil {
		s.t.Fatal(bad)
	}
	return line
}
