// Bt-manager decides where services run in an AS and has it done: it takes orders from operators, gives orders to the
// agents, one at a time per replica, and never forgets what it was doing.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"

	"sonic-netservices/bt-manager/serve"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/sonicdb"
)

func main() {
	flags := flag.NewFlagSet("bt-manager", flag.ExitOnError)
	var config serve.Config
	config.Flags(flags)
	level := daemon.LogLevel(flags)
	redis := flags.String("redis-root", "/", "folder below which run/redis of the switch is seen; empty: no Redis")
	check := flags.Bool("check", false, "check configuration and trees, print what is in effect, and exit")
	version := flags.Bool("version", false, "print the version and exit")
	_ = flags.Parse(os.Args[1:]) // ExitOnError
	if *version {
		fmt.Println("bt-manager", daemon.Version())
		return
	}
	daemon.Logger(*level)
	ctx, stop := daemon.Context()
	defer stop()
	if err := run(ctx, config, *redis, *check); err != nil {
		slog.Error("bt-manager ends", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, config serve.Config, redis string, check bool) error {
	dbs, db := open(ctx, redis)
	if dbs != nil {
		defer dbs.Close()
	}
	if err := config.Complete(ctx, db); err != nil {
		return err
	}
	if check {
		if err := config.CheckTrees(); err != nil {
			return err
		}
		config.Print(os.Stdout)
		return nil
	}
	return serve.Run(ctx, config, dbs)
}

// open connects to the switch's databases. Without them bt-manager serves all the same, when its flags say enough.
func open(ctx context.Context, root string) (*sonicdb.Set, *sonicdb.DB) {
	if root == "" {
		return nil, nil
	}
	dbs, err := sonicdb.Open(root)
	if err != nil {
		slog.Warn("no Redis: no rows are written", "err", err)
		return nil, nil
	}
	db, err := dbs.DB(ctx, "CONFIG_DB")
	if err != nil {
		slog.Warn("no CONFIG_DB: flags must suffice", "err", err)
	}
	return dbs, db
}
