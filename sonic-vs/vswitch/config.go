package vswitch

// Config is what one virtual switch is told about itself: sonic-vs on the host writes it to ConfigFile in the node's
// root before the node's first process starts, the switch daemon reads it once.
type Config struct {
	Instance string `json:"instance"` // testbed instance, only for messages
	Name     string `json:"name"`     // hostname, DEVICE_METADATA|localhost hostname
	AS       int    `json:"as"`       // DEVICE_METADATA bgp_asn
	MAC      string `json:"mac"`      // DEVICE_METADATA mac
	Tier     string `json:"tier"`     // core, edge, access, cloud
	Loopback string `json:"loopback"` // address of Loopback0, a /32 without the length
	Manager  string `json:"manager"`  // host:port of bt-manager
	// ManagerNode is the name of the node bt-manager runs on: its certificate's name, NETSERVICES|global manager_node.
	ManagerNode string  `json:"manager_node"`
	Ports       []Port  `json:"ports"` // sorted by index
	Segment     Segment `json:"segment"`
	Routes      []Route `json:"routes"` // static, to the loopbacks of the other nodes; the nearest by hops

	// Restart rules for features, systemd's on a switch: 30 s, 3 starts in 1200 s.
	RestartSec      float64 `json:"restart_sec"`
	StartLimitBurst int     `json:"start_limit_burst"`
	StartLimitSec   float64 `json:"start_limit_sec"`
}

// Port is one front-panel port: a veth end of this name in the node's network namespace, put there by sonic-vs on the host.
type Port struct {
	Name    string `json:"name"`    // EthernetN
	Address string `json:"address"` // "10.0.0.0/31"; "" for an access port
	Speed   int    `json:"speed"`   // Mbit/s
	Access  bool   `json:"access"`  // a client hangs here: the port joins the service segment
}

// Segment is the service network as CONFIG_DB NETSERVICES|segment tells mig-agent.
type Segment struct {
	VNI     int    `json:"vni"`
	Gateway string `json:"gateway"` // prefix
	MTU     int    `json:"mtu"`
}

// Route is one static route.
type Route struct {
	Prefix  string `json:"prefix"`
	NextHop string `json:"nexthop"`
	Port    string `json:"port"`
}

// ConfigFile is the path of Config (JSON) in the node's root.
const ConfigFile = "/etc/sonic-vs.json"
