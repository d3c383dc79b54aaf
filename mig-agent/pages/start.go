package pages

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"sonic-netservices/mig-agent/engine"
)

// Order is what a keeper is started with.
type Order struct {
	Op        string
	Container string // full id: it is ended when its memory cannot come any more
	From      string // host:port of the source's helper
	Node      string // of its certificate
	PKI       string // folder of ours
}

// args is the command line; parse reads it.
func (o Order) args(h engine.Host) []string {
	return []string{"mig-agent", "pages", "--dir", h.Dir, "--op", o.Op, "--container", o.Container,
		"--from", o.From, "--node", o.Node, "--pki", o.PKI}
}

func parse(args []string) (engine.Host, Order, error) {
	h := engine.Host{Proc: "/proc", Cgroups: "/sys/fs/cgroup"}
	var o Order
	flags := flag.NewFlagSet("mig-agent pages", flag.ContinueOnError)
	flags.StringVar(&h.Dir, "dir", "", "the agent's folder")
	flags.StringVar(&o.Op, "op", "", "operation")
	flags.StringVar(&o.Container, "container", "", "full container id")
	flags.StringVar(&o.From, "from", "", "host:port of the source's helper")
	flags.StringVar(&o.Node, "node", "", "of its certificate")
	flags.StringVar(&o.PKI, "pki", "", "folder of node.crt, node.key, ca.crt")
	return h, o, flags.Parse(args)
}

// Keeper is a running Keep, as its helper sees it.
type Keeper struct {
	host  engine.Host
	op    string
	line  *os.File // a byte asks, a byte answers
	ended chan error
	log   string
}

// childFD is where the keeper finds its end of the line.
const childFD = 3

// Start starts the process and returns when the daemon waits for the restore. The process goes on when the helper dies.
func Start(ctx context.Context, h engine.Host, o Order) (*Keeper, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("fetch pages: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "keeper"), os.NewFile(uintptr(fds[1]), "helper")
	log, err := os.Create(filepath.Join(h.OpFolder(o.Op), "pages.log"))
	if err != nil {
		ours.Close()
		theirs.Close()
		return nil, fmt.Errorf("fetch pages: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(h.Dir, "bin", engine.RuntimeFile))
	cmd.Args = o.args(h)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirs.Close() // so that its end is seen
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("fetch pages: %w", err)
	}
	k := &Keeper{host: h, op: o.Op, line: ours, ended: make(chan error, 1), log: log.Name()}
	go func() { k.ended <- cmd.Wait() }()
	if err := k.answer(ctx); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// Hold returns when no page that is missing can be taken for an empty one any more, whatever becomes of the daemon.
func (k *Keeper) Hold(ctx context.Context) error {
	_, err := k.line.Write([]byte{0})
	if err != nil {
		err = k.failed(err)
	} else {
		err = k.answer(ctx)
	}
	if p, ended, perr := k.host.ReadPaged(k.op); err != nil && perr == nil && ended && p.Error == "" {
		return nil // all memory is there already
	}
	return err
}

// answer waits for a byte.
func (k *Keeper) answer(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { k.line.Close() })
	defer stop()
	if _, err := k.line.Read(make([]byte, 1)); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("fetch pages: %w", ctx.Err())
		}
		return k.failed(err)
	}
	return nil
}

// failed says why the process has ended, in its own words.
func (k *Keeper) failed(err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, unix.EPIPE) {
		return fmt.Errorf("fetch pages: %w", err)
	}
	err = <-k.ended
	text, _ := os.ReadFile(k.log)
	return fmt.Errorf("fetch pages: ended: %v: %s", err, text)
}

// Close lets the process go on alone.
func (k *Keeper) Close() { k.line.Close() }
