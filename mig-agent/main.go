// mig-agent runs on every switch: it deploys, moves and removes the replicas of services on this node.
//
// One binary, one image, several lives, told apart by the first argument and by the name it is started under:
//
//	mig-agent              the agent, a SONiC feature container (orders)
//	mig-agent helper       its privileged half, in the switch's own namespaces (helper)
//	mig-agent pause        holder of a replica's network namespace
//	mig-agent uninstall    takes everything of ours off the switch (helper)
//	mig-agent dump         one CRIU dump, apart from the helper's life (engine)
//	mig-agent pages        fetches the memory of one lazy move, apart from the helper's life (pages)
//	mig-runc               OCI runtime: a restore in place of a create (engine)
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/managers"
	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/mig-agent/address"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/helper"
	"sonic-netservices/mig-agent/orders"
	"sonic-netservices/mig-agent/pages"
	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

func main() {
	if filepath.Base(os.Args[0]) == engine.RuntimeFile {
		exit(engine.RunRuntime(os.Args[1:]))
		return
	}
	life, args := "agent", os.Args[1:]
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		life, args = args[0], args[1:]
	}
	ctx, stop := daemon.Context()
	defer stop()
	switch life {
	case "agent":
		exit(runAgent(ctx, args))
	case "helper":
		exit(runHelper(ctx, args))
	case "uninstall":
		exit(runUninstall(ctx, args))
	case "pause":
		runPause()
	case "dump":
		exit(engine.RunDump(args))
	case "pages":
		exit(pages.Keep(args))
	case "version":
		fmt.Println(daemon.Version())
	default:
		exit(fmt.Errorf("unknown command %q: want helper, uninstall, pause, dump, pages, version or nothing", life))
	}
}

func exit(err error) {
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	default:
		fmt.Fprintln(os.Stderr, "mig-agent:", err)
		os.Exit(1)
	}
}

func runAgent(ctx context.Context, args []string) error {
	cfg := orders.Config{
		Dir: netmap.AgentDir, Volumes: netmap.VolumesDir, PKI: netmap.PKIDir,
		Version: daemon.Version(), Container: os.Getenv("CONTAINER_NAME"),
	}
	fs := flag.NewFlagSet("mig-agent", flag.ContinueOnError)
	level := daemon.LogLevel(fs)
	root := fs.String("root", "/", "where database_config.json and the redis socket are looked up")
	docker := fs.String("docker", "/var/run/docker.sock", "dockerd's socket")
	check := fs.Bool("check", false, "print the effective configuration and exit")
	fs.StringVar(&cfg.Dir, "dir", cfg.Dir, "journal, replicas, helper socket; on the host under the same path")
	fs.StringVar(&cfg.Volumes, "volumes", cfg.Volumes, "volumes of the replicas")
	fs.StringVar(&cfg.PKI, "pki", cfg.PKI, "folder of node.crt, node.key, ca.crt")
	fs.StringVar(&cfg.Container, "container", cfg.Container, "our own container, whose image also serves as holder and helper")
	fs.DurationVar(&cfg.Silence, "silence", 300*time.Millisecond, "after this the helper settles guarded operations without us")
	if err := fs.Parse(args); err != nil {
		return err
	}
	log := daemon.Logger(*level)
	if cfg.Container == "" {
		cfg.Container = "mig-agent"
	}
	dbs, err := sonicdb.Open(*root)
	if err != nil {
		return err
	}
	if err := awaitConfig(ctx, dbs, &cfg, log); err != nil {
		return err
	}
	if *check {
		fmt.Printf("%+v\n", cfg)
		return nil
	}

	if cfg.Budgets, err = watchBudget(ctx, dbs, cfg.Budget, log); err != nil {
		return err
	}

	// From here on the machine is touched.
	rows, err := resourdb.Open(ctx, dbs)
	if err != nil {
		return err
	}
	dockerd, err := engine.OpenDocker(ctx, *docker)
	if err != nil {
		return err
	}
	defer dockerd.Close()
	return orders.Run(ctx, cfg, dockerd, rows, log)
}

// awaitConfig fills in what CONFIG_DB says, waiting for it: at boot the agent may be up before the configuration.
func awaitConfig(ctx context.Context, dbs *sonicdb.Set, cfg *orders.Config, log *slog.Logger) error {
	for said := ""; ; {
		err := readConfig(ctx, dbs, cfg)
		if err == nil {
			return nil
		}
		if err.Error() != said {
			log.Warn("waiting for the configuration", "err", err)
			said = err.Error()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

func readConfig(ctx context.Context, dbs *sonicdb.Set, cfg *orders.Config) error {
	db, err := dbs.DB(ctx, "CONFIG_DB")
	if err != nil {
		return err
	}
	row := func(table, key string) (map[string]string, error) {
		r, err := db.HGetAll(ctx, db.Key(table, key))
		if err == nil && r == nil {
			err = fmt.Errorf("CONFIG_DB has no %s", db.Key(table, key))
		}
		return r, err
	}
	meta, err := row("DEVICE_METADATA", "localhost")
	if err != nil {
		return err
	}
	global, err := row("NETSERVICES", "global")
	if err != nil {
		return err
	}
	segment, err := row("NETSERVICES", "segment")
	if err != nil {
		return err
	}
	loopbacks, err := db.Scan(ctx, db.Key("LOOPBACK_INTERFACE", "Loopback0", "*"))
	if err != nil {
		return err
	}
	sort.Strings(loopbacks)
	cfg.Node = meta["hostname"]
	for _, key := range loopbacks {
		if _, prefix, ok := strings.Cut(strings.TrimPrefix(key, "LOOPBACK_INTERFACE|"), "|"); ok && !strings.Contains(prefix, ":") {
			cfg.Address, _, _ = strings.Cut(prefix, "/")
		}
	}
	var bad []string
	if cfg.Managers, err = managers.Parse(global["manager_node"], global["manager"]); err != nil {
		bad = append(bad, fmt.Sprintf("NETSERVICES|global %v", err))
	} else if len(cfg.Managers) == 0 {
		bad = append(bad, "NETSERVICES|global manager and manager_node are missing")
	}
	number := func(field string, least, most int) int {
		n, err := strconv.Atoi(segment[field])
		if err != nil || n < least || n > most {
			bad = append(bad, fmt.Sprintf("NETSERVICES|segment %s=%q: want %d..%d", field, segment[field], least, most))
		}
		return n
	}
	cfg.Segment = orders.Segment{VNI: number("vni", 1, 1<<24-1), MTU: number("mtu", 576, 9216),
		Gateway: segment["gateway"], Gateway6: segment["gateway6"]}
	if cfg.Segment.Gateway6 != "" && cfg.Segment.MTU < address.LeastMTU6 {
		bad = append(bad, fmt.Sprintf("NETSERVICES|segment mtu=%d: gateway6 needs %d", cfg.Segment.MTU, address.LeastMTU6))
	}
	if ports := segment["access_ports"]; ports != "" {
		cfg.Segment.Access = strings.Split(ports, ",")
	}
	if cfg.Budget, err = orders.ParseBudget(global); err != nil {
		bad = append(bad, err.Error())
	}
	if cfg.CRIU, err = engine.ParseCRIUFrom(global["criu"]); err != nil {
		bad = append(bad, fmt.Sprintf("NETSERVICES|global criu: %v", err))
	}
	if cfg.LiveRestore = global["live_restore"] == "true"; !cfg.LiveRestore && global["live_restore"] != "" && global["live_restore"] != "false" {
		bad = append(bad, fmt.Sprintf("NETSERVICES|global live_restore=%q: want true or false", global["live_restore"]))
	}
	for _, need := range []struct{ what, value string }{
		{"DEVICE_METADATA|localhost hostname", cfg.Node},
		{"NETSERVICES|segment gateway", cfg.Segment.Gateway},
		{"an IPv4 address of LOOPBACK_INTERFACE|Loopback0", cfg.Address},
	} {
		if need.value == "" {
			bad = append(bad, need.what+" is missing")
		}
	}
	if len(bad) > 0 {
		return errors.New("CONFIG_DB: " + strings.Join(bad, "; "))
	}
	return nil
}

// watchBudget sends the services' budget whenever CONFIG_DB changes it. A wrong value changes nothing.
func watchBudget(ctx context.Context, dbs *sonicdb.Set, last orders.Budget, log *slog.Logger) (<-chan orders.Budget, error) {
	db, err := dbs.DB(ctx, "CONFIG_DB")
	if err != nil {
		return nil, err
	}
	keys, err := db.Watch(ctx, db.Key("NETSERVICES", "global"))
	if err != nil {
		return nil, err
	}
	budgets := make(chan orders.Budget)
	go func() {
		for key := range keys {
			row, err := db.HGetAll(ctx, key)
			if err != nil || row == nil {
				continue // the watch tells again when Redis is back
			}
			b, err := orders.ParseBudget(row)
			if err != nil {
				log.Warn("budget stays as it was", "err", err)
				continue
			}
			if b == last {
				continue
			}
			select {
			case budgets <- b:
				last = b
			case <-ctx.Done():
			}
		}
	}()
	return budgets, nil
}

func runHelper(ctx context.Context, args []string) error {
	cfg := helper.Config{Dockerd: engine.Dockerd{JSON: "/etc/docker/daemon.json", PID: "/var/run/docker.pid"}}
	fs := flag.NewFlagSet("mig-agent helper", flag.ContinueOnError)
	level := daemon.LogLevel(fs)
	fs.StringVar(&cfg.Dir, "dir", netmap.AgentDir, "the agent's folder")
	fs.StringVar(&cfg.PKI, "pki", netmap.PKIDir, "folder of node.crt, node.key, ca.crt")
	fs.StringVar(&cfg.Listen, "listen", "", "host:port of the witness")
	addrs := fs.String("manager", "", "host:port of each bt-manager, joined by commas")
	names := fs.String("manager-name", "", "nodes of their certificates, in the same order")
	fs.DurationVar(&cfg.Silence, "silence", 300*time.Millisecond, "after this guarded operations are settled without the agent")
	fs.BoolVar(&cfg.Dockerd.LiveRestore, "live-restore", false, "containers outlive a dockerd that dies; false: as it was before us")
	prefer := fs.String("criu", "", "host: ours only where the switch's own will not do; bundle: always ours")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var err error
	if cfg.Managers, err = managers.Parse(*names, *addrs); err != nil {
		return err
	}
	if cfg.PreferCRIU, err = engine.ParseCRIUFrom(*prefer); err != nil {
		return fmt.Errorf("criu: %w", err)
	}
	carried, err := helper.Enter(engine.BundleFile, engine.TarFile)
	if err != nil {
		return err
	}
	cfg.Bundle, cfg.Tar = carried[0], carried[1]
	return helper.Run(ctx, cfg, daemon.Logger(*level))
}

// runUninstall is called twice: by the operator, in an ordinary container, and from there in a helper that enters the
// switch. What is refused ends with 2.
func runUninstall(ctx context.Context, args []string) error {
	r := helper.Removal{
		Config:  helper.Config{Dir: netmap.AgentDir, Dockerd: engine.Dockerd{JSON: "/etc/docker/daemon.json", PID: "/var/run/docker.pid"}},
		Volumes: netmap.VolumesDir,
	}
	fs := flag.NewFlagSet("mig-agent uninstall", flag.ContinueOnError)
	inside := fs.Bool("inside", false, "this is the helper already")
	docker := fs.String("docker", "/var/run/docker.sock", "dockerd's socket")
	fs.StringVar(&r.Dir, "dir", r.Dir, "the agent's folder")
	fs.StringVar(&r.Volumes, "volumes", r.Volumes, "volumes of the replicas")
	fs.StringVar(&r.Agent, "container", "mig-agent", "the agent's container")
	fs.BoolVar(&r.Force, "force", false, "end replicas that are here, forget unfinished operations")
	fs.BoolVar(&r.Purge, "purge", false, "delete the volumes, too")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *inside {
		if _, err := helper.Enter(); err != nil {
			return err
		}
		done, err := helper.Uninstall(ctx, r)
		if err == nil {
			err = removeRows(ctx)
		}
		for _, what := range done {
			fmt.Println("removed", what)
		}
		if errors.Is(err, helper.ErrRefused) {
			fmt.Println(err)
			os.Exit(exitRefused)
		}
		return err
	}
	dockerd, err := engine.OpenDocker(ctx, *docker)
	if err != nil {
		return err
	}
	defer dockerd.Close()
	image, err := dockerd.Self(ctx)
	if err != nil {
		return err
	}
	said, code, err := dockerd.RunHelper(ctx, helper.UninstallContainer, image, append([]string{"uninstall", "--inside"}, args...), netmap.HostDir)
	fmt.Print(said)
	if err == nil && code != 0 {
		os.Exit(code)
	}
	return err
}

// removeRows takes back what the agent said of this node.
func removeRows(ctx context.Context) error {
	dbs, err := sonicdb.Open("/")
	if err != nil {
		return err
	}
	defer dbs.Close()
	config, err := dbs.DB(ctx, "CONFIG_DB")
	if err != nil {
		return err
	}
	meta, err := config.HGetAll(ctx, config.Key("DEVICE_METADATA", "localhost"))
	if err != nil {
		return err
	}
	rows, err := resourdb.Open(ctx, dbs)
	if err != nil {
		return err
	}
	node := meta["hostname"]
	instances, _ := resourdb.List(ctx, rows, resourdb.InstanceTable, resourdb.ParseInstance) // but for rows of garbage
	for _, in := range instances {                                                           // of replicas that were ended by force
		if in.Node != node {
			continue
		}
		if err := rows.Delete(ctx, in); err != nil {
			return err
		}
	}
	return rows.Delete(ctx, resourdb.Agent{Node: node})
}

// exitRefused tells an operator's script that nothing was touched.
const exitRefused = 2

// runPause holds a network namespace: it does nothing until it is told to end, and reaps what is left to it as pid 1.
func runPause() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		for pid := 1; pid > 0; {
			pid, _ = syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		}
	}
}
