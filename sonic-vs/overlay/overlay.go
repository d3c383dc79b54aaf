// Package overlay runs N2N overlays on the sites of a test bed: supernodes and edges, ours and ntop's, started alike, so that a
// scenario says who they are and not how each is told.
//
// It starts programs of out/bin and out/ntop in the sites' network namespaces, keeps their logs, and looks at what they do from
// outside: pings, transfers, and the flows that leave a site. It is told by package scenario and package bench.
package overlay

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/sonic-vs/testbed"
)

// Maker says whose program is meant.
type Maker string

const (
	Ours Maker = "ours"
	Ntop Maker = "ntop"
)

// Mode is how an overlay is closed.
type Mode string

const (
	Plain     Mode = "plain"
	Encrypted Mode = "encrypted header"
	Login     Mode = "user/password"
)

// port is where supernodes listen.
const port = 7654

// Bed is where overlays run.
type Bed struct {
	*testbed.Testbed
	Ours string // folder of n2n-edge and n2n-supernode
	Ntop string // folder of edge and supernode
	Logs string // folder
}

// New checks that the programs are there.
func New(t *testbed.Testbed, repo, logs string) (*Bed, error) {
	b := &Bed{Testbed: t, Ours: filepath.Join(repo, "out/bin"), Ntop: filepath.Join(repo, "out/ntop"), Logs: logs}
	for _, program := range []string{filepath.Join(b.Ours, "n2n-edge"), filepath.Join(b.Ours, "n2n-supernode"), filepath.Join(b.Ntop, "edge"), filepath.Join(b.Ntop, "supernode")} {
		if _, err := os.Stat(program); err != nil {
			return nil, fmt.Errorf("%w: make build makes it, and build/ntop.sh fetches ntop's", err)
		}
	}
	return b, os.MkdirAll(logs, 0o755)
}

// Community is one overlay: what all its edges and supernodes have to agree on.
type Community struct {
	Name      string
	Mode      Mode
	Transform n2n.TransformID
	Net       netip.Prefix
}

// key of the payloads; ntop's edges take none where nothing is encrypted.
const key = "correct horse battery"

func (c Community) address(host int) netip.Prefix {
	ip := c.Net.Addr().As4()
	ip[3] = byte(host)
	return netip.PrefixFrom(netip.AddrFrom4(ip), c.Net.Bits())
}

// users of communities with passwords.
func user(host int) (name, password string) {
	return fmt.Sprintf("user%d", host), fmt.Sprintf("secret of %d", host)
}

// hosts are the numbers that edges of a community may have: their addresses end in them.
var hosts = []int{1, 2}

// lines are those of a community file, the same for both makers.
func (c Community) lines() (string, error) {
	text := c.Name + "\n"
	if c.Mode != Login {
		return text, nil
	}
	for _, h := range hosts {
		name, password := user(h)
		public, err := n2n.UserKey(name, password).Public()
		if err != nil {
			return "", err
		}
		text += fmt.Sprintf("* %s %s\n", name, public)
	}
	return text, nil
}
