// N2n-supernode is where the edges of an N2N overlay meet: it registers them, tells them of each other, and passes on what
// they cannot send straight. It speaks ntop n2n v3, so ntop's edges and supernodes are as welcome as our own. It runs on a
// switch as a feature and on any Linux host, there without Redis.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/n2n-supernode/serve"
)

func main() {
	flags := flag.NewFlagSet("n2n-supernode", flag.ExitOnError)
	var config serve.Config
	config.Flags(flags)
	level := daemon.LogLevel(flags)
	file := flags.String("config", "", "`file` of settings, a line `name: value` for each")
	redis := flags.String("redis-root", "/", "folder below which run/redis of the switch is seen; empty: no Redis")
	check := flags.Bool("check", false, "check the configuration, print what is in effect, and exit")
	version := flags.Bool("version", false, "print the version and exit")
	_ = flags.Parse(os.Args[1:]) // ExitOnError
	if *version {
		fmt.Println("n2n-supernode", daemon.Version())
		return
	}
	debug.SetGCPercent(gcPercent)
	daemon.Logger(*level)
	ctx, stop := daemon.Context()
	defer stop()
	if err := run(ctx, &config, *file, *redis, *check); err != nil {
		slog.Error("n2n-supernode ends", "err", err)
		os.Exit(1)
	}
}

// gcPercent of garbage beside what is in use. Most of the memory are edges that stay, and packets make no garbage: little is collected
// anyway, and half of the usual 100 is a quarter less memory.
const gcPercent = 50

func run(ctx context.Context, config *serve.Config, file, redis string, check bool) error {
	dbs, db, err := open(ctx, redis, config)
	if err != nil {
		return err
	}
	if dbs != nil {
		defer dbs.Close()
	}
	if err := config.Complete(ctx, db, file); err != nil {
		return err
	}
	if check {
		config.Print(os.Stdout)
		return nil
	}
	return serve.Run(ctx, config, dbs)
}

// open connects to the switch's databases, if this is a switch.
func open(ctx context.Context, root string, config *serve.Config) (dbs *sonicdb.Set, db *sonicdb.DB, err error) {
	if root == "" {
		return nil, nil, nil
	}
	if dbs, err = sonicdb.Open(root); err != nil {
		slog.Debug("no Redis: not a switch", "err", err)
		return nil, nil, nil
	}
	db, config.Node, err = dbs.Booted(ctx)
	return dbs, db, err
}
