package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// enter makes the whole process run in a network namespace: it starts nsctl again in it, unless it is there already.
// Go's threads each have their own namespace, so that one thread goes there and replaces the process.
func enter(netns string) error {
	var here, there unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &here); err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	if err := unix.Stat(netns, &there); err != nil {
		return fmt.Errorf("network namespace %s: %w (are the virtual switches up?)", netns, err)
	}
	if here.Dev == there.Dev && here.Ino == there.Ino {
		return nil
	}
	fd, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", netns, err)
	}
	runtime.LockOSThread()
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("network namespace %s: %w", netns, err)
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", netns, err)
	}
	err = unix.Exec(exe, os.Args, os.Environ())
	return fmt.Errorf("network namespace %s: start again in it: %w", netns, err)
}
