package engine

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	criu "github.com/checkpoint-restore/go-criu/v7"
	"golang.org/x/sys/unix"
)

// Check is one thing that a move needs. Detail says what was found and, where it does not hold, what would help.
type Check struct {
	Name   string
	Holds  bool
	Detail string
}

// Subject is what Examine looks at. Without a container it is the room for one.
type Subject struct {
	Container string // full id
	Layer     string // folder of the writable layer
	Volumes   string // folder of the volumes, or where it would be
	Images    string // folder of Docker's images
}

// Examined is what Examine found.
type Examined struct {
	Checks  []Check
	Memory  int64 // of the processes: what a CRIU image holds of them, at most
	Volumes int64 // bytes in the volumes
	Layer   int64 // bytes in the writable layer

	FreeMemory  int64 // for a CRIU image, which lies in memory, too
	FreeVolumes int64
	FreeImages  int64
}

// FeaturePrefix begins the name of a check of something that CRIU can do on some kernels only, and most moves do
// without.
const FeaturePrefix = "feature "

// Features are those that some moves need.
var Features = []string{"mem_dirty_track", "uffd-noncoop"}

// ExamineHost checks CRIU, runc and what the kernel lets them do. It runs CRIU three times.
func (h Host) ExamineHost() []Check {
	var e Examined
	e.host(h)
	return e.Checks
}

// Examine names all that a live move meets in the processes of a container, and tells the room there is. It touches
// nothing.
func (h Host) Examine(s Subject) Examined {
	var e Examined
	e.FreeMemory = freeMemory(h.Proc, filepath.Join(h.Dir, "work"))
	e.FreeVolumes, e.FreeImages = freeDisk(s.Volumes), freeDisk(s.Images)
	e.Volumes, e.Layer = DiskBytes(s.Volumes), DiskBytes(s.Layer)
	if s.Container == "" {
		return e
	}
	z, err := freezerByName(h.Cgroups, s.Container)
	if err != nil {
		e.lack("processes", "%v", err)
		return e
	}
	pids, err := z.pids()
	if err != nil {
		e.lack("processes", "%v", err)
		return e
	}
	e.container(h.Proc, s, pids, effective(h.Proc))
	return e
}

func (e *Examined) lack(name, format string, args ...any) {
	e.Checks = append(e.Checks, Check{Name: name, Detail: fmt.Sprintf(format, args...)})
}

func (e *Examined) have(name, format string, args ...any) {
	e.Checks = append(e.Checks, Check{Name: name, Holds: true, Detail: fmt.Sprintf(format, args...)})
}

// judge adds a check of several findings: each problem is named, and without one it holds.
func (e *Examined) judge(name string, problems []string, good string, args ...any) {
	if len(problems) == 0 {
		e.have(name, good, args...)
		return
	}
	e.lack(name, "%s", strings.Join(problems, "; "))
}

func (e *Examined) host(h Host) {
	version, err := toldVersion()
	switch {
	case err != nil:
		e.lack("criu", "%v; install the package mig-agent brings", err)
	case older(version, minCRIU):
		e.lack("criu", "%s is older than %d.%d.%d and does not restore on kernels of today", version, minCRIU[0], minCRIU[1], minCRIU[2])
	default:
		out, err := exec.Command("criu", "check").CombinedOutput()
		if err != nil {
			e.lack("criu", "%s; criu check: %v: %s", version, err, tail(out, 300))
		} else {
			e.have("criu", "%s; criu check: %s", version, tail(out, 100))
		}
		for _, f := range Features {
			// Not go-criu's FeatureCheck: v7.2.0 returns what it was asked for.
			out, err := exec.Command("criu", "check", "--feature", f).CombinedOutput()
			e.Checks = append(e.Checks, Check{FeaturePrefix + f, err == nil, tail(out, 200)})
		}
	}
	if out, err := exec.Command("runc", "--version").Output(); err != nil {
		e.lack("runc", "%v", err)
	} else {
		e.have("runc", "%s", field(out, "runc version"))
	}
	e.capabilities(effective(h.Proc))
	scope, _ := os.ReadFile(filepath.Join(h.Proc, "sys/kernel/yama/ptrace_scope")) // a kernel without Yama forbids nothing
	if strings.TrimSpace(string(scope)) == "3" {
		e.lack("ptrace", "kernel.yama.ptrace_scope is 3: nobody may attach to a process until the next boot; boot with a smaller one")
	}
}

// toldVersion asks CRIU itself, over its own protocol.
func toldVersion() (string, error) {
	n, err := criu.MakeCriu().GetCriuVersion()
	if err != nil {
		return "", fmt.Errorf("criu does not tell its version: %w", err)
	}
	return fmt.Sprintf("%d.%d.%d", n/10000, n/100%100, n%100), nil
}

// needed are capabilities without which CRIU can do nothing for anybody. CAP_SYS_RESOURCE is not among them: see uids.
var needed = []struct {
	name string
	bit  int
}{{"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN}, {"CAP_SYS_PTRACE", unix.CAP_SYS_PTRACE}, {"CAP_NET_ADMIN", unix.CAP_NET_ADMIN},
	{"CAP_DAC_OVERRIDE", unix.CAP_DAC_OVERRIDE}, {"CAP_SYS_CHROOT", unix.CAP_SYS_CHROOT}, {"CAP_SETUID", unix.CAP_SETUID}}

func (e *Examined) capabilities(caps uint64) {
	var problems []string
	for _, c := range needed {
		if caps>>c.bit&1 == 0 {
			problems = append(problems, c.name+" is missing")
		}
	}
	if len(problems) > 0 {
		problems = append(problems, "the helper must run with all capabilities")
	}
	e.judge("capabilities", problems, "the helper has what CRIU needs")
}

// effective are the capabilities CRIU will have: it is started by this process.
func effective(proc string) uint64 {
	s, _ := readStatus(proc, os.Getpid()) // without it none: then all are named
	return s.caps
}

// freeMemory is what a CRIU image may take: the smaller of the machine's and the work folder's, which is a tmpfs.
func freeMemory(proc, work string) int64 {
	free := int64(0)
	if text, err := os.ReadFile(filepath.Join(proc, "meminfo")); err == nil {
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
				free = kilobytes(rest)
			}
		}
	}
	if onTmpfs := freeDisk(work); onTmpfs > 0 {
		free = min(free, onTmpfs)
	}
	return free
}

// freeDisk is the room in the file system of a folder, or of the nearest parent that is there; 0 for no folder.
func freeDisk(path string) int64 {
	for ; path != ""; path = filepath.Dir(path) {
		var st unix.Statfs_t
		if unix.Statfs(path, &st) == nil {
			return int64(st.Bavail) * st.Bsize
		}
		if path == "/" || path == "." {
			break
		}
	}
	return 0
}

// container looks at the processes of a container.
func (e *Examined) container(proc string, s Subject, pids []int, caps uint64) {
	all, guests := family(readProcesses(proc, pids))
	if len(all) == 0 {
		e.lack("processes", "the container has none: it does not run")
		return
	}
	if len(guests) == 0 {
		e.have("processes", "%d", len(all))
	} else {
		var names []string
		for _, g := range guests {
			names = append(names, fmt.Sprintf("pid %d (%s)", g.pid, g.name))
		}
		e.have("processes", "%d, and %s of docker exec, which will end", len(all), strings.Join(names, ", "))
	}
	var traced []string
	for _, p := range all {
		e.Memory += p.anonymous
		if p.tracer != 0 {
			traced = append(traced, fmt.Sprintf("pid %d (%s) is traced by pid %d, a debugger or strace; end that", p.pid, p.name, p.tracer))
		}
	}
	e.judge("traced", traced, "no process is traced")
	e.uids(all, caps)
	e.mounts(proc, s, all[0].pid)
	e.files(proc, all)
}

// uids: prlimit of a process of another user needs CAP_SYS_RESOURCE, which some machines do not give even to root.
func (e *Examined) uids(all []process, caps uint64) {
	var users []string
	for _, p := range all {
		if p.uid != 0 {
			users = append(users, fmt.Sprintf("pid %d (%s) as uid %d", p.pid, p.name, p.uid))
		}
	}
	slices.Sort(users)
	switch {
	case len(users) == 0:
		e.have("uid", "all processes run as uid 0")
	case caps>>unix.CAP_SYS_RESOURCE&1 == 1:
		e.have("uid", "%s; CRIU has CAP_SYS_RESOURCE", strings.Join(users, ", "))
	default:
		e.lack("uid", "%s: CRIU needs CAP_SYS_RESOURCE for them, and this machine does not give it (bit 24 of the helper's "+
			"capabilities); let the service run as root, or move it warm", strings.Join(users, ", "))
	}
}
