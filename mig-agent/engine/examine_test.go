package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// found is what a list of checks says of one of them.
func found(t *testing.T, checks []Check, name string) Check {
	t.Helper()
	for _, c := range checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %s among %v", name, checks)
	return Check{}
}

// This process has nothing open at first that could not move, then one thing after the other that cannot.
func TestFilesOfARealProcess(t *testing.T) {
	look := func(name string) Check {
		var e Examined
		e.files("/proc", readProcesses("/proc", []int{os.Getpid()}))
		return found(t, e.Checks, name)
	}
	dir := t.TempDir()
	for _, c := range []struct {
		check, want string
		open        func(t *testing.T) func()
	}{
		{"sockets", "MPTCP", func(t *testing.T) func() {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
			if err != nil {
				t.Skipf("this kernel has no MPTCP: %v", err)
			}
			return func() { unix.Close(fd) }
		}},
		{"sockets", "family 38", func(t *testing.T) func() {
			fd, err := unix.Socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0)
			if err != nil {
				t.Skipf("this kernel has no AF_ALG: %v", err)
			}
			return func() { unix.Close(fd) }
		}},
		{"locks", "locked is locked by it", func(t *testing.T) func() {
			f, err := os.Create(filepath.Join(dir, "locked"))
			if err == nil {
				err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
			}
			if err != nil {
				t.Fatal(err)
			}
			return func() { f.Close() }
		}},
		{"files", "no name any more", func(t *testing.T) func() {
			f, err := os.Create(filepath.Join(dir, "ghost"))
			if err == nil {
				err = f.Truncate(ghostLimit + 1)
			}
			if err == nil {
				err = os.Remove(f.Name())
			}
			if err != nil {
				t.Fatal(err)
			}
			return func() { f.Close() }
		}},
		{"devices", "/dev/kmsg is a device (1:11)", func(t *testing.T) func() {
			f, err := os.Open("/dev/kmsg")
			if err != nil {
				t.Skipf("not allowed here: %v", err)
			}
			return func() { f.Close() }
		}},
	} {
		t.Run(c.want, func(t *testing.T) {
			if before := look(c.check); !before.Holds {
				t.Skipf("the test's own surroundings: %s", before.Detail)
			}
			end := c.open(t)
			now := look(c.check)
			end()
			if now.Holds || !strings.Contains(now.Detail, c.want) || !strings.Contains(now.Detail, fmt.Sprint("pid ", os.Getpid())) {
				t.Errorf("%s: %+v, want %q in it", c.check, now, c.want)
			}
			if after := look(c.check); !after.Holds {
				t.Errorf("closed, and still: %+v", after)
			}
		})
	}
}

// A unix socket to a process outside is named, one inside is not.
func TestUnixPeer(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	me := os.Getpid()
	if got := socketProblem(me, pair[0], map[int]bool{me: true}); got != "" {
		t.Errorf("both ends inside: %s", got)
	}
	if got := socketProblem(me, pair[0], map[int]bool{}); !strings.Contains(got, fmt.Sprintf("to pid %d, which is outside", me)) {
		t.Errorf("the other end outside: %q", got)
	}
}

func TestFileOutside(t *testing.T) {
	mounts := parseMounts("21 20 0:30 / / rw,relatime - overlay overlay rw\n")
	st := unix.Stat_t{Mode: unix.S_IFREG, Nlink: 1}
	if got := fileProblem("/var/log/x", "pos:\t0\nmnt_id:\t21\n", st, mounts); got != "" {
		t.Errorf("inside: %s", got)
	}
	if got := fileProblem("/var/log/x", "pos:\t0\nmnt_id:\t77\n", st, mounts); got != "/var/log/x is outside the container; start it with a pipe, or none" {
		t.Errorf("outside: %q", got)
	}
}

func TestMounts(t *testing.T) {
	id := strings.Repeat("4f5e", 16) // of the holder: its network, its names
	host := parseMounts("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /host rw - ext4 /dev/sda2 rw\n")
	good := `20 1 0:30 / / rw,relatime - overlay overlay rw
21 20 0:31 / /proc rw - proc proc rw
22 21 0:31 /bus /proc/bus ro - proc proc rw
23 20 0:32 / /dev rw - tmpfs tmpfs rw
24 23 0:33 /0 /dev/console rw - devpts devpts rw
25 20 8:1 /var/lib/docker/containers/` + id + `/hosts /etc/hosts rw - ext4 /dev/sda1 rw
26 20 8:2 /netservices/volumes/kms-0/keys /keys rw - ext4 /dev/sda2 rw
`
	for name, c := range map[string]struct{ add, want string }{
		"a replica's own mounts": {"", ""},
		"a volume of the image": {"27 20 8:1 /var/lib/docker/volumes/9a/_data /data rw - ext4 /dev/sda1 rw\n",
			"/data is a volume of the image's own (VOLUME in its Dockerfile), and what is in it would be lost; name it under volumes in the service's spec"},
		"another replica's volume": {"27 20 8:2 /netservices/volumes/kms-1/keys /other rw - ext4 /dev/sda2 rw\n",
			"/other is /host/netservices/volumes/kms-1/keys of this node, which does not move; make it a volume of the service"},
		"a network file system": {"27 20 0:40 / /mnt rw - nfs4 server:/ rw\n", "/mnt is nfs4, which CRIU does not carry"},
		"a read-only root": {"27 1 0:30 / / ro - overlay overlay rw\n",
			"the root is read-only and /tmp is not writable: a restore needs a folder; mount one on /tmp"},
		"a read-only root with /tmp": {"27 1 0:30 / / ro - overlay overlay rw\n28 27 0:41 / /tmp rw - tmpfs tmpfs rw\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var e Examined
			e.judgeMounts(Subject{Volumes: "/host/netservices/volumes/kms-0"}, parseMounts(good+c.add), host)
			got := found(t, e.Checks, "mounts")
			if got.Holds != (c.want == "") || c.want != "" && got.Detail != c.want {
				t.Errorf("%+v, want %q", got, c.want)
			}
		})
	}
}

// Processes of another user need a capability that this test's machine may or may not have.
func TestUIDs(t *testing.T) {
	all := []process{
		parseStatus(7, "Name:\tnginx\nUid:\t0\t0\t0\t0\n"),
		parseStatus(9, "Name:\tnginx\nUid:\t33\t33\t33\t33\n"),
	}
	for _, c := range []struct {
		all   []process
		caps  uint64
		holds bool
		want  string
	}{
		{all[:1], 0, true, "all processes run as uid 0"},
		{all, 1 << unix.CAP_SYS_RESOURCE, true, "pid 9 (nginx) as uid 33; CRIU has CAP_SYS_RESOURCE"},
		{all, 1<<unix.CAP_SYS_RESOURCE - 1, false, "pid 9 (nginx) as uid 33: CRIU needs CAP_SYS_RESOURCE for them"},
	} {
		var e Examined
		e.uids(c.all, c.caps)
		if got := e.Checks[0]; got.Holds != c.holds || !strings.Contains(got.Detail, c.want) {
			t.Errorf("%+v, want holds=%v, %q", got, c.holds, c.want)
		}
	}
}

func TestKindsOfSockets(t *testing.T) {
	for _, c := range []struct {
		domain, kind, protocol int
		carried                bool
	}{
		{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP, true},
		{unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP, true},
		{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, true},
		{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP, false},
		{unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_MPTCP, false},
		{unix.AF_INET, unix.SOCK_SEQPACKET, unix.IPPROTO_SCTP, false},
		{unix.AF_UNIX, unix.SOCK_STREAM, 0, true},
		{unix.AF_VSOCK, unix.SOCK_STREAM, 0, false},
	} {
		if got := kindProblem(c.domain, c.kind, c.protocol); (got == "") != c.carried {
			t.Errorf("family %d, type %d, protocol %d: %q", c.domain, c.kind, c.protocol, got)
		}
	}
}

// Examine without a container is the target's view: the host and its room.
func TestExamineHost(t *testing.T) {
	h := Host{Dir: t.TempDir(), Proc: "/proc", Cgroups: "/sys/fs/cgroup"}
	e := h.Examine(Subject{Volumes: t.TempDir() + "/not/yet"})
	if e.FreeMemory <= 0 || e.FreeVolumes <= 0 {
		t.Errorf("free memory %d, free disk %d", e.FreeMemory, e.FreeVolumes)
	}
	for _, name := range []string{"criu", "runc", "capabilities"} {
		if found(t, h.ExamineHost(), name).Detail == "" {
			t.Errorf("%s says nothing", name)
		}
	}
}

// FuzzProc: whatever the kernel writes, reading it ends, and a mount that is read has a place.
func FuzzProc(f *testing.F) {
	f.Add("26 20 8:2 /net\\040x /keys rw - ext4 /dev/sda2 rw\nUid:\t0\t0\nRssAnon:\t  12 kB\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range parseMounts(text) {
			if m.point == "" || m.kind == "" {
				t.Errorf("a mount without a place: %+v", m)
			}
			sourceOf(m, parseMounts(text))
		}
		if p := parseStatus(1, text); p.anonymous < 0 {
			t.Errorf("negative memory: %+v", p)
		}
	})
}

// What docker exec has started is no part of what moves; children of the first process are, of whatever generation.
func TestGuests(t *testing.T) {
	all := []process{{pid: 10, parent: 3, inner: 1}, {pid: 11, parent: 10}, {pid: 12, parent: 11}, {pid: 20, parent: 3}, {pid: 21, parent: 20}}
	pids := func(list []process) (all []int) {
		for _, p := range list {
			all = append(all, p.pid)
		}
		return all
	}
	ours, guests := family(all)
	if got := fmt.Sprint(pids(ours), pids(guests)); got != "[10 11 12] [20 21]" {
		t.Errorf("family and guests: %s", got)
	}
	if ours, guests := family(all[1:]); len(ours) != len(all)-1 || guests != nil {
		t.Errorf("without the first process: %v and %v", pids(ours), pids(guests))
	}
	if p := parseStatus(4711, "Name:\tredis-server\nPPid:\t4700\nNSpid:\t4711\t1\n"); p.inner != 1 || p.parent != 4700 {
		t.Errorf("status: %+v", p)
	}
	var e Examined
	e.container("testdata", Subject{}, nil, 0)
	if found(t, e.Checks, "processes").Holds {
		t.Error("a container without processes passes")
	}
}
