package vswitch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"

	"github.com/spf13/cobra"
)

// Command is `sonic-vs switch`, the one child of a node's PID 1.
func Command() *cobra.Command {
	return &cobra.Command{
		Use:    "switch",
		Short:  "be a virtual switch, inside a node",
		Hidden: true, // started by `up`
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := os.ReadFile(ConfigFile)
			if err != nil {
				return err
			}
			cfg, err := ParseConfig(text)
			if err != nil {
				return fmt.Errorf("%s: %w", ConfigFile, err)
			}
			return Run(cmd.Context(), cfg)
		},
	}
}

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
