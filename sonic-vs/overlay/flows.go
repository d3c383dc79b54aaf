package overlay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
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

// Sent is how many packets an edge has sent, by the address they went to.
func (b *Bed) Sent(e *Edge) (map[netip.Addr]uint64, error) {
	text, err := b.nft(e.Site, "", "-j", "list", "set", "inet", "flows", "sent")
	if err != nil {
		return nil, err
	}
	return parseFlows(text, e.Port)
}

// parseFlows reads what nft lists, for one source port.
func parseFlows(text []byte, port uint16) (map[netip.Addr]uint64, error) {
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
	sent := map[netip.Addr]uint64{}
	for _, n := range list.Nftables {
		for _, e := range n.Set.Elem {
			c := e.Elem.Val.Concat
			if len(c) != 3 || c[0] != float64(port) {
				continue
			}
			text, _ := c[1].(string)
			to, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("flows: %w", err)
			}
			sent[to] += e.Elem.Counter.Packets
		}
	}
	return sent, nil
}

// Way is how traffic went.
type Way string

const (
	Direct Way = "direct"
	Relay  Way = "relay"
	Mixed  Way = "mixed"
)

// WayOf says how what an edge sent between two looks went: straight to the other's site, or to supernodes.
func WayOf(before, after map[netip.Addr]uint64, to *Edge) Way {
	var direct, all uint64
	for addr, n := range after {
		n -= before[addr]
		all += n
		if addr == to.at.Public || addr == to.at.Own {
			direct += n
		}
	}
	switch {
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
	before, err := b.Sent(from)
	if err != nil {
		return "", err
	}
	if _, err := b.Ping(ctx, from, to, 20, 10*time.Millisecond); err != nil {
		return "", err
	}
	after, err := b.Sent(from)
	if err != nil {
		return "", err
	}
	return WayOf(before, after, to), nil
}
