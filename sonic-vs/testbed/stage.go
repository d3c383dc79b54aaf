package testbed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"sonic-netservices/sonic-vs/vswitch"
)

// stageConfig is what `up` tells the first process of a node, as JSON on stageConfigFD.
type stageConfig struct {
	Name        string         `json:"name"`
	Instance    string         `json:"instance"`
	Base        string         `json:"base"` // lower layer of the node's root
	Dir         string         `json:"dir"`  // the node's folder on the host
	Netns       string         `json:"netns"`
	Hierarchies []hierarchy    `json:"hierarchies"`
	Hosts       string         `json:"hosts"` // /etc/hosts
	NoCRIU      bool           `json:"no_criu"`
	Switch      vswitch.Config `json:"switch"`
}

// File descriptors of the stage.
const (
	stageConfigFD = 3 // read end; `up` closes it when all is said
	stageErrorFD  = 4 // write end; closed without a word by the exec that ends the stage
	stageLockFD   = 5 // the instance's lock: the next `up` or `down` waits until this process is where they will look for it
)

// initCgroup holds the node's first processes on pure v2, where a cgroup with children may have no process itself.
const initCgroup = "init"

// switchBinary is this program inside the node.
const switchBinary = "/usr/local/bin/sonic-vs"

// nodeStage is the life of a node's PID 1 until it becomes tini: it was cloned into new mount, PID, UTS and IPC
// namespaces and makes the rest of a machine around itself. It only returns on failure.
func nodeStage() error {
	runtime.LockOSThread() // cgroup and network namespaces belong to the thread that execs at the end
	for _, fd := range []int{stageConfigFD, stageErrorFD, stageLockFD} {
		unix.CloseOnExec(fd)
	}
	report := os.NewFile(stageErrorFD, "report")
	err := becomeNode()
	io.WriteString(report, err.Error())
	return err
}

func becomeNode() error {
	var c stageConfig
	if err := json.NewDecoder(os.NewFile(stageConfigFD, "config")).Decode(&c); err != nil {
		return fmt.Errorf("read the node's configuration: %w", err) // `up` was killed
	}
	if err := enterCgroups(c); err != nil {
		return fmt.Errorf("enter cgroups: %w", err)
	}
	if err := enterNetns(c.Netns); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(c.Name)); err != nil {
		return fmt.Errorf("set hostname: %w", err)
	}
	root := filepath.Join(c.Dir, "root")
	if err := mountNode(c, root); err != nil {
		return err
	}
	if err := fillNode(c, root); err != nil {
		return err
	}
	if err := pivot(root); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}
	err := unix.Exec("/usr/bin/tini", []string{"tini", "--", switchBinary, "switch"}, env)
	return fmt.Errorf("exec tini: %w", err)
}

func enterCgroups(c stageConfig) error {
	pure := len(c.Hierarchies) == 1 && c.Hierarchies[0].v2()
	for _, h := range c.Hierarchies {
		if err := enterCgroup(h.dir(c.Instance, c.Name)); err != nil {
			return err
		}
	}
	// From here on the node's own cgroup is the root of what it sees.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if pure {
		dir := c.Hierarchies[0].dir(c.Instance, c.Name)
		if err := os.Mkdir(filepath.Join(dir, initCgroup), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := enterCgroup(filepath.Join(dir, initCgroup)); err != nil {
			return err
		}
		return delegate(dir)
	}
	return nil
}

// enterCgroup moves the calling process; 0 is how it names itself, whatever its PID out there.
func enterCgroup(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0o644)
}

func enterNetns(path string) error {
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", path, err)
	}
	return nil
}

// fillNode writes the few files that differ between nodes.
func fillNode(c stageConfig, root string) error {
	sw, err := json.MarshalIndent(c.Switch, "", "  ")
	if err != nil {
		return err
	}
	files := map[string]string{
		"/etc/hostname":    c.Name + "\n",
		"/etc/hosts":       c.Hosts,
		vswitch.ConfigFile: string(sw) + "\n",
	}
	for path, text := range files {
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if c.NoCRIU {
		if err := os.Remove(filepath.Join(root, "/usr/sbin/criu")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// A copy, not a bind: a new build must not pull the program away under a running switch.
	return copyFile("/proc/self/exe", filepath.Join(root, switchBinary), 0o755)
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
