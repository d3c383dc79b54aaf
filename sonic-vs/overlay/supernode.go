package overlay

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-supernode/rendezvous"
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

// Counters gives what a supernode of ours counts under a name of its metrics, by label; "" is the label of what has none.
func (b *Bed) Counters(ctx context.Context, s *Supernode, name string) (map[string]uint64, error) {
	client := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			err = b.InNetns(s.Site, func() (err error) {
				conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
				return err
			})
			return conn, err
		}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+MetricsAt+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	return parseCounters(string(text), name)
}

var metric = regexp.MustCompile(`^(\w+)(?:\{\w+="([^"]*)"\})? (\S+)$`)

// parseCounters reads the metrics of one name, which have one label at most.
func parseCounters(text, name string) (map[string]uint64, error) {
	found := map[string]uint64{}
	for line := range strings.Lines(text) {
		m := metric.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || m[1] != name {
			continue
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, fmt.Errorf("metric %s: %w", name, err)
		}
		found[m[2]] = uint64(v)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no metric %s", name)
	}
	return found, nil
}

// Kept is the state that a supernode of ours has on disk: everything that it would still know after a crash.
func (b *Bed) Kept(s *Supernode) (state rendezvous.State, err error) {
	site, err := b.Site(s.Site)
	if err != nil {
		return state, err
	}
	text, err := os.ReadFile(filepath.Join(site.Dir, "supernode", "state.json"))
	if err != nil {
		return state, err
	}
	return state, json.Unmarshal(text, &state)
}
