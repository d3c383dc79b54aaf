package overlay

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sonic-netservices/internal/n2n"
)

// Supernode is one that runs.
type Supernode struct {
	*Process
	Maker Maker
	Addr  netip.AddrPort
}

// SupernodeOptions say which one is wanted.
type SupernodeOptions struct {
	Site        string
	Maker       Maker
	Communities []Community // none: whoever comes, and no passwords
	Peers       []Supernode // federated with it, by the default federation
	Extra       []string    // arguments
	Keep        bool        // our registrations of before are found again
}

// MetricsAt is where our supernodes show their counters, in their site's network.
const MetricsAt = "127.0.0.1:9651"

// StartSupernode runs a supernode at a site.
func (b *Bed) StartSupernode(o SupernodeOptions) (*Supernode, error) {
	site, err := b.Site(o.Site)
	if err != nil {
		return nil, err
	}
	list := ""
	if len(o.Communities) > 0 {
		var text strings.Builder
		for _, c := range o.Communities {
			lines, err := c.lines()
			if err != nil {
				return nil, err
			}
			text.WriteString(lines)
		}
		list = filepath.Join(b.Logs, "communities-"+o.Site)
		if err := os.WriteFile(list, []byte(text.String()), 0o644); err != nil {
			return nil, err
		}
	}
	mac := n2n.MAC(append([]byte{0x02, 0xff}, site.Public.AsSlice()...)).String()
	var args []string
	program := filepath.Join(b.Ours, "n2n-supernode")
	if o.Maker == Ntop {
		program = filepath.Join(b.Ntop, "supernode")
		args = []string{"-f", "-p", strconv.Itoa(port), "-m", mac}
		if list != "" {
			args = append(args, "-c", list)
		}
		for _, p := range o.Peers {
			args = append(args, "-l", p.Addr.String())
		}
	} else {
		dir := filepath.Join(site.Dir, "supernode")
		if !o.Keep {
			if err := os.RemoveAll(dir); err != nil {
				return nil, err
			}
		}
		args = []string{"-redis-root", "", "-listen", ":" + strconv.Itoa(port), "-mac", mac, "-dir", dir, "-manage", "none", "-metrics", MetricsAt}
		if list != "" {
			args = append(args, "-communities", list)
		}
		if len(o.Peers) > 0 {
			var addrs []string
			for _, p := range o.Peers {
				addrs = append(addrs, p.Addr.String())
			}
			args = append(args, "-peers", strings.Join(addrs, ","))
		}
	}
	s := &Supernode{Maker: o.Maker, Addr: netip.AddrPortFrom(site.Public, port)}
	s.Process, err = b.start(o.Site, fmt.Sprintf("supernode-%s-%s", o.Site, o.Maker), program, append(args, o.Extra...)...)
	return s, err
}
