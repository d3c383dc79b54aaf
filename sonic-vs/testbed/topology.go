package testbed

import (
	"net/netip"
	"slices"

	"sonic-netservices/sonic-vs/line"
)

// Topology is what a topology file says: switches, the links between them, and the clients behind their ports; and sites on an
// internet of their own, plain hosts, some behind a NAT box. A topology has switches, or sites, or both.
type Topology struct {
	Name    string       `json:"name"`
	AS      int          `json:"as"`
	Segment Segment      `json:"segment"`
	Nodes   []SwitchSpec `json:"nodes"`
	Links   []LinkSpec   `json:"links"`
	Clients []ClientSpec `json:"clients"`

	Internet netip.Prefix `json:"internet"` // the net that the sites' public addresses are in
	Sites    []SiteSpec   `json:"sites,omitempty"`
}

// Segment is the service network, the same on every switch.
type Segment struct {
	VNI      int          `json:"vni"`
	Gateway  netip.Prefix `json:"gateway"`  // the switches' own address in it and its length
	Gateway6 netip.Prefix `json:"gateway6"` // the same in IPv6; zero = none
	MTU      int          `json:"mtu"`
}

// SwitchSpec is one virtual switch.
type SwitchSpec struct {
	Name     string     `json:"name"`
	Loopback netip.Addr `json:"loopback"`
	Tier     string     `json:"tier"`
	Manager  bool       `json:"manager"`           // bt-manager runs here; exactly one
	NoCRIU   bool       `json:"no_criu,omitempty"` // it comes without CRIU, as SONiC does
}

// LinkSpec is a point-to-point link. Its A end has the even address of its /31.
type LinkSpec struct {
	A     PortRef `json:"a"`
	B     PortRef `json:"b"`
	Speed int     `json:"speed"` // Mbit/s, as the ports report it; nothing is slowed down to it

	Line line.Shape `json:"line,omitzero"` // what slows it down
}

// ClientSpec is a host in the service network, behind an access port.
type ClientSpec struct {
	Name     string     `json:"name"`
	Port     PortRef    `json:"port"`
	Address  netip.Addr `json:"address"`
	Address6 netip.Addr `json:"address6"` // zero = none
}

// SiteSpec is a host that has an address in the internet, or sits behind a NAT box that has it.
type SiteSpec struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"` // in the internet
	NAT     NAT        `json:"nat"`

	Line line.Shape `json:"line,omitzero"` // between site and internet
}

// PortRef names a front-panel port.
type PortRef struct {
	Node string `json:"node"`
	Port string `json:"port"` // EthernetN
}

func (p PortRef) String() string { return p.Node + ":" + p.Port }

const (
	defaultAS    = 65100 // the number SONiC's own configuration templates carry
	defaultSpeed = 10000 // Mbit/s
)

// linkNet is the net the /31 of the links are cut from, in the order of the file.
var linkNet = netip.MustParsePrefix("10.0.0.0/16")

// manager is the switch that runs bt-manager. The parser has seen to it that there is one.
func (t *Topology) manager() SwitchSpec {
	return t.Nodes[slices.IndexFunc(t.Nodes, func(n SwitchSpec) bool { return n.Manager })]
}

func (t *Topology) hasNode(name string) bool {
	return slices.ContainsFunc(t.Nodes, func(n SwitchSpec) bool { return n.Name == name })
}
