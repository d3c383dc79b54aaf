// Resource-sync runs on every switch: it brings this switch's rows of resour_DB to all others and theirs to this one,
// judges who is alive, and probes the services that run here.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/managers"
	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/netmap"
	"sonic-netservices/resource-sync/replica"
	"sonic-netservices/resourdb"
)

func main() {
	flags := flag.NewFlagSet("resource-sync", flag.ExitOnError)
	cfg := replica.Config{Version: daemon.Version(), Kernel: kernel()}
	level := daemon.LogLevel(flags)
	root := flags.String("root", "/", "where database_config.json and the redis socket are looked up")
	check := flags.Bool("check", false, "print the effective configuration and exit")
	version := flags.Bool("version", false, "print the version and exit")
	flags.StringVar(&cfg.PKI, "pki", netmap.PKIDir, "folder of node.crt, node.key, ca.crt")
	flags.DurationVar(&cfg.Fast, "push-fast", time.Second, "push at least this often while things change")
	flags.DurationVar(&cfg.Slow, "push-slow", 1500*time.Millisecond, "push at least this often when nothing does; the greatest age of a small change elsewhere")
	flags.DurationVar(&cfg.Dead, "dead-after", 10*time.Second, "a node silent for longer counts as lost")
	_ = flags.Parse(os.Args[1:]) // ExitOnError
	if *version {
		fmt.Println("resource-sync", daemon.Version())
		return
	}
	log := daemon.Logger(*level)
	ctx, stop := daemon.Context()
	defer stop()
	if err := run(ctx, cfg, *root, *check, log); err != nil {
		log.Error("resource-sync ends", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg replica.Config, root string, check bool, log *slog.Logger) error {
	switch {
	case cfg.Fast <= 0 || cfg.Slow < cfg.Fast:
		return errors.New("want 0 < push-fast <= push-slow")
	case cfg.Dead < 3*cfg.Slow:
		return errors.New("dead-after: want at least three times push-slow")
	}
	dbs, err := sonicdb.Open(root)
	if err != nil {
		return err
	}
	defer dbs.Close()
	for said := ""; ; { // at boot we may be up before the configuration
		err := readConfig(ctx, dbs, &cfg)
		if err == nil {
			break
		}
		if err.Error() != said {
			log.Warn("waiting for the configuration", "err", err)
			said = err.Error()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
	if check {
		fmt.Printf("%+v\n", cfg)
		return nil
	}
	db, err := resourdb.Open(ctx, dbs)
	if err != nil {
		return err
	}
	return replica.Run(ctx, cfg, db, log)
}

// readConfig fills in what CONFIG_DB says.
func readConfig(ctx context.Context, dbs *sonicdb.Set, cfg *replica.Config) error {
	db, err := dbs.DB(ctx, "CONFIG_DB")
	if err != nil {
		return err
	}
	rows, err := db.Rows(ctx, db.Key("DEVICE_METADATA", "localhost"), db.Key("NETSERVICES", "global"))
	if err != nil {
		return err
	}
	meta, global := rows[db.Key("DEVICE_METADATA", "localhost")], rows[db.Key("NETSERVICES", "global")]
	cfg.Node, cfg.MAC, cfg.Tier = meta["hostname"], meta["mac"], global["tier"]
	as := global["as"]
	if as == "" {
		as = meta["bgp_asn"]
	}
	if n, err := strconv.ParseUint(as, 10, 32); err == nil {
		cfg.AS = uint32(n)
	}
	prefix := db.Key("LOOPBACK_INTERFACE", "Loopback0", "")
	keys, err := db.Scan(ctx, prefix+"*")
	if err != nil {
		return err
	}
	for _, key := range keys {
		if p, err := netip.ParsePrefix(strings.TrimPrefix(key, prefix)); err == nil && p.Addr().Is4() {
			cfg.Addr = p.Addr().String()
		}
	}
	switch {
	case cfg.Node == "":
		return errors.New("CONFIG_DB: DEVICE_METADATA|localhost hostname is missing")
	case cfg.Addr == "":
		return errors.New("CONFIG_DB: an IPv4 address of LOOPBACK_INTERFACE|Loopback0 is missing")
	}
	if cfg.Seeds, err = parseSeeds(global); err != nil {
		return fmt.Errorf("CONFIG_DB: NETSERVICES|global %w", err)
	}
	return nil
}

// parseSeeds reads NETSERVICES|global seeds, NODE@ADDRESS joined by commas. Without it the managers' nodes are the seeds.
func parseSeeds(global map[string]string) ([]replica.Seed, error) {
	text := global["seeds"]
	if text == "" {
		all, err := managers.Parse(global["manager_node"], global["manager"])
		if err != nil {
			return nil, err
		}
		if len(all) == 0 {
			return nil, errors.New("has neither seeds nor manager and manager_node")
		}
		var list []string
		for _, one := range all {
			host, _, _ := strings.Cut(one.Addr, ":")
			list = append(list, one.Node+"@"+host)
		}
		text = strings.Join(list, ",")
	}
	var seeds []replica.Seed
	for _, one := range strings.Split(text, ",") {
		name, addr, ok := strings.Cut(one, "@")
		if _, err := netip.ParseAddr(addr); !ok || name == "" || err != nil {
			return nil, fmt.Errorf("seeds: %q: want NODE@ADDRESS", one)
		}
		seeds = append(seeds, replica.Seed{Name: name, Addr: addr})
	}
	return seeds, nil
}

func kernel() string {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return ""
	}
	return unix.ByteSliceToString(uts.Release[:])
}
