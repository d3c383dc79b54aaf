package engine

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// socketProblem looks at a socket through a copy of its descriptor: /proc/net shows one of MPTCP as if it were TCP. The
// process does not notice.
func socketProblem(pid, fd int, pids map[int]bool) string {
	handle, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return "" // it ended a moment ago
	}
	if err != nil {
		return fmt.Sprintf("cannot be looked at: %v", os.NewSyscallError("pidfd_open", err))
	}
	defer unix.Close(handle)
	socket, err := unix.PidfdGetfd(handle, fd, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EBADF) {
		return "" // closed a moment ago
	}
	if err != nil {
		return fmt.Sprintf("cannot be looked at: %v", os.NewSyscallError("pidfd_getfd", err))
	}
	defer unix.Close(socket)
	domain, err1 := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_DOMAIN)
	kind, err2 := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_TYPE)
	protocol, err3 := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err := errors.Join(err1, err2, err3); err != nil {
		return fmt.Sprintf("cannot be looked at: %v", err)
	}
	if problem := kindProblem(domain, kind, protocol); problem != "" {
		return problem
	}
	switch domain {
	case unix.AF_UNIX:
		return peerProblem(socket, pids)
	case unix.AF_NETLINK:
		ready := []unix.PollFd{{Fd: int32(socket), Events: unix.POLLIN}}
		if n, _ := unix.Poll(ready, 0); n > 0 {
			return "a netlink socket with messages that nobody has read; CRIU carries only empty ones"
		}
	}
	return ""
}

// kindProblem is what CRIU says to a kind of socket.
func kindProblem(domain, kind, protocol int) string {
	switch domain {
	case unix.AF_UNIX, unix.AF_NETLINK, unix.AF_PACKET:
		return ""
	case unix.AF_INET, unix.AF_INET6:
		if kind == unix.SOCK_RAW {
			return ""
		}
		switch protocol {
		case unix.IPPROTO_IP, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE:
			return ""
		case unix.IPPROTO_MPTCP:
			return "MPTCP, which CRIU does not carry; use plain TCP (Go: GODEBUG=multipathtcp=0)"
		case unix.IPPROTO_SCTP:
			return "SCTP, which CRIU does not carry; move the service warm"
		}
		return fmt.Sprintf("protocol %d over IP, which CRIU does not carry; move the service warm", protocol)
	}
	return fmt.Sprintf("a socket of family %d, which CRIU does not carry; move the service warm", domain)
}

// peerProblem: a unix socket whose other end is a living process outside the container cannot move without it. The
// kernel tells who that was when they met; one that has ended since says nothing.
func peerProblem(socket int, pids map[int]bool) string {
	peer, err := unix.GetsockoptUcred(socket, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || peer.Pid <= 0 || pids[int(peer.Pid)] {
		return ""
	}
	if unix.Kill(int(peer.Pid), 0) != nil {
		return ""
	}
	return fmt.Sprintf("a unix socket to pid %d, which is outside the container and stays", peer.Pid)
}
