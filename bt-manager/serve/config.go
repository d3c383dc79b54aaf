package serve

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/managers"
	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/netmap"
)

// Config of bt-manager. A flag wins over CONFIG_DB, which wins over the default. All of it applies at start only.
type Config struct {
	// Node is this switch's name; the manager's certificate must name it. CONFIG_DB DEVICE_METADATA|localhost hostname.
	Node string
	// Listen is host:port of the Manager service. CONFIG_DB: NETSERVICES|global manager if its manager_node is this
	// switch, else the IPv4 address of LOOPBACK_INTERFACE|Loopback0 and port 7301.
	Listen string
	// Segment is the gateway and length of the service network; service addresses must fit it. Empty: they are not
	// checked, and a wrong one is found by the agent. CONFIG_DB NETSERVICES|segment gateway.
	Segment string
	// Segment6 is the same for IPv6. CONFIG_DB NETSERVICES|segment gateway6.
	Segment6 string
	// Journal is host:port at which other managers reach this one's journal. Default: the host of Listen, port 7309.
	Journal string
	// Join: an empty journal waits until an operator joins this manager to others (nsctl manager join). Without it an
	// empty journal founds a cluster of its own, which agents that obey another one refuse. CONFIG_DB
	// NETSERVICES|global manager_join of this switch.
	Join bool
	// Anew: the cluster that this manager founds takes the place of one whose journals are lost; agents change over to
	// it and never obey the old one again. Without effect on a journal that is not empty.
	Anew bool
	// Alone: the other managers are lost for good; this one goes on without them with what it has.
	Alone bool
	// AS is the number that a founded cluster tells. CONFIG_DB NETSERVICES|global as.
	AS string
	// PKI is the folder of ca.crt, manager.crt and manager.key.
	PKI string
	// Dir is the folder of the journal and of the images, which take as much room as the operator loads.
	Dir string
	// Tree is a file of behaviour trees in place of the built-in ones; its faults end the start. Later changes of the file
	// apply live. CONFIG_DB NETSERVICES|global tree.
	Tree string
	// Metrics is where Prometheus metrics are served, without a lock and so on the loopback only. "off": nowhere.
	Metrics string
	// Policy is when a node counts as overloaded. CONFIG_DB NETSERVICES|policy, see policyOf.
	Policy decide.Params
	// Groot is host:port of the Groot2 socket, on loopback; its PUB has the next port. It is open from when an operator
	// wants it (nsctl groot). "off": never. Default 127.0.0.1:1667.
	Groot string
	// Record "on" writes what the trees do to <Dir>/log, 64 MiB at most; "off" does not. CONFIG_DB NETSERVICES|global
	// record. Default on.
	Record string
	// Views shows what decides; nil: the trees, where there is a Redis for them to see nodes in.
	Views Views

	from map[string]string // where a value comes from, by flag name
}

// grootAddr is where Groot2 looks for a tree by itself.
const grootAddr = "127.0.0.1:1667"

var metricsAddr = net.JoinHostPort("127.0.0.1", strconv.Itoa(netmap.MetricsPort))

// Flags defines the flags of Config.
func (c *Config) Flags(flags *flag.FlagSet) {
	flags.StringVar(&c.Node, "node", "", "name of this switch (default: CONFIG_DB DEVICE_METADATA|localhost hostname)")
	flags.StringVar(&c.Listen, "listen", "", "host:port to serve on (default: of CONFIG_DB NETSERVICES|global, or Loopback0 and port "+strconv.Itoa(netmap.ManagerPort)+")")
	flags.StringVar(&c.Journal, "journal", "", "host:port for other managers (default: host of -listen, port "+strconv.Itoa(netmap.JournalPort)+")")
	flags.BoolVar(&c.Join, "join", false, "with an empty journal: wait for nsctl manager join (default: CONFIG_DB NETSERVICES|global manager_join)")
	flags.BoolVar(&c.Anew, "found-anew", false, "with an empty journal: take the place of managers whose journals are lost; agents forget those for good")
	flags.BoolVar(&c.Alone, "alone", false, "the other managers are lost for good: go on without them")
	flags.StringVar(&c.Segment, "segment", "", "gateway/length of the service network (default: CONFIG_DB NETSERVICES|segment gateway)")
	flags.StringVar(&c.Segment6, "segment6", "", "the same for IPv6 (default: CONFIG_DB NETSERVICES|segment gateway6)")
	flags.StringVar(&c.PKI, "pki", "", "folder of the certificates (default "+netmap.PKIDir+")")
	flags.StringVar(&c.Tree, "tree", "", "file of behaviour trees (default: CONFIG_DB NETSERVICES|global tree, or built in)")
	flags.StringVar(&c.Metrics, "metrics", "", "ip:port on the loopback to serve Prometheus metrics at, or off (default "+metricsAddr+")")
	flags.StringVar(&c.Dir, "dir", "", "folder of journal and images (default "+netmap.ManagerDir+")")
	flags.StringVar(&c.Groot, "groot", "", "host:port of the Groot2 socket that nsctl groot opens, on loopback, or off (default "+grootAddr+")")
	flags.StringVar(&c.Record, "record", "", "on or off: whether logs of what the trees do are kept (default: CONFIG_DB NETSERVICES|global record, or on)")
}

// Complete fills in what the flags left open and checks the whole. db may be nil: then the flags must suffice.
func (c *Config) Complete(ctx context.Context, db *sonicdb.DB) error {
	c.from = map[string]string{}
	for name, value := range map[string]string{"node": c.Node, "listen": c.Listen, "journal": c.Journal, "segment": c.Segment, "segment6": c.Segment6, "pki": c.PKI, "dir": c.Dir, "tree": c.Tree,
		"groot": c.Groot, "record": c.Record, "metrics": c.Metrics} {
		if value != "" {
			c.from[name] = "flag"
		}
	}
	c.Policy = decide.Defaults()
	if db != nil {
		if err := c.readConfigDB(ctx, db); err != nil {
			return err
		}
	}
	c.fill(&c.PKI, "pki", netmap.PKIDir, "default")
	c.fill(&c.Dir, "dir", netmap.ManagerDir, "default")
	c.fill(&c.Groot, "groot", grootAddr, "default")
	c.fill(&c.Record, "record", "on", "default")
	c.fill(&c.Metrics, "metrics", metricsAddr, "default")
	return c.check()
}

func (c *Config) readConfigDB(ctx context.Context, db *sonicdb.DB) error {
	metadata, err := db.HGetAll(ctx, db.Key("DEVICE_METADATA", "localhost"))
	if err != nil {
		return err
	}
	c.fill(&c.Node, "node", metadata["hostname"], "CONFIG_DB")
	segment, err := db.HGetAll(ctx, db.Key("NETSERVICES", "segment"))
	if err != nil {
		return err
	}
	c.fill(&c.Segment, "segment", segment["gateway"], "CONFIG_DB")
	c.fill(&c.Segment6, "segment6", segment["gateway6"], "CONFIG_DB")
	global, err := db.HGetAll(ctx, db.Key("NETSERVICES", "global"))
	if err != nil {
		return err
	}
	policy, err := db.HGetAll(ctx, db.Key("NETSERVICES", "policy"))
	if err != nil {
		return err
	}
	if c.Policy, err = policyOf(policy); err != nil {
		return err
	}
	c.fill(&c.Tree, "tree", global["tree"], "CONFIG_DB")
	c.fill(&c.Record, "record", global["record"], "CONFIG_DB")
	c.fill(&c.AS, "as", global["as"], "CONFIG_DB")
	switch global["manager_join"] {
	case "", "false":
	case "true":
		c.Join = true
	default:
		return fmt.Errorf("NETSERVICES|global manager_join=%q: want true or false", global["manager_join"])
	}
	all, err := managers.Parse(global["manager_node"], global["manager"])
	if err != nil {
		return fmt.Errorf("NETSERVICES|global %w", err)
	}
	for _, one := range all {
		if one.Node == c.Node {
			c.fill(&c.Listen, "listen", one.Addr, "CONFIG_DB")
		}
	}
	prefix := db.Key("LOOPBACK_INTERFACE", "Loopback0", "")
	keys, err := db.Scan(ctx, prefix+"*")
	if err != nil {
		return err
	}
	for _, key := range keys {
		if p, err := netip.ParsePrefix(strings.TrimPrefix(key, prefix)); err == nil && p.Addr().Is4() {
			c.fill(&c.Listen, "listen", net.JoinHostPort(p.Addr().String(), strconv.Itoa(netmap.ManagerPort)), "CONFIG_DB")
		}
	}
	return nil
}

func (c *Config) fill(field *string, name, value, from string) {
	if *field == "" && value != "" {
		*field, c.from[name] = value, from
	}
}

func (c *Config) check() error {
	if c.Node == "" {
		return fmt.Errorf("node: neither -node nor CONFIG_DB DEVICE_METADATA|localhost hostname is set")
	}
	if c.Listen == "" {
		return fmt.Errorf("listen: neither -listen nor an IPv4 LOOPBACK_INTERFACE|Loopback0 in CONFIG_DB is set")
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	c.fill(&c.Journal, "journal", net.JoinHostPort(host, strconv.Itoa(netmap.JournalPort)), "default")
	if _, _, err := net.SplitHostPort(c.Journal); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if c.Join && c.Anew {
		return fmt.Errorf("found-anew: a manager that is to join others founds nothing")
	}
	for _, f := range []struct {
		name, value string
		is6         bool
	}{{"segment", c.Segment, false}, {"segment6", c.Segment6, true}} {
		if f.value == "" {
			continue
		}
		p, err := netip.ParsePrefix(f.value)
		if err == nil && p.Addr().Is6() != f.is6 {
			err = fmt.Errorf("%s is of the other family", p)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	if c.Groot != off {
		at, err := netip.ParseAddrPort(c.Groot)
		if err == nil && (!at.Addr().IsLoopback() || at.Port() == 65535) {
			err = fmt.Errorf("%s: want a loopback address, and a port with one behind it for PUB", at)
		}
		if err != nil {
			return fmt.Errorf("groot: %w", err)
		}
	}
	if c.Record != "on" && c.Record != off {
		return fmt.Errorf("record: %q, want on or off", c.Record)
	}
	if c.Metrics != off {
		if err := daemon.CheckMetrics(c.Metrics); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}

// segments are the parsed Segment and Segment6; the zero prefix when there is none.
func (c *Config) segments() (segment, segment6 netip.Prefix) {
	segment, _ = netip.ParsePrefix(c.Segment) // checked
	segment6, _ = netip.ParsePrefix(c.Segment6)
	return segment, segment6
}

// Print writes the effective configuration, as -check shows it.
func (c *Config) Print(w io.Writer) {
	for _, f := range []struct{ name, value string }{
		{"node", c.Node}, {"listen", c.Listen}, {"journal", c.Journal}, {"segment", c.Segment}, {"segment6", c.Segment6}, {"pki", c.PKI}, {"dir", c.Dir}, {"tree", c.Tree},
		{"groot", c.Groot}, {"record", c.Record}, {"metrics", c.Metrics},
	} {
		from := c.from[f.name]
		if from == "" {
			from = "not set"
		}
		fmt.Fprintf(w, "%-8s %-28s %s\n", f.name, f.value, from)
	}
}
