// Syncd-plugin runs on every switch and writes each second what the switch has and uses to resour_DB.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"time"

	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/syncd-plugin/hardware"
)

func main() {
	flags := flag.NewFlagSet("syncd-plugin", flag.ExitOnError)
	var cfg hardware.Config
	level := daemon.LogLevel(flags)
	root := flags.String("root", "/", "where database_config.json and the redis socket are looked up")
	check := flags.Bool("check", false, "print the effective configuration and exit")
	version := flags.Bool("version", false, "print the version and exit")
	flags.StringVar(&cfg.Host.Root, "host", "/host", "where the host's sys/fs/cgroup, proc and netservices are mounted")
	flags.DurationVar(&cfg.Every, "every", time.Second, "between two readings; longer ones hide short loads from the manager")
	_ = flags.Parse(os.Args[1:]) // ExitOnError
	if *version {
		fmt.Println("syncd-plugin", daemon.Version())
		return
	}
	log := daemon.Logger(*level)
	ctx, stop := daemon.Context()
	defer stop()
	if err := run(ctx, cfg, *root, *check, log); err != nil {
		log.Error("syncd-plugin ends", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg hardware.Config, root string, check bool, log *slog.Logger) error {
	if cfg.Every < 100*time.Millisecond || cfg.Every > 5*time.Second {
		return fmt.Errorf("every: %v: want 100ms to 5s", cfg.Every)
	}
	dbs, err := sonicdb.Open(root)
	if err != nil {
		return err
	}
	defer dbs.Close()
	for said := ""; cfg.Node == ""; { // at boot we may be up before the configuration
		if cfg.Node, err = hostname(ctx, dbs); err == nil {
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
	return hardware.Run(ctx, cfg, dbs, log)
}

func hostname(ctx context.Context, dbs *sonicdb.Set) (string, error) {
	db, err := dbs.DB(ctx, "CONFIG_DB")
	if err != nil {
		return "", err
	}
	row, err := db.HGetAll(ctx, db.Key("DEVICE_METADATA", "localhost"))
	if err == nil && row["hostname"] == "" {
		err = fmt.Errorf("CONFIG_DB: DEVICE_METADATA|localhost hostname is missing")
	}
	return row["hostname"], err
}
