package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/image"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/netmap"
)

const (
	cutTime  = 8 * time.Second // longer than a client waits
	flapTime = 200 * time.Millisecond
	offTime  = 2 * time.Second
)

// setLiveRestore changes daemon.json and has dockerd read it again, as an operator would.
func (s *stage) setLiveRestore(ctx context.Context, n *node, dockerd []int, on bool) error {
	info, err := n.docker.Info(ctx)
	if err != nil || info.LiveRestoreEnabled == on {
		return err
	}
	path := n.Path("/etc/docker/daemon.json")
	config := map[string]any{}
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &config)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, err)
	}
	config["live-restore"] = on
	if text, err = json.Marshal(config); err != nil {
		return err
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	for _, pid := range dockerd {
		if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
			return fmt.Errorf("reload dockerd: %w", err)
		}
	}
	for {
		if info, err = n.docker.Info(ctx); err == nil && info.LiveRestoreEnabled == on {
			return nil
		}
		if pause(ctx) != nil {
			return fmt.Errorf("dockerd of %s does not take over live-restore: %w", n.Name, err)
		}
	}
}

// cutLink lets the direct link between two nodes lose everything, without a sign of it at either end, so many times.
func (s *stage) cutLink(from, to string, length time.Duration, times int) strike {
	ends := s.ends(from, to)
	cut := func(lose bool) error {
		var all error
		for node, port := range ends {
			all = errors.Join(all, s.losePackets(node, lose, port))
		}
		return all
	}
	return strike{
		hit: func(context.Context) error { return cut(true) },
		after: func(ctx context.Context) error {
			wait(ctx, length)
			err := cut(false)
			for range times - 1 {
				wait(ctx, length)
				err = errors.Join(err, cut(true))
				wait(ctx, length)
				err = errors.Join(err, cut(false))
			}
			return err
		},
	}
}

// ends are the ports of the direct link between two nodes, by node.
func (s *stage) ends(a, b string) map[string]string {
	for _, l := range s.suite.Bed.Topology.Links {
		if ends := map[string]string{l.A.Node: l.A.Port, l.B.Node: l.B.Port}; ends[a] != "" && ends[b] != "" {
			return ends
		}
	}
	panic("no link " + a + " - " + b) // the topology of the scenarios has it
}

// losePackets drops whatever comes in by some ports, or no longer.
func (s *stage) losePackets(node string, lose bool, ports ...string) error {
	return s.suite.Bed.InNetns(node, func() error {
		nft, err := nftables.New()
		if err != nil {
			return err
		}
		table := &nftables.Table{Name: "chaos", Family: nftables.TableFamilyIPv4}
		nft.AddTable(table)
		nft.FlushTable(table)
		if lose {
			chain := nft.AddChain(&nftables.Chain{Name: "in", Table: table, Type: nftables.ChainTypeFilter,
				Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw})
			for _, port := range ports {
				name := make([]byte, unix.IFNAMSIZ)
				copy(name, port)
				nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
					&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
					&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
					&expr.Verdict{Kind: expr.VerdictDrop},
				}})
			}
		} else {
			nft.DelTable(table)
		}
		if err := nft.Flush(); err != nil {
			return fmt.Errorf("%s: lose packets of %v: %w", node, ports, err)
		}
		return nil
	})
}

// diskSize is room for the volume of the service before the move.
const diskSize = "8m"

// fillDisk gives the node a small disk for volumes, and fills it at the step. What is still to be sent must not fit into
// the last page of a file: the volume grows by more.
func (s *stage) fillDisk(from, to string) strike {
	at := netmap.VolumesDir
	full := func() string { return s.node(to).Path(filepath.Join(at, "full")) }
	more := filepath.Join(s.suite.Volume(s.node(from).Node, replica, volume), "more")
	return strike{
		before: func(ctx context.Context) error {
			script := fmt.Sprintf("mkdir -p %[2]s && mount -t tmpfs -o size=%[1]s small %[2]s && mkdir -p %[2]s/%[3]s/%[4]s", diskSize, at, replica, volume)
			return s.in(ctx, to, script)
		},
		hit: func(context.Context) error {
			f, err := os.Create(full())
			if err != nil {
				return err
			}
			defer f.Close()
			for piece := make([]byte, 4096); err == nil; {
				_, err = f.Write(piece)
			}
			if !errors.Is(err, syscall.ENOSPC) {
				return err
			}
			return os.WriteFile(more, bytes.Repeat([]byte("more"), 1<<18), 0o644) // no holes, which need no room
		},
		end: func(ctx context.Context) error {
			for _, path := range []string{full(), more} {
				if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
			owner, _, err := s.settle(ctx) // a target that takes itself back may still have a container
			if err != nil {
				return err
			}
			if owner == to { // it must not live there
				if err := s.move(ctx, from); err != nil {
					return fmt.Errorf("leave the small disk: %w", err)
				}
			}
			return s.in(ctx, to, "umount "+at)
		},
	}
}

// takeMemory leaves the services of a node a page or two more than they have now.
func (s *stage) takeMemory(node string) strike {
	var file, before string
	return strike{
		before: func(context.Context) error {
			n := s.node(node)
			file = filepath.Join(n.Cgroups["memory"], engine.CgroupParent, "memory.limit_in_bytes")
			if n.Cgroups["memory"] == "" {
				file = filepath.Join(n.Cgroups[""], engine.CgroupParent, "memory.max")
			}
			text, err := os.ReadFile(file)
			before = strings.TrimSpace(string(text))
			return err
		},
		hit: func(context.Context) error {
			used := strings.NewReplacer("limit", "usage", "memory.max", "memory.current").Replace(file)
			text, err := os.ReadFile(used)
			if err != nil {
				return err
			}
			now, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err != nil {
				return err
			}
			return os.WriteFile(file, []byte(strconv.FormatInt(now+64<<10, 10)), 0o644)
		},
		end: func(context.Context) error { return os.WriteFile(file, []byte(before), 0o644) },
	}
}

// deleteImage takes the service's image from a node.
func (s *stage) deleteImage(node string) strike {
	return strike{hit: func(ctx context.Context) error {
		n := s.node(node)
		c, err := s.node(other(node)).docker.ContainerInspect(ctx, replica)
		if err != nil {
			return err
		}
		_, err = n.docker.ImageRemove(ctx, c.Image, image.RemoveOptions{Force: true})
		if err != nil {
			return fmt.Errorf("%w: %w", errMissed, err)
		}
		return nil
	}}
}

// cyclePower switches a node off and, a moment later, on again.
func (s *stage) cyclePower(node string) strike {
	return strike{
		hit: func(context.Context) error { return s.powerOff(s.node(node)) },
		after: func(ctx context.Context) error {
			wait(ctx, offTime)
			return s.repair(ctx)
		},
	}
}

// in runs a shell script inside a node.
func (s *stage) in(ctx context.Context, node, script string) error {
	if out, err := s.suite.Bed.Exec(ctx, node, "sh", "-ec", script).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %s: %w\n%s", node, script, err, out)
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
