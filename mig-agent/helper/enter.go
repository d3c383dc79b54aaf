package helper

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// enteredEnv marks the process that has entered already.
const enteredEnv = "NETSERVICES_ENTERED"

// Enter moves the process into the mount, cgroup, IPC, UTS and network namespaces of pid 1 and starts the program
// anew there. A manifest cannot ask for the host's pid namespace, so the agent starts the helper through Docker with
// it; everything else follows from pid 1. It returns at once in the process that has entered.
func Enter() error {
	if os.Getenv(enteredEnv) != "" {
		return nil
	}
	runtime.LockOSThread() // the rest happens to this thread alone, and execve makes it the process
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("enter host: unshare: %w", err)
	}
	var fds []int
	for _, ns := range []string{"cgroup", "ipc", "uts", "net", "mnt"} { // mnt last: it takes /proc away
		fd, err := unix.Open("/proc/1/ns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("enter host: %s: %w (started without the host's pid namespace?)", ns, err)
		}
		fds = append(fds, fd)
	}
	for _, fd := range fds {
		if err := unix.Setns(fd, 0); err != nil {
			return fmt.Errorf("enter host: setns: %w", err)
		}
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	err := syscall.Exec("/proc/self/exe", os.Args, []string{enteredEnv + "=1", "PATH=" + path})
	return fmt.Errorf("enter host: exec: %w", err)
}
