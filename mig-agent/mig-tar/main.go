// Command mig-tar stands where CRIU looks for tar, which it runs, with a gzip, for every tmpfs of a container: /dev,
// /dev/shm, and an empty one over each folder that is masked. They are nearly always small and without content, and two
// programs for each of them, at both ends, are a good part of the freeze of a small service.
//
// mig-tar reads and writes those archives itself. Whatever is no such call, or holds more than folders, links, devices and
// empty files, it leaves to the tar that comes next on the PATH, which understands its archives as well.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// CRIU's calls (criu/filesystems.c); the folder comes last, or before a dot.
var (
	create = []string{"--create", "--gzip", "--no-unquote", "--no-wildcards", "--one-file-system", "--check-links",
		"--preserve-permissions", "--sparse", "--numeric-owner", "--directory"}
	extract = []string{"--extract", "--gzip", "--no-unquote", "--no-wildcards", "--directory"}
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mig-tar:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	err := errNotPlain
	switch n := len(args); {
	case n == len(create)+2 && slices.Equal(args[:n-2], create) && args[n-1] == ".":
		err = pack(args[n-2], os.Stdout)
	case n == len(extract)+1 && slices.Equal(args[:n-1], extract):
		err = unpack(os.Stdin, args[n-1])
		if errors.Is(err, errNotPlain) {
			if _, err := os.Stdin.Seek(0, io.SeekStart); err != nil {
				return err
			}
		}
	}
	if errors.Is(err, errNotPlain) {
		return becomeTar(args)
	}
	return err
}

// becomeTar runs the next tar on the PATH in our place.
func becomeTar(args []string) error {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return err
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, "tar")
		info, err := os.Stat(path)
		if err != nil || os.SameFile(info, self) || info.IsDir() || info.Mode()&0o111 == 0 {
			continue
		}
		return fmt.Errorf("%s: %w", path, syscall.Exec(path, append([]string{"tar"}, args...), os.Environ()))
	}
	return errors.New("no tar on the PATH")
}
