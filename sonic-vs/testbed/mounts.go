package testbed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one mount of a node, in its root.
type mount struct {
	target, fstype, source, data string
	flags                        uintptr
}

// mountNode mounts everything a node sees, in the node's own mount namespace: it all goes when the node's last process
// goes, and nothing of it ever shows up on the host.
func mountNode(c stageConfig, root string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", c.Base, filepath.Join(c.Dir, "upper"), filepath.Join(c.Dir, "work"))
	const nosuid, noexec, nodev = unix.MS_NOSUID, unix.MS_NOEXEC, unix.MS_NODEV
	all := []mount{
		{"/", "overlay", "overlay", layers, 0},
		{"/proc", "proc", "proc", "", nosuid | noexec | nodev},
		{"/sys", "sysfs", "sysfs", "", nosuid | noexec | nodev},
		{"/dev", "tmpfs", "dev", "mode=755", nosuid},
		{"/dev/pts", "devpts", "devpts", "newinstance,ptmxmode=0666,mode=620,gid=5", nosuid | noexec},
		{"/dev/shm", "tmpfs", "shm", "mode=1777", nosuid | nodev},
		{"/dev/mqueue", "mqueue", "mqueue", "", nosuid | noexec | nodev},
		{"/run", "tmpfs", "run", "mode=755", nosuid | nodev},
		{"/tmp", "tmpfs", "tmp", "mode=1777", nosuid | nodev},
		// overlay2 cannot live on an overlay, and /host is what outlives the switch's operating system.
		{"/var/lib/docker", "", filepath.Join(c.Dir, "docker"), "", unix.MS_BIND},
		{"/host", "", filepath.Join(c.Dir, "host"), "", unix.MS_BIND},
	}
	if _, err := os.Stat("/lib/modules"); err == nil { // for modprobe, where the kernel has modules
		all = append(all, mount{"/usr/lib/modules", "", "/lib/modules", "", unix.MS_BIND})
	}
	all = append(all, cgroupMounts(c.Hierarchies)...)
	for _, m := range all {
		target := filepath.Join(root, m.target)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if err := makeCgroupLinks(c.Hierarchies, root); err != nil {
		return err
	}
	return makeDevices(filepath.Join(root, "dev"))
}

// cgroupMounts shows the node the same hierarchies at the same places as the host has them, each from the node's own
// cgroup downwards.
func cgroupMounts(all []hierarchy) []mount {
	const flags = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	var mounts []mount
	if all[0].Mount != "/sys/fs/cgroup" { // v1 and hybrid: one folder a hierarchy
		mounts = append(mounts, mount{"/sys/fs/cgroup", "tmpfs", "cgroup", "mode=755", flags})
	}
	for _, h := range all {
		switch {
		case h.v2():
			mounts = append(mounts, mount{h.Mount, "cgroup2", "cgroup2", "", flags})
		case strings.HasPrefix(h.Controllers[0], "name="):
			mounts = append(mounts, mount{h.Mount, "cgroup", "cgroup", "none," + h.Controllers[0], flags})
		default:
			mounts = append(mounts, mount{h.Mount, "cgroup", "cgroup", strings.Join(h.Controllers, ","), flags})
		}
	}
	return mounts
}

// makeCgroupLinks: where controllers share a hierarchy, each is also reached by its own name.
func makeCgroupLinks(all []hierarchy, root string) error {
	for _, h := range all {
		if len(h.Controllers) < 2 {
			continue
		}
		for _, c := range h.Controllers {
			link := filepath.Join(root, filepath.Dir(h.Mount), c)
			if err := os.Symlink(filepath.Base(h.Mount), link); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
	}
	return nil
}

// makeDevices fills /dev. A devtmpfs would be the host's own, and a node could break it.
func makeDevices(dev string) error {
	if err := os.MkdirAll(filepath.Join(dev, "net"), 0o755); err != nil {
		return err
	}
	for _, d := range []struct {
		name         string
		major, minor uint32
		mode         uint32
	}{
		{"null", 1, 3, 0o666}, {"zero", 1, 5, 0o666}, {"full", 1, 7, 0o666}, {"random", 1, 8, 0o666}, {"urandom", 1, 9, 0o666},
		{"kmsg", 1, 11, 0o644}, {"tty", 5, 0, 0o666}, {"fuse", 10, 229, 0o666}, {"net/tun", 10, 200, 0o666},
	} {
		path := filepath.Join(dev, d.name)
		if err := unix.Mknod(path, unix.S_IFCHR|d.mode, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return fmt.Errorf("make device %s: %w", d.name, err)
		}
		if err := os.Chmod(path, fs.FileMode(d.mode)); err != nil { // mknod obeys the umask
			return err
		}
	}
	for link, to := range map[string]string{
		"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(to, filepath.Join(dev, link)); err != nil {
			return err
		}
	}
	return nil
}

// pivot makes root the root and forgets the old one. "/" is then shared, as systemd leaves it on a switch: CRIU
// restores a container only where mounts propagate as they did at its source.
func pivot(root string) error {
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil { // the old root lies on top of the new one now
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// unmountBelow unmounts what lies below dir in this mount namespace, innermost first.
func unmountBelow(dir string) error {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var below []string
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			below = append(below, f[4])
		}
	}
	for _, path := range slices.Backward(below) {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	return nil
}
