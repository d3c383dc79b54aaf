package testbed

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
)

// NAT is how a site's box lets its host out and others in (RFC 4787).
type NAT string

const (
	Open       NAT = "open"       // there is none
	FullCone   NAT = "full-cone"  // one port for all, and everyone may send to it
	Restricted NAT = "restricted" // one port for all, and only who was sent to may answer, from the same port
	Symmetric  NAT = "symmetric"  // another port for each that is sent to, and only they may answer
)

// NATs are all kinds.
func NATs() []NAT { return []NAT{Open, FullCone, Restricted, Symmetric} }

// What is behind a NAT box is the same at every site, as at people's homes.
var (
	lanNet  = netip.MustParsePrefix("192.168.1.0/24")
	lanBox  = netip.MustParsePrefix("192.168.1.1/24")
	lanHost = netip.MustParsePrefix("192.168.1.2/24")
)

// Interfaces of a NAT box.
const (
	lanPort = "lan"
	wanPort = "wan"
)

// rules of a NAT box, for nft. New flows from outside must not even reach the box itself: the entry that such a packet leaves
// in the table of connections would take the port that the host's own flow is to have, and move that to another.
func (n NAT) rules() string {
	masquerade := "masquerade"
	if n == Symmetric {
		masquerade = "masquerade fully-random"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `flush ruleset
table ip nat {
	chain postrouting {
		type nat hook postrouting priority srcnat
		ip saddr %s oifname %q %s
	}
`, lanNet, wanPort, masquerade)
	if n == FullCone {
		fmt.Fprintf(&b, `	chain prerouting {
		type nat hook prerouting priority dstnat
		iifname %q meta l4proto udp udp dport 1024-65535 dnat to %s
	}
}
`, wanPort, lanHost.Addr())
		return b.String()
	}
	fmt.Fprintf(&b, `}
table ip filter {
	chain input {
		type filter hook input priority filter
		iifname %q ct state new drop
	}
	chain forward {
		type filter hook forward priority filter
		iifname %q ct state new drop
	}
}
`, wanPort, wanPort)
	return b.String()
}

// translate makes this thread's network namespace a NAT box.
func (n NAT) translate() error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return err
	}
	nft := exec.Command("nft", "-f", "-") // forked from this thread, into its namespace
	nft.Stdin = strings.NewReader(n.rules())
	if out, err := nft.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}
