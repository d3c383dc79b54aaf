package serve

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/n2n"
	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/n2n-supernode/rendezvous"
	"sonic-netservices/netmap"
)

// Config of the supernode. Each setting has one name: as a flag, as a field of CONFIG_DB NETSERVICES|supernode, and in the
// file; the first of them that has it wins. All apply at start, but the community file also with SIGHUP.
type Config struct {
	Listen      string        // host:port, UDP and TCP; without host all addresses of both families
	MAC         string        // of the supernode; empty: drawn once, and kept in Dir
	Communities string        // file; empty: everyone may make communities
	Federation  string        // name that supernodes share
	AsNtop      bool          // the others have it by ntop's -F
	Peers       string        // host:port,... of other supernodes
	Lifetime    time.Duration // of an edge that is not heard
	Takeover    bool          // a lost token may be replaced from the same public address
	AnyToken    bool          // tokens are not checked
	Subnets     string        // range for edges that ask for an address
	Rate        int           // answers a second and public address
	MaxEdges    int           // of all communities
	Readers     int           // sockets and cores that read; 0: one a core, 4 at most
	Dir         string        // folder of the state; "none": nothing is kept
	Manage      string        // host:port of the Overlay service; empty: Loopback0 of the switch; "none"
	Metrics     string        // host:port of /metrics, loopback only; "none"
	PKI         string        // folder of the certificate of the Overlay service
	Node        string        // name of the switch, for its rows; no setting

	flags    *flag.FlagSet
	settings *daemon.Settings
	mac      n2n.MAC
	token    [16]byte
}

// Flags defines the settings with their defaults.
func (c *Config) Flags(flags *flag.FlagSet) {
	c.flags = flags
	flags.StringVar(&c.Listen, "listen", ":"+strconv.Itoa(n2n.DefaultPort), "`host:port` for edges, by UDP and TCP; without host all addresses")
	flags.StringVar(&c.MAC, "mac", "", "`MAC` of this supernode (default: drawn once, kept in -dir)")
	flags.StringVar(&c.Communities, "communities", "", "`file` of the communities, their subnets and users; read again on SIGHUP (default: edges make communities)")
	flags.StringVar(&c.Federation, "federation", "", "`name` that supernodes share; who knows it is taken in (default: only -peers and those they name)")
	flags.BoolVar(&c.AsNtop, "federation-as-ntop", false, "the other supernodes are ntop's and have the name by their -F, which makes the key of another name")
	flags.StringVar(&c.Peers, "peers", "", "`host:port,...` of other supernodes")
	flags.DurationVar(&c.Lifetime, "lifetime", 60*time.Second, "an edge that is silent for longer is forgotten; edges come each 20 to 30 s")
	flags.BoolVar(&c.Takeover, "takeover", false, "an edge that lost its token gets its MAC and address back from the same public IP address; so does everyone else there")
	flags.BoolVar(&c.AnyToken, "any-token", false, "tokens are not checked: every edge may take the place of any other")
	flags.StringVar(&c.Subnets, "subnets", "10.128.0.0/9", "`range` from which communities have a subnet for edges that ask for an address")
	flags.IntVar(&c.Rate, "rate", 200, "answers a second that one public IP address gets, ten times as many at once")
	flags.IntVar(&c.MaxEdges, "max-edges", 100_000, "edges of all communities together, some 500 bytes each")
	flags.IntVar(&c.Readers, "readers", 0, "sockets that are read at the same time (default: one a core, 4 at most)")
	flags.StringVar(&c.Dir, "dir", "", "`folder` of the registrations, which a restart then does not lose; none: they are not kept (default: "+netmap.SupernodeDir+", or /var/lib/n2n-supernode on a host that is no switch)")
	flags.StringVar(&c.Manage, "manage", "", "`host:port` of the Overlay service for nsctl; none: there is none (default: port "+strconv.Itoa(netmap.OverlayPort)+" of Loopback0)")
	flags.StringVar(&c.Metrics, "metrics", "127.0.0.1:"+strconv.Itoa(netmap.OverlayMetricsPort), "`host:port` of /metrics, loopback only; none: there are none")
	flags.StringVar(&c.PKI, "pki", netmap.PKIDir, "`folder` of node.crt, node.key, ca.crt")
}

// Complete takes over what CONFIG_DB and the file say, where no flag was given, and checks the whole. db may be nil, file
// empty.
func (c *Config) Complete(ctx context.Context, db *sonicdb.DB, file string) error {
	c.settings = daemon.NewSettings(c.flags)
	if db != nil {
		if err := c.readConfigDB(ctx, db); err != nil {
			return err
		}
	}
	if err := c.settings.File(file); err != nil {
		return err
	}
	if c.Readers == 0 {
		c.Readers = min(runtime.GOMAXPROCS(0), 4)
	}
	if c.Dir == "" {
		c.Dir = "/var/lib/n2n-supernode"
		if _, err := os.Stat(netmap.HostDir); err == nil {
			c.Dir = netmap.SupernodeDir
		}
	}
	for _, field := range []*string{&c.Dir, &c.Manage, &c.Metrics} {
		if *field == "none" {
			*field = ""
		}
	}
	return c.check()
}

func (c *Config) readConfigDB(ctx context.Context, db *sonicdb.DB) error {
	row, err := db.HGetAll(ctx, db.Key("NETSERVICES", "supernode"))
	if err != nil {
		return err
	}
	if err := c.settings.Row(row, "CONFIG_DB NETSERVICES|supernode"); err != nil {
		return err
	}
	prefix := db.Key("LOOPBACK_INTERFACE", "Loopback0", "")
	keys, err := db.Scan(ctx, prefix+"*")
	if err != nil {
		return err
	}
	for _, key := range keys {
		if p, err := netip.ParsePrefix(strings.TrimPrefix(key, prefix)); err == nil && p.Addr().Is4() {
			return c.settings.Take(map[string]string{"manage": net.JoinHostPort(p.Addr().String(), strconv.Itoa(netmap.OverlayPort))}, "CONFIG_DB Loopback0")
		}
	}
	return nil
}

func (c *Config) check() error {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if c.MAC != "" {
		hw, err := net.ParseMAC(c.MAC)
		if err != nil || len(hw) != len(c.mac) || hw[0]&1 != 0 {
			return fmt.Errorf("mac: %q: want the MAC of one station, as 02:00:00:00:00:01", c.MAC)
		}
		c.mac = n2n.MAC(hw)
	}
	if c.Metrics != "" {
		if err := daemon.CheckMetrics(c.Metrics); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	if c.Manage != "" {
		if _, _, err := net.SplitHostPort(c.Manage); err != nil {
			return fmt.Errorf("manage: %w", err)
		}
	}
	if p, err := netip.ParsePrefix(c.Subnets); err != nil || !p.Addr().Is4() || p.Bits() > 30 {
		return fmt.Errorf("subnets: %q: want an IPv4 range of /0 to /30", c.Subnets)
	}
	if c.Federation != "" {
		if _, err := n2n.CommunityOf("*" + c.Federation); err != nil {
			return fmt.Errorf("federation: %w", err)
		}
	}
	for _, n := range []struct {
		name       string
		value, min int
	}{{"readers", c.Readers, 1}, {"rate", c.Rate, 1}, {"max-edges", c.MaxEdges, 1}} {
		if n.value < n.min {
			return fmt.Errorf("%s: %d: want %d at least", n.name, n.value, n.min)
		}
	}
	if c.Lifetime < 30*time.Second {
		return fmt.Errorf("lifetime: %v: want 30s at least, edges register each 20 to 30 s", c.Lifetime)
	}
	if _, err := splitPeers(c.Peers); err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	_, err := c.list()
	return err
}

// list reads the community file; nil when there is none.
func (c *Config) list() (*rendezvous.List, error) {
	if c.Communities == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.Communities)
	if err != nil {
		return nil, fmt.Errorf("communities: %w", err)
	}
	l, err := rendezvous.ParseList(string(text))
	if err != nil {
		return nil, fmt.Errorf("communities: %s: %w", filepath.Clean(c.Communities), err)
	}
	return l, nil
}

// identity is what must be the same after a restart: MAC and token, from the state or drawn now.
func (c *Config) identity(s *rendezvous.State) error {
	if s != nil && len(s.Token) == len(c.token) {
		c.token = [16]byte(s.Token)
	} else if _, err := crand.Read(c.token[:]); err != nil {
		return err
	}
	if !c.mac.IsZero() {
		return nil
	}
	if s != nil {
		if hw, err := net.ParseMAC(s.MAC); err == nil && len(hw) == len(c.mac) {
			c.mac = n2n.MAC(hw)
			return nil
		}
	}
	_, err := crand.Read(c.mac[:])
	c.mac[0] = c.mac[0]&^1 | 2 // of one station, administered locally
	return err
}

// machine is what decides, as configured.
func (c *Config) machine() (rendezvous.Config, error) {
	list, err := c.list()
	if err != nil {
		return rendezvous.Config{}, err
	}
	var seed [8]byte
	if _, err := crand.Read(seed[:]); err != nil {
		return rendezvous.Config{}, err
	}
	return rendezvous.Config{MAC: c.mac, Version: daemon.Version(), Communities: list, Federation: c.Federation, AsNtop: c.AsNtop, Federate: c.Peers != "",
		Lifetime: c.Lifetime, Takeover: c.Takeover, AnyToken: c.AnyToken, Subnets: netip.MustParsePrefix(c.Subnets), Rate: c.Rate,
		MaxEdges: c.MaxEdges, Token: c.token, Seed: binary.LittleEndian.Uint64(seed[:])}, nil
}

// Print writes the settings in effect, and where they come from.
func (c *Config) Print(w io.Writer) { c.settings.Print(w) }
