package helper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// enteredEnv marks the process that has entered already, bundleEnv tells it the open file of the image's bundle.
const (
	enteredEnv = "NETSERVICES_ENTERED"
	bundleEnv  = "NETSERVICES_BUNDLE"
)

// Enter moves the process into the mount, cgroup, IPC, UTS and network namespaces of pid 1 and starts the program
// anew there. A manifest cannot ask for the host's pid namespace, so the agent starts the helper through Docker with
// it; everything else follows from pid 1. The image's own files are out of reach then, but for the bundle of CRIU, which
// is carried along open. It returns at once in the process that has entered, with the path under which to open it.
func Enter(bundle string) (path string, err error) {
	if os.Getenv(enteredEnv) != "" {
		return entered()
	}
	return "", enter(bundle)
}

func entered() (bundle string, err error) {
	text := os.Getenv(bundleEnv)
	if text == "" {
		return "", nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil {
		return "", fmt.Errorf("enter host: %s: %w", bundleEnv, err)
	}
	unix.CloseOnExec(fd) // a dump outlives the helper, whose image must not be held by it
	return fmt.Sprintf("/proc/self/fd/%d", fd), nil
}

func enter(bundle string) error {
	env := []string{enteredEnv + "=1", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	switch fd, err := unix.Open(bundle, unix.O_RDONLY, 0); {
	case bundle == "":
	case err == nil:
		env = append(env, fmt.Sprintf("%s=%d", bundleEnv, fd))
	case !errors.Is(err, fs.ErrNotExist): // an image without one relies on the host's
		return fmt.Errorf("enter host: %s: %w", bundle, err)
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
	err := syscall.Exec("/proc/self/exe", os.Args, env)
	return fmt.Errorf("enter host: exec: %w", err)
}
