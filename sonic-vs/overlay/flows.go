package overlay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// flowRules make a site's kernel count what leaves by UDP, by source port and destination.
const flowRules = `
table inet flows
delete table inet flows
table inet flows {
	set sent {
		type inet_service . ipv4_addr . inet_service
		flags dynamic
		size 65535
		counter
	}
	chain out {
		type filter hook output priority filter
		oifname "eth0" meta l4proto udp update @sent { udp sport . ip daddr . udp dport }
	}
}
`

// CountFlows begins to count what leaves a site.
func (b *Bed) CountFlows(site string) error {
	_, err := b.nft(site, flowRules, "-f", "-")
	return err
}

func (b *Bed) nft(site, input string, args ...string) ([]byte, error) {
	var out, said bytes.Buffer
	nft := exec.Command("nft", args...)
	nft.Stdin, nft.Stdout, nft.Stderr = strings.NewReader(input), &out, &said
	err := b.InNetns(site, nft.Run)
	if err != nil {
		return nil, fmt.Errorf("nft at %s: %w: %s", site, err, strings.TrimSpace(said.String()))
	}
	return out.Bytes(), nil
}

// flow is what goes from one port of a site to one port of another.
type flow struct {
	from uint16
	to   netip.AddrPort
}

// sent is how many packets an edge has sent, by flow.
func (b *Bed) sent(e *Edge) (map[flow]uint64, error) {
	text, err := b.nft(e.Site, "", "-j", "list", "set", "inet", "flows", "sent")
	if err != nil {
		return nil, err
	}
	ports, err := udpPorts(e.Pid)
	if err != nil {
		return nil, err
	}
	return parseFlows(text, ports)
}

// parseFlows reads what nft lists, for some source ports.
func parseFlows(text []byte, ports map[uint16]bool) (map[flow]uint64, error) {
	var list struct {
		Nftables []struct {
			Set struct {
				Elem []struct {
					Elem struct {
						Val     struct{ Concat []any }
						Counter struct{ Packets uint64 }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("flows: %w", err)
	}
	sent := map[flow]uint64{}
	for _, n := range list.Nftables {
		for _, e := range n.Set.Elem {
			c := e.Elem.Val.Concat
			if len(c) != 3 {
				continue
			}
			from, _ := c[0].(float64)
			text, _ := c[1].(string)
			port, _ := c[2].(float64)
			to, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("flows: %w", err)
			}
			if ports[uint16(from)] {
				sent[flow{uint16(from), netip.AddrPortFrom(to, uint16(port))}] = e.Elem.Counter.Packets
			}
		}
	}
	return sent, nil
}

// udpPorts are the local ports of a process: an edge of ours has a socket of its own for some peers.
func udpPorts(pid int) (map[uint16]bool, error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	fds, err := os.ReadDir(dir + "fd")
	if err != nil {
		return nil, fmt.Errorf("ports of process %d: %w", pid, err)
	}
	held := map[string]bool{}
	for _, fd := range fds {
		if link, err := os.Readlink(dir + "fd/" + fd.Name()); err == nil { // else it is closed by now
			if inode, ok := strings.CutPrefix(link, "socket:["); ok {
				held[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	ports := map[uint16]bool{}
	for _, table := range []string{"net/udp", "net/udp6"} {
		text, err := os.ReadFile(dir + table)
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("ports of process %d: %w", pid, err)
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 10 || !held[f[9]] {
				continue
			}
			_, port, _ := strings.Cut(f[1], ":")
			if n, err := strconv.ParseUint(port, 16, 16); err == nil {
				ports[uint16(n)] = true
			}
		}
	}
	return ports, nil
}

// Way is how traffic went.
type Way string

const (
	Direct Way = "direct"
	Relay  Way = "relay"
	Mixed  Way = "mixed"
)

// noTraffic is how many packets a flow may have of looking for a way: such go to many ports, or from many.
const noTraffic = 4

// wayOf says how what an edge sent between two looks went: straight to the other's site, or to supernodes.
func wayOf(before, after map[flow]uint64, to *Edge) Way {
	var direct, all uint64
	for f, n := range after {
		if n -= before[f]; n <= noTraffic {
			continue
		}
		all += n
		if a := f.to.Addr(); a == to.at.Public || a == to.at.Own {
			direct += n
		}
	}
	switch {
	case all == 0: // nothing went
		return Mixed
	case direct*10 >= all*9:
		return Direct
	case direct*10 <= all:
		return Relay
	}
	return Mixed
}

// AwaitDirect waits until pings both ways go straight, at most so long, and says how they go then.
func (b *Bed) AwaitDirect(ctx context.Context, left, right *Edge, limit time.Duration) (Way, error) {
	for began := time.Now(); ; {
		there, err := b.wayNow(ctx, left, right)
		if err != nil {
			return "", err
		}
		back, err := b.wayNow(ctx, right, left)
		if err != nil {
			return "", err
		}
		switch {
		case there == Direct && back == Direct:
			return Direct, nil
		case time.Since(began) < limit:
			time.Sleep(time.Second)
		case there == back:
			return there, nil
		default:
			return Mixed, nil
		}
	}
}

// wayNow says how an edge's pings go. Each way is counted where it begins, so an answer tells nothing of its question.
func (b *Bed) wayNow(ctx context.Context, from, to *Edge) (Way, error) {
	before, err := b.sent(from)
	if err != nil {
		return "", err
	}
	if _, err := b.Ping(ctx, from, to, 20, 10*time.Millisecond); err != nil {
		return "", err
	}
	after, err := b.sent(from)
	if err != nil {
		return "", err
	}
	return wayOf(before, after, to), nil
}
