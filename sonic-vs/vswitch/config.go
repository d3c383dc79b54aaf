package vswitch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
)

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
	VNI      int    `json:"vni"`
	Gateway  string `json:"gateway"`            // prefix
	Gateway6 string `json:"gateway6,omitempty"` // prefix; "" = none
	MTU      int    `json:"mtu"`
}

// Route is one static route.
type Route struct {
	Prefix  string `json:"prefix"`
	NextHop string `json:"nexthop"`
	Port    string `json:"port"`
}

// ConfigFile is the path of Config (JSON) in the node's root.
const ConfigFile = "/etc/sonic-vs.json"

var portName = regexp.MustCompile(`^Ethernet(0|[1-9][0-9]{0,3})$`)

// ParseConfig reads and checks a Config. An error names the field.
func ParseConfig(text []byte) (Config, error) {
	var c Config
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Config{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Config{}, errors.New("text after the configuration")
	}
	if err := c.check(); err != nil {
		return Config{}, err
	}
	return c, nil
}

func (c Config) check() error {
	field := func(name string, err error) error { return fmt.Errorf("%s: %w", name, err) }
	if c.Name == "" {
		return field("name", errors.New("is required"))
	}
	if _, err := net.ParseMAC(c.MAC); err != nil {
		return field("mac", err)
	}
	if _, err := netip.ParseAddr(c.Loopback); err != nil {
		return field("loopback", err)
	}
	if _, err := netip.ParsePrefix(c.Segment.Gateway); err != nil {
		return field("segment.gateway", err)
	}
	if c.Segment.Gateway6 != "" {
		if _, err := netip.ParsePrefix(c.Segment.Gateway6); err != nil {
			return field("segment.gateway6", err)
		}
	}
	for i, p := range c.Ports {
		at := fmt.Sprintf("ports[%d]", i)
		if !portName.MatchString(p.Name) {
			return field(at+".name", fmt.Errorf("%q is not EthernetN", p.Name))
		}
		if p.Address == "" {
			continue
		}
		if _, err := netip.ParsePrefix(p.Address); err != nil {
			return field(at+".address", err)
		}
	}
	for i, r := range c.Routes {
		at := fmt.Sprintf("routes[%d]", i)
		if _, err := netip.ParsePrefix(r.Prefix); err != nil {
			return field(at+".prefix", err)
		}
		if _, err := netip.ParseAddr(r.NextHop); err != nil {
			return field(at+".nexthop", err)
		}
	}
	switch {
	case c.RestartSec < 0:
		return field("restart_sec", errors.New("is negative"))
	case c.StartLimitBurst < 1:
		return field("start_limit_burst", errors.New("want at least 1"))
	case c.StartLimitSec <= 0:
		return field("start_limit_sec", errors.New("want more than 0"))
	}
	return nil
}
