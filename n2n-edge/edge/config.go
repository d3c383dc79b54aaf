package edge

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/n2n"
	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/netmap"
)

// defaultFederation is the name supernodes have when nobody gave them another.
const defaultFederation = "Federation"

// Config of the edge. Each setting has one name: as a flag, as a field of CONFIG_DB NETSERVICES|edge (with _ for -), and in
// the file; the first of them that has it wins. All apply at start.
type Config struct {
	Community        string
	Supernodes       string // host:port,...; more are learnt from them
	Key              string // passphrase of the payloads
	Transform        string // how payloads are encrypted
	HeaderEncryption bool
	User             string
	Password         string
	SupernodeKey     string // public key of the supernodes' federation
	Address          string // in the overlay, with prefix length, or auto
	MAC              string // of the device; empty: drawn once, and kept in State
	Device           string // name
	MTU              int    // bytes
	Port             int    // UDP; 0: any
	Description      string // what others see; empty: the host's name
	RelayOnly        bool   // never straight to peers
	Preferred        string // address:port that peers try first
	Multicast        bool   // is carried
	Routing          bool   // frames of and for other hosts are carried
	GuessPorts       int    // beyond a peer's known one
	FanSockets       int    // towards a peer, out of a NAT that draws ports
	FanDraws         int    // ports of such a peer
	FanRate          int    // packets a second
	Interval         time.Duration
	PaceRate         int64  // bits a second
	NoOffload        bool   // one frame, one packet, one call
	Workers          int    // that encrypt each way; 0: who reads does it
	State            string // folder of token and MAC
	Status           string // socket of n2n-edge status
	Metrics          string // host:port, loopback

	flags    *flag.FlagSet
	settings *daemon.Settings

	community  n2n.Community
	transform  n2n.TransformID
	supernodes []string
	address    netip.Prefix
	mac        n2n.MAC
	preferred  netip.AddrPort
}

// Flags defines the settings with their defaults.
func (c *Config) Flags(flags *flag.FlagSet) {
	c.flags = flags
	flags.StringVar(&c.Community, "community", "", "`name` of the overlay, 1 to 19 bytes")
	flags.StringVar(&c.Supernodes, "supernodes", "", "`host:port,...` where edges meet; others that these know are used, too, the nearest one first")
	flags.StringVar(&c.Key, "key", "", "`passphrase` of the payloads, the same at all edges")
	flags.StringVar(&c.Transform, "transform", "aes", "payloads are encrypted by `cipher`: null, twofish, aes, chacha20, speck; the same at all edges. Null is the fastest and hides nothing")
	flags.BoolVar(&c.HeaderEncryption, "header-encryption", false, "headers are encrypted, too, with the community's name as key, and replays refused; clocks must agree within 16 s")
	flags.StringVar(&c.User, "user", "", "`name` for communities with users (default: -description)")
	flags.StringVar(&c.Password, "password", "", "`password` for communities with users; implies -header-encryption, and chacha20 or speck")
	flags.StringVar(&c.SupernodeKey, "supernode-key", "", "public `key` of the supernodes' federation (default: that of ntop's default federation)")
	flags.StringVar(&c.Address, "address", "auto", "IPv4 `address/length` in the overlay; auto: a supernode chooses one")
	flags.StringVar(&c.MAC, "mac", "", "`MAC` of the device (default: drawn once, and kept in -state)")
	flags.StringVar(&c.Device, "device", "n2n0", "`name` of the TAP device")
	flags.IntVar(&c.MTU, "mtu", 1290, "`bytes` of an IP packet in the overlay; more than 1290 may have to be fragmented on the way")
	flags.IntVar(&c.Port, "port", 0, "UDP `port` (default: any, and another one when no supernode answers for long)")
	flags.StringVar(&c.Description, "description", "", "what others see of this edge, 15 bytes (default: the host's name)")
	flags.BoolVar(&c.RelayOnly, "relay-only", false, "never straight to peers: they learn no address of this host, and all traffic goes by the supernode")
	flags.StringVar(&c.Preferred, "preferred", "", "`address:port` that peers try first; for hosts that share a private network")
	flags.BoolVar(&c.Multicast, "multicast", true, "multicast is carried, which IPv6 cannot do without; ntop's edges carry none unless told to (-E)")
	flags.BoolVar(&c.Routing, "routing", false, "frames of and for other hosts are carried, as for a router or a bridge")
	flags.IntVar(&c.GuessPorts, "guess-ports", 64, "`ports` tried beyond the one a peer was seen at, when it does not answer there; 0: none")
	flags.IntVar(&c.FanSockets, "fan-sockets", 256, "`sockets` opened for some seconds towards a peer, when this host's NAT draws a port by chance for each receiver and the peer's lets in only who was sent to; 0: none, and such peers are reached by the supernode")
	flags.IntVar(&c.FanDraws, "fan-draws", 2048, "`ports` tried by chance of a peer that has opened such sockets; 1,024 find one of 256 in 98 of 100 cases; 0: none")
	flags.IntVar(&c.FanRate, "fan-rate", 500, "`packets` a second that the two cost at most; a NAT remembers each for half a minute")
	flags.DurationVar(&c.Interval, "interval", 20*time.Second, "time between registrations; supernodes forget who is silent for 60 s")
	flags.Int64Var(&c.PaceRate, "pace-rate", 500_000_000, "`bits` a second to a peer that runs ntop's edge, whose small buffer loses what comes faster")
	flags.BoolVar(&c.NoOffload, "no-offload", false, "one packet at a time through the kernel: slow, and to find out what is wrong with a driver")
	flags.IntVar(&c.Workers, "workers", -1, "`goroutines` that encrypt, and as many that decrypt, beside those that read and write; 0: none; -1: 2 fewer than cores, 4 at most, and none where nothing is encrypted")
	flags.StringVar(&c.State, "state", "", "`folder` of token and MAC, by which supernodes know this edge again (default: "+netmap.EdgeDir+", or /var/lib/n2n-edge on a host that is no switch)")
	flags.StringVar(&c.Status, "status", "", "`socket` of n2n-edge status; none: there is none (default: /run/n2n-edge-DEVICE.sock)")
	flags.StringVar(&c.Metrics, "metrics", "127.0.0.1:"+strconv.Itoa(netmap.EdgeMetricsPort), "`host:port` of /metrics, loopback only; none: there are none")
}

// Complete takes over what CONFIG_DB and the file say, where no flag was given, and checks the whole. db may be nil, file
// empty.
func (c *Config) Complete(ctx context.Context, db *sonicdb.DB, file string) error {
	c.settings = daemon.NewSettings(c.flags)
	if db != nil {
		row, err := db.HGetAll(ctx, db.Key("NETSERVICES", "edge"))
		if err != nil {
			return err
		}
		if err := c.settings.Row(row, "CONFIG_DB NETSERVICES|edge"); err != nil {
			return err
		}
	}
	if err := c.settings.File(file); err != nil {
		return err
	}
	return c.check()
}

// check reads what the settings mean, and names the first that means nothing.
func (c *Config) check() (err error) {
	if c.community, err = n2n.CommunityOf(c.Community); err != nil {
		return fmt.Errorf("community: %w", err)
	}
	if err := c.checkCrypto(); err != nil {
		return err
	}
	if err := c.checkNetwork(); err != nil {
		return err
	}
	for _, n := range []struct {
		name                 string
		value, lowest, above int64
	}{{"mtu", int64(c.MTU), 576, 1931}, {"port", int64(c.Port), 0, 65536}, {"guess-ports", int64(c.GuessPorts), 0, 4097},
		{"fan-sockets", int64(c.FanSockets), 0, 1025}, {"fan-draws", int64(c.FanDraws), 0, 16385}, {"fan-rate", int64(c.FanRate), 10, 10_001},
		{"interval", int64(c.Interval / time.Second), 1, 56}, {"pace-rate", c.PaceRate, 1_000_000, 1 << 40}, {"workers", int64(c.Workers), -1, 65}} {
		if n.value < n.lowest || n.value >= n.above {
			return fmt.Errorf("%s: %d: want %d to %d", n.name, n.value, n.lowest, n.above-1)
		}
	}
	if c.Workers < 0 {
		c.Workers = 0
		if c.transform != n2n.TransformNull || c.HeaderEncryption {
			c.Workers = min(max(runtime.GOMAXPROCS(0)-2, 0), 4)
		}
	}
	if c.State == "" {
		c.State = "/var/lib/n2n-edge"
		if _, err := os.Stat(netmap.HostDir); err == nil {
			c.State = netmap.EdgeDir
		}
	}
	if c.Status == "" {
		c.Status = "/run/n2n-edge-" + c.Device + ".sock"
	}
	for _, field := range []*string{&c.Status, &c.Metrics} {
		if *field == "none" {
			*field = ""
		}
	}
	if c.Metrics != "" {
		if err := daemon.CheckMetrics(c.Metrics); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}

func (c *Config) checkCrypto() error {
	for id := n2n.TransformNull; id <= n2n.TransformSpeck; id++ {
		if id.String() == c.Transform {
			c.transform = id
		}
	}
	users := c.Password != ""
	switch {
	case c.transform == 0:
		return fmt.Errorf("transform: %q: want null, twofish, aes, chacha20 or speck", c.Transform)
	case c.transform != n2n.TransformNull && c.Key == "":
		return fmt.Errorf("key: %s needs a passphrase", c.Transform)
	case users && c.transform != n2n.TransformChaCha20 && c.transform != n2n.TransformSpeck:
		return fmt.Errorf("transform: %q: communities with users take chacha20 or speck", c.Transform)
	case !users && (c.User != "" || c.SupernodeKey != ""):
		return fmt.Errorf("password: a user has one")
	}
	if users {
		c.HeaderEncryption = true
		if c.User == "" {
			c.User = c.desc()
		}
	}
	return nil
}

func (c *Config) checkNetwork() (err error) {
	if c.Supernodes == "" {
		return fmt.Errorf("supernodes: want one at least")
	}
	c.supernodes = strings.Split(c.Supernodes, ",")
	for _, s := range c.supernodes {
		host, port, err := net.SplitHostPort(s)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" {
			return fmt.Errorf("supernodes: %q: want host:port", s)
		}
	}
	if c.Address != "auto" {
		if c.address, err = netip.ParsePrefix(c.Address); err != nil || !c.address.Addr().Is4() || c.address.Bits() == 0 || c.address.Bits() > 30 {
			return fmt.Errorf("address: %q: want auto, or an IPv4 address with its length, /1 to /30", c.Address)
		}
	}
	if c.MAC != "" {
		hw, err := net.ParseMAC(c.MAC)
		if err != nil || len(hw) != len(c.mac) || hw[0]&1 != 0 {
			return fmt.Errorf("mac: %q: want the MAC of one station, as 02:00:00:00:00:01", c.MAC)
		}
		c.mac = n2n.MAC(hw)
	}
	if c.Preferred != "" {
		if c.preferred, err = netip.ParseAddrPort(c.Preferred); err != nil || !c.preferred.Addr().Is4() {
			return fmt.Errorf("preferred: %q: want an IPv4 address with port", c.Preferred)
		}
	}
	if c.Device == "" || len(c.Device) > 15 || strings.ContainsAny(c.Device, "/% ") {
		return fmt.Errorf("device: %q: want a name of at most 15 bytes", c.Device)
	}
	return nil
}

// desc is what others see of this edge.
func (c *Config) desc() string {
	if c.Description != "" {
		return c.Description
	}
	host, err := os.Hostname()
	if err != nil {
		return "edge"
	}
	return host
}

// Print writes the settings in effect and where each comes from.
func (c *Config) Print(w io.Writer) { c.settings.Print(w, "key", "password") }

// Identity is by what supernodes and peers know this edge.
type Identity struct {
	MAC   n2n.MAC
	Token [16]byte
}
