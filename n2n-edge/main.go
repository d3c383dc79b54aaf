// N2n-edge joins a host to an N2N overlay: a TAP device through which it reaches the other edges of a community, wherever
// they are. It speaks ntop n2n v3 and runs on a switch as a feature and on any Linux host, there without Redis.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"

	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/n2n-edge/edge"
	"sonic-netservices/n2n-edge/edge/host"
	"sonic-netservices/n2n-edge/edge/tap"
	"sonic-netservices/n2n-edge/edge/udp"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "status" {
		if err := status(os.Args[2:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "n2n-edge status:", err)
			os.Exit(1)
		}
		return
	}
	flags := flag.NewFlagSet("n2n-edge", flag.ExitOnError)
	var cfg edge.Config
	cfg.Flags(flags)
	level := daemon.LogLevel(flags)
	file := flags.String("config", "", "`file` of settings, a line `name: value` for each")
	redis := flags.String("redis-root", "/", "folder below which run/redis of the switch is seen; empty: no Redis")
	check := flags.Bool("check", false, "check the configuration, print what is in effect, and exit")
	version := flags.Bool("version", false, "print the version and exit")
	_ = flags.Parse(os.Args[1:]) // ExitOnError
	if *version {
		fmt.Println("n2n-edge", daemon.Version())
		return
	}
	log := daemon.Logger(*level)
	ctx, stop := daemon.Context()
	defer stop()
	if err := run(ctx, &cfg, *file, *redis, *check, log); err != nil {
		log.Error("n2n-edge ends", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg *edge.Config, file, redis string, check bool, log *slog.Logger) error {
	if err := complete(ctx, cfg, file, redis); err != nil {
		return err
	}
	if check {
		cfg.Print(os.Stdout)
		return nil
	}
	id, err := edge.LoadIdentity(cfg)
	if err != nil {
		return err
	}
	sock, err := udp.Open(udp.Config{Port: uint16(cfg.Port), NoOffload: cfg.NoOffload})
	if err != nil {
		return err
	}
	device, err := tap.Open(tap.Config{Name: cfg.Device, MAC: id.MAC, MTU: cfg.MTU, NoOffload: cfg.NoOffload})
	if err != nil {
		return err
	}
	network, err := host.Watch(ctx, device.Name())
	if err != nil {
		return err
	}
	f := sock.Features()
	log.Info("n2n-edge", "version", daemon.Version(), "device", device.Name(), "mac", id.MAC, "port", sock.Port(),
		"tap_offload", device.Offload(), "gso", f.GSO, "gro", f.GRO, "ipv6", f.IPv6, "receive_buffer", f.ReceiveBuffer, "send_buffer", f.SendBuffer)
	open := func() (udp.Socket, error) { return udp.Open(udp.Config{NoOffload: cfg.NoOffload}) }
	return edge.Run(ctx, cfg, id, edge.Doors{Device: device, Socket: sock, Open: open, Host: network, Resolve: resolve}, log)
}

// complete reads the configuration, on a switch also that of CONFIG_DB.
func complete(ctx context.Context, cfg *edge.Config, file, redis string) error {
	if redis == "" {
		return cfg.Complete(ctx, nil, file)
	}
	dbs, err := sonicdb.Open(redis)
	if err != nil {
		slog.Debug("no Redis: not a switch", "err", err)
		return cfg.Complete(ctx, nil, file)
	}
	defer dbs.Close()
	db, _, err := dbs.Booted(ctx)
	if err != nil {
		return err
	}
	return cfg.Complete(ctx, db, file)
}

// resolve looks up a supernode. IPv4 comes first: that is what ntop's supernodes speak, and what NATs are before.
func resolve(ctx context.Context, name string) ([]netip.AddrPort, error) {
	hostname, port, err := net.SplitHostPort(name)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", hostname)
	if err != nil {
		return nil, err
	}
	var v4, v6 []netip.AddrPort
	for _, ip := range ips {
		if ip = ip.Unmap(); ip.Is4() {
			v4 = append(v4, netip.AddrPortFrom(ip, uint16(n)))
		} else {
			v6 = append(v6, netip.AddrPortFrom(ip, uint16(n)))
		}
	}
	return append(v4, v6...), nil
}
