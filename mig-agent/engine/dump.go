package engine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DumpHow says how a dump differs from the plain one, which writes all memory.
type DumpHow struct {
	Lazy   bool // memory stays here; CRIU's page server gives it at DumpResult.Pages
	Parent int  // round of tracked pre-copy that it builds on; 0: none
}

// DumpResult says what a dump took.
type DumpResult struct {
	Freeze time.Duration // until every process stood still
	Dump   time.Duration
	Bytes  int64
	Pages  string // host:port of the page server of a lazy one
}

// Dumper is a dump that has not begun: runc and CRIU are there and wait, CRIU at a gate before it touches anything
// (gate.go). What they take to begin is not spent inside the freeze (docs/decisions/0041).
type Dumper struct {
	host  Host
	call  dumpCall
	gate  *gate
	up    chan struct{} // closed: the page server of a lazy one is up
	log   *os.File
	ended chan error    // why the process has ended, for one reader
	over  chan struct{} // closed: it has
}

// ReadyDump makes one, and waits until CRIU is there. The runc process that it becomes survives the death of the helper (see RunDump): a CRIU killed in
// the middle of a dump would leave its parasite code in the service.
func (h Host) ReadyDump(op, id string, how DumpHow) (*Dumper, error) {
	call := dumpCall{op: op, container: id, parent: how.Parent}
	if how.Lazy {
		if err := h.makeWork(op); err != nil {
			return nil, fmt.Errorf("dump: %w", err)
		}
		if err := h.raisePipes(op); err != nil {
			return nil, fmt.Errorf("dump: %w", err)
		}
		var err error
		if call.port, err = h.choosePort(op); err != nil {
			return nil, fmt.Errorf("dump: %w", err)
		}
	}
	log := filepath.Join(h.workFolder(op), "dump.log") // a round before has left one
	if err := os.Remove(log); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("dump: %w", err)
	}
	d, err := h.ready(call)
	if err != nil {
		return nil, err
	}
	awaitLog(log, d.over)
	select {
	case <-d.over:
		defer d.Close()
		return nil, d.failed(errors.Join(<-d.ended, errNoWait))
	default:
		return d, nil
	}
}

// ready starts the process.
func (h Host) ready(call dumpCall) (*Dumper, error) {
	for _, dir := range []string{call.image(h), h.workFolder(call.op)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("%v: %w", call, err)
		}
	}
	log, err := os.Create(filepath.Join(h.workFolder(call.op), "runc.log"))
	if err != nil {
		return nil, fmt.Errorf("%v: %w", call, err)
	}
	gate, err := raiseGate(h.dumpGate(call.op))
	if err != nil {
		log.Close()
		return nil, fmt.Errorf("%v: %w", call, err)
	}
	d := &Dumper{host: h, call: call, gate: gate, up: make(chan struct{}), log: log,
		ended: make(chan error, 1), over: make(chan struct{})}
	cmd := exec.Command(filepath.Join(h.Dir, "bin", RuntimeFile)) // not CommandContext: a dump is never cut short
	cmd.Args = call.args(h)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if call.port > 0 {
		r, w, err := os.Pipe()
		if err != nil {
			d.Close()
			return nil, fmt.Errorf("%v: %w", call, err)
		}
		defer w.Close()
		cmd.ExtraFiles = []*os.File{w}
		go func() {
			defer r.Close()
			if n, _ := r.Read(make([]byte, 1)); n > 0 {
				close(d.up)
			}
		}()
	}
	if err := cmd.Start(); err != nil {
		d.Close()
		return nil, fmt.Errorf("%v: %w", call, err)
	}
	go func() {
		d.ended <- cmd.Wait()
		close(d.over)
	}()
	return d, nil
}

// Close lets a dump go that has not begun; of one that has, only the waiting ends.
func (d *Dumper) Close() {
	d.gate.close()
	d.log.Close()
}

// Dump freezes the container, says so, and writes its image into ImageFolder. The container stays frozen whatever happens;
// TakeBack or Kill ends that. The context's end ends only the waiting. A lazy dump goes on after Dump has returned.
func (d *Dumper) Dump(ctx context.Context, frozen func(after time.Duration)) (DumpResult, error) {
	defer d.Close()
	var res DumpResult
	z, err := freezerByName(d.host.Cgroups, d.call.container)
	if err != nil {
		return res, fmt.Errorf("dump: %w", err)
	}
	began := time.Now()
	if err := z.freeze(ctx); err != nil {
		return res, err
	}
	res.Freeze = time.Since(began)
	frozen(res.Freeze)
	if err := d.run(ctx); err != nil {
		return res, err
	}
	res.Dump = time.Since(began) - res.Freeze
	if d.call.port > 0 {
		res.Pages = loopback(d.call.port)
	}
	if res.Bytes, err = folderSize(d.call.image(d.host)); err != nil {
		return res, fmt.Errorf("dump: %w", err)
	}
	return res, nil
}

// run lets the process begin and waits until it has ended or, for a lazy dump, until its page server is up.
func (d *Dumper) run(ctx context.Context) error {
	if err := d.gate.pass(ctx, emptyCache, d.ended); err != nil {
		return d.failed(err)
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	orphans := d.host.orphans(d.call.op)
	var err error
	for ended := false; !ended; {
		select {
		case <-d.up:
			return nil
		case err = <-d.ended:
			ended = true
		case <-look.C:
			orphans.look()
		case <-ctx.Done():
			return fmt.Errorf("%v: %w", d.call, ctx.Err())
		}
	}
	if err == nil && d.call.port > 0 {
		err = errors.New("ended without a page server")
	}
	if err != nil {
		return d.failed(err)
	}
	return nil
}

// failed adds what runc said.
func (d *Dumper) failed(err error) error {
	text, _ := os.ReadFile(d.log.Name())
	return fmt.Errorf("%v: runc checkpoint: %w: %s", d.call, err, tail(text, 400))
}

// PreDump writes what a container's memory has more than at the round before into RoundFolder, while the container goes
// on: CRIU freezes it for a moment to begin with. The kernel must track dirty memory (FeatureTracking).
func (h Host) PreDump(ctx context.Context, op, id string, round int) (DumpResult, error) {
	d, err := h.ready(dumpCall{op: op, container: id, round: round, parent: round - 1})
	if err != nil {
		return DumpResult{}, err
	}
	defer d.Close()
	began := time.Now()
	if err := d.run(ctx); err != nil {
		return DumpResult{}, err
	}
	res := DumpResult{Dump: time.Since(began)}
	if res.Bytes, err = folderSize(d.call.image(h)); err != nil {
		return res, fmt.Errorf("pre-dump: %w", err)
	}
	return res, nil
}

// RoundFolder holds the image of one round of tracked pre-copy, at the source and at the target.
func (h Host) RoundFolder(op string, round int) string {
	return filepath.Join(h.OpFolder(op), "pre", strconv.Itoa(round))
}

// LinkRound makes an image at the target build on a round, as it does at the source.
func (h Host) LinkRound(op, image string, round int) error {
	if err := os.Symlink(h.parentOf(op, image, round), filepath.Join(image, parentLink)); err != nil {
		return fmt.Errorf("image builds on round %d: %w", round, err)
	}
	return nil
}

// parentLink is CRIU's name for the folder that an image builds on.
const parentLink = "parent"

// parentOf is the path from an image to a round, which must mean the same on both nodes.
func (h Host) parentOf(op, image string, round int) string {
	path, err := filepath.Rel(image, h.RoundFolder(op, round))
	if err != nil { // both lie in the folder of the operation
		panic(err)
	}
	return path
}

// dumpCall is what the child process of Dump and PreDump is to do.
type dumpCall struct {
	op, container string
	round         int // of tracked pre-copy; 0: the dump itself
	parent        int // the round it builds on; 0: none
	port          int // of the page server of a lazy dump; 0: memory is written
}

func (c dumpCall) String() string {
	if c.round > 0 {
		return "pre-dump"
	}
	return "dump"
}

// image is where it is written.
func (c dumpCall) image(h Host) string {
	if c.round > 0 {
		return h.RoundFolder(c.op, c.round)
	}
	return h.ImageFolder(c.op)
}

// args is the command line of the child process; parseDump reads it.
func (c dumpCall) args(h Host) []string {
	return []string{"mig-agent", "dump", "--dir", h.Dir, "--cgroups", h.Cgroups, "--op", c.op, "--container", c.container,
		"--round", strconv.Itoa(c.round), "--parent", strconv.Itoa(c.parent), "--port", strconv.Itoa(c.port)}
}

func parseDump(args []string) (Host, dumpCall, error) {
	var h Host
	var c dumpCall
	flags := flag.NewFlagSet("mig-agent dump", flag.ContinueOnError)
	flags.StringVar(&h.Dir, "dir", "", "the agent's folder")
	flags.StringVar(&h.Cgroups, "cgroups", "/sys/fs/cgroup", "cgroup hierarchies")
	flags.StringVar(&c.op, "op", "", "operation")
	flags.StringVar(&c.container, "container", "", "full container id")
	flags.IntVar(&c.round, "round", 0, "of tracked pre-copy; 0 = the dump itself")
	flags.IntVar(&c.parent, "parent", 0, "round it builds on; 0 = none")
	flags.IntVar(&c.port, "port", 0, "of the page server of a lazy dump; 0 = memory is written")
	return h, c, flags.Parse(args)
}

// runc is what the child process becomes.
func (c dumpCall) runc(h Host) []string {
	args := []string{"runc", "--root", runcRoot, "checkpoint"}
	if c.round > 0 {
		args = append(args, "--pre-dump")
	} else {
		args = append(args, "--leave-running")
	}
	args = append(args, "--tcp-established", "--image-path", c.image(h), "--work-path", h.workFolder(c.op))
	if c.parent > 0 {
		args = append(args, "--parent-path", h.parentOf(c.op, c.image(h), c.parent))
	}
	if c.port > 0 {
		args = append(args, "--lazy-pages", "--page-server", loopback(c.port), "--status-fd", strconv.Itoa(statusFD))
	}
	return append(args, c.container)
}

// statusFD is where runc is told to find the pipe on which CRIU says that its page server is up: above those that runc
// gives to CRIU, which would take its place.
const statusFD = 10

// childFD is the first file that a child process inherits beside its three.
const childFD = 3

// RunDump is the child process of a Dumper. It leaves the helper's cgroups, so that the end of the helper's container
// does not end it, takes the op's dump lock, and becomes runc, whose CRIU inherits the lock: it is free when all are gone.
func RunDump(args []string) error {
	h, call, err := parseDump(args)
	if err != nil {
		return err
	}
	if err := LeaveCgroups(h.Cgroups); err != nil {
		return err
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	lock, err := h.lockDump(call.op, false)
	if err != nil {
		return err
	}
	if !isGate(h.dumpGate(call.op)) { // as long as we have the lock nobody takes away what leads CRIU to it (Forget)
		return errors.New("dump: not wanted any more")
	}
	if _, err := unix.FcntlInt(lock.Fd(), unix.F_SETFD, 0); err != nil { // runc inherits it
		return fmt.Errorf("dump: keep lock: %w", err)
	}
	if call.port > 0 {
		if err := unix.Dup3(childFD, statusFD, 0); err != nil {
			return fmt.Errorf("dump: status: %w", err)
		}
		unix.CloseOnExec(childFD)
	}
	return fmt.Errorf("dump: exec runc: %w", syscall.Exec(runc, call.runc(h), os.Environ()))
}

// LeaveCgroups moves this process to the root of every hierarchy that this namespace sees.
func LeaveCgroups(root string) error {
	hierarchies, err := os.ReadDir(root)
	if err != nil {
		return fmt.Errorf("leave cgroups: %w", err)
	}
	me := []byte(fmt.Sprint(os.Getpid()))
	files := []string{filepath.Join(root, "cgroup.procs")} // pure v2
	for _, h := range hierarchies {
		files = append(files, filepath.Join(root, h.Name(), "cgroup.procs"))
	}
	for _, file := range files {
		if err := os.WriteFile(file, me, 0); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return fmt.Errorf("leave cgroups: %w", err)
		}
	}
	return nil
}

func folderSize(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // a file on its way to its name
			return nil
		}
		if err != nil {
			return err
		}
		sum += info.Size()
		return nil
	})
	return sum, err
}
