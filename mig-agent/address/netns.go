package address

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// within runs f in the network namespace at path ns, "" being the caller's own. f runs on a thread that is thrown away afterwards, so no
// other goroutine can ever find itself in the wrong namespace; sockets f opens stay in the namespace.
func within(ns string, f func() error) error {
	if ns == "" {
		return f()
	}
	target, err := os.Open(ns)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer target.Close()
	return onOwnThread(func() error {
		if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", ns, err)
		}
		return f()
	})
}

// onOwnThread runs f on a locked thread that ends with f. Never on the process's first thread: that one cannot end, and it is the one whose
// namespace /proc/PID/ns/net shows.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			done <- onOwnThread(f) // this goroutine keeps the first thread busy, so f gets another
			return
		}
		done <- f()
	}()
	return <-done
}

// isGone says that the kernel no longer knows the object: somebody else, or its namespace, took it away first.
func isGone(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH)
}

// sysctl writes a value under /proc/sys/net of the namespace the thread is in. A knob this kernel does not have is left out when optional.
func sysctl(key, value string, optional bool) error {
	path := "/proc/sys/net/" + key
	if have, err := os.ReadFile(path); err == nil && string(have) == value+"\n" {
		return nil
	}
	err := os.WriteFile(path, []byte(value), 0)
	if optional && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
