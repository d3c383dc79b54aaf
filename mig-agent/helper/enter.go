package helper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// enteredEnv marks the process that has entered already, carriedEnv tells it the open files of the image.
const (
	enteredEnv = "NETSERVICES_ENTERED"
	carriedEnv = "NETSERVICES_CARRIED"
)

// Enter moves the process into the mount, cgroup, IPC, UTS and network namespaces of pid 1 and starts the program
// anew there. A manifest cannot ask for the host's pid namespace, so the agent starts the helper through Docker with
// it; everything else follows from pid 1. The image's own files are out of reach then, but for those named here, which are
// carried along open. It returns at once in the process that has entered, with the paths under which to open them; "" for
// one that the image does not have.
func Enter(files ...string) (paths []string, err error) {
	if os.Getenv(enteredEnv) != "" {
		return entered(len(files))
	}
	return nil, enter(files)
}

func entered(files int) (paths []string, err error) {
	for text := range strings.FieldsSeq(os.Getenv(carriedEnv)) {
		fd, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("enter host: %s: %w", carriedEnv, err)
		}
		if fd < 0 {
			paths = append(paths, "")
			continue
		}
		unix.CloseOnExec(fd) // a dump outlives the helper, whose image must not be held by it
		paths = append(paths, fmt.Sprintf("/proc/self/fd/%d", fd))
	}
	if len(paths) != files {
		return nil, fmt.Errorf("enter host: %s: %d files of %d", carriedEnv, len(paths), files)
	}
	return paths, nil
}

func enter(files []string) error {
	var carried []string
	for _, file := range files {
		fd, err := unix.Open(file, unix.O_RDONLY, 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // an image without one relies on the host's
			return fmt.Errorf("enter host: %s: %w", file, err)
		}
		carried = append(carried, strconv.Itoa(fd)) // -1: none
	}
	env := []string{enteredEnv + "=1", carriedEnv + "=" + strings.Join(carried, " "),
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
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
