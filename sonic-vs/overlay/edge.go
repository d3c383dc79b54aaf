package overlay

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/sonic-vs/testbed"
)

// Edge is one that runs.
type Edge struct {
	*Process
	Maker   Maker
	Address netip.Addr // in the overlay
	Port    uint16     // of UDP, in its site
	Device  string
	MAC     n2n.MAC

	at     testbed.Site
	socket string // of our status
}

// Public is where others see its site.
func (e *Edge) Public() netip.Addr { return e.at.Public }

// EdgeOptions say which one is wanted. Edges of several communities can be at one site.
type EdgeOptions struct {
	Site      string
	Maker     Maker
	Community Community
	Supernode *Supernode
	Host      int      // its number in the community, from 1
	Number    int      // of the community, from 0: ports, MACs and devices follow from it
	Extra     []string // arguments
	Keep      bool     // our token of before is found again
}

// StartEdge runs an edge at a site.
func (b *Bed) StartEdge(o EdgeOptions) (*Edge, error) {
	site, err := b.Site(o.Site)
	if err != nil {
		return nil, err
	}
	address := o.Community.address(o.Host)
	e := &Edge{Maker: o.Maker, Address: address.Addr(), Port: uint16(20_000 + 10*o.Number + o.Host), Device: fmt.Sprintf("n2n%d", o.Number),
		MAC: n2n.MAC{0x02, 0x4e, 0, byte(o.Number >> 8), byte(o.Number), byte(o.Host)}, at: site}
	if o.Host == 0 || o.Number > 4000 {
		return nil, fmt.Errorf("edge %d of community %d", o.Host, o.Number)
	}
	c := o.Community
	name, password := user(o.Host)
	var args []string
	program := filepath.Join(b.Ours, "n2n-edge")
	if o.Maker == Ntop {
		program = filepath.Join(b.Ntop, "edge")
		args = []string{"-f", "-c", c.Name, "-l", o.Supernode.Addr.String(), "-a", "static:" + address.String(), "-m", e.MAC.String(), "-d", e.Device,
			"-p", strconv.Itoa(int(e.Port)), "-t", strconv.Itoa(int(e.Port)), "-I", name, fmt.Sprintf("-A%d", c.Transform)}
		if c.Transform != n2n.TransformNull {
			args = append(args, "-k", key)
		}
		if c.Mode != Plain {
			args = append(args, "-H")
		}
		if c.Mode == Login {
			args = append(args, "-J", password)
		}
	} else {
		dir := filepath.Join(site.Dir, fmt.Sprintf("edge%d", o.Number))
		if !o.Keep {
			if err := os.RemoveAll(dir); err != nil {
				return nil, err
			}
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		e.socket = filepath.Join(dir, "status.sock")
		args = []string{"-redis-root", "", "-community", c.Name, "-supernodes", o.Supernode.Addr.String(), "-address", address.String(), "-mac", e.MAC.String(),
			"-device", e.Device, "-port", strconv.Itoa(int(e.Port)), "-description", name, "-transform", c.Transform.String(), "-state", dir, "-status", e.socket, "-metrics", "none"}
		if c.Transform != n2n.TransformNull {
			args = append(args, "-key", key)
		}
		if c.Mode == Encrypted {
			args = append(args, "-header-encryption")
		}
		if c.Mode == Login {
			args = append(args, "-user", name, "-password", password)
		}
	}
	e.Process, err = b.start(o.Site, fmt.Sprintf("edge-%s-%s", c.Name, o.Site), program, append(args, o.Extra...)...)
	return e, err
}

// Status is what one of our edges says of itself, as n2n-edge status --json prints it; of that what scenarios look at.
type Status struct {
	Peering struct {
		Registered bool   `json:"registered"`
		NAT        string `json:"nat"`
		Refused    string `json:"refused"`
		Supernode  string `json:"supernode"`
		Public     string `json:"public"`
		Address    string `json:"address"`
		Peers      []Peer
	} `json:"peering"`
	Drops map[string]uint64 `json:"drops"`
}

// Peer is what it says of another edge.
type Peer struct {
	MAC     string `json:"mac"`
	Address string `json:"address"`
	Desc    string `json:"desc"`
	Path    string `json:"path"`
	Addr    string `json:"addr"`
	Why     string `json:"why"`
	NAT     string `json:"nat"`
}

// Ask asks an edge of ours for its status.
func (e *Edge) Ask(ctx context.Context) (s Status, err error) {
	client := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", e.socket)
		}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://edge/status", nil)
	if err != nil {
		return s, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return s, err
	}
	defer answer.Body.Close()
	return s, json.NewDecoder(answer.Body).Decode(&s)
}
