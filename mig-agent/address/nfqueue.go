package address

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// queue is one end of the kernel's packet queue (nfnetlink_queue): packets wait in the kernel, this socket learns their numbers and gives
// verdicts. It speaks only the four messages a hold needs.
type queue struct {
	file   *os.File // netlink socket; belongs to the namespace it was opened in
	number uint16
}

// waiting is a packet that waits for its verdict. Numbers rise in the order of arrival.
type waiting struct {
	id   uint32
	hook byte // unix.NF_INET_PRE_ROUTING or unix.NF_INET_LOCAL_OUT
}

// Of linux/netfilter/nfnetlink_queue.h and nfnetlink.h.
const (
	msgPacket       = unix.NFNL_SUBSYS_QUEUE<<8 | 0
	msgConfig       = unix.NFNL_SUBSYS_QUEUE<<8 | 2
	msgVerdictBatch = unix.NFNL_SUBSYS_QUEUE<<8 | 3

	attrPacketHeader  = 1 // in a packet
	attrVerdictHeader = 2 // in a verdict

	attrCommand, attrParams, attrMaxLength, attrMask, attrFlags = 1, 2, 3, 4, 5 // in a configuration

	commandBind = 1
	copyMeta    = 1      // no payload: a verdict needs the number only
	flagGSO     = 1 << 2 // large packets stay whole; FAIL_OPEN (1 << 0) stays off

	verdictDrop, verdictAccept = 0, 1

	queueLength  = 65535
	socketBuffer = 32 << 20 // bytes; a full one loses packets, each of which takes about 1 KB until it is read
)

// errQueueTaken says that another living process holds the queue.
var errQueueTaken = errors.New("packet queue is held by another process")

// bindQueue opens the queue in the thread's namespace. Packets a dead predecessor held are gone already.
func bindQueue(number uint16) (*queue, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	q := &queue{file: os.NewFile(uintptr(fd), "nfnetlink_queue"), number: number}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer), q.configure()); err != nil {
		q.file.Close()
		return nil, err
	}
	return q, nil
}

// configure binds and sets everything in one message, so that no packet meets a queue half set up.
func (q *queue) configure() error {
	body := attribute(nil, attrCommand, []byte{commandBind, 0, 0, 0})
	body = attribute(body, attrParams, []byte{0, 0, 0, 0, copyMeta}) // copy range, copy mode
	body = attribute(body, attrMaxLength, binary.BigEndian.AppendUint32(nil, queueLength))
	body = attribute(body, attrFlags, binary.BigEndian.AppendUint32(nil, flagGSO))
	body = attribute(body, attrMask, binary.BigEndian.AppendUint32(nil, flagGSO))
	if err := q.write(msgConfig, unix.NLM_F_REQUEST|unix.NLM_F_ACK, body); err != nil {
		return err
	}
	// Packets may already arrive before the answer: a rule of a dead predecessor is still there.
	buf := make([]byte, 64<<10)
	if err := q.file.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	for {
		n, err := q.file.Read(buf)
		if err != nil {
			return fmt.Errorf("bind packet queue: %w", err)
		}
		answer := buf[:n]
		if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
			continue
		}
		if errno := -int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])); errno != 0 {
			if unix.Errno(errno) == unix.EBUSY || unix.Errno(errno) == unix.EPERM {
				return errQueueTaken
			}
			return fmt.Errorf("bind packet queue: %w", unix.Errno(errno))
		}
		return q.file.SetReadDeadline(time.Time{})
	}
}

// receive appends the packets of the next message to list.
func (q *queue) receive(buf []byte, list []waiting) ([]waiting, error) {
	n, err := q.file.Read(buf)
	if err != nil {
		return list, err
	}
	return parsePackets(buf[:n], list), nil
}

// parsePackets reads netlink messages; what is no packet or is malformed is left out.
func parsePackets(b []byte, list []waiting) []waiting {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return list
		}
		if binary.NativeEndian.Uint16(b[4:]) == msgPacket && size >= unix.NLMSG_HDRLEN+4 {
			if w, ok := parsePacket(b[unix.NLMSG_HDRLEN+4 : size]); ok {
				list = append(list, w)
			}
		}
		b = b[min(align(size), len(b)):]
	}
	return list
}

func parsePacket(attrs []byte) (waiting, bool) {
	for len(attrs) >= 4 {
		size := int(binary.NativeEndian.Uint16(attrs))
		if size < 4 || size > len(attrs) {
			return waiting{}, false
		}
		if binary.NativeEndian.Uint16(attrs[2:])&^unix.NLA_F_NESTED == attrPacketHeader && size >= 4+7 {
			return waiting{id: binary.BigEndian.Uint32(attrs[4:]), hook: attrs[4+6]}, true
		}
		attrs = attrs[min(align(size), len(attrs)):]
	}
	return waiting{}, false
}

// decide gives the verdict for every waiting packet up to and including number id; the kernel passes them on in their order before it returns.
func (q *queue) decide(verdict, id uint32) error {
	header := binary.BigEndian.AppendUint32(nil, verdict)
	header = binary.BigEndian.AppendUint32(header, id)
	return q.write(msgVerdictBatch, unix.NLM_F_REQUEST, attribute(nil, attrVerdictHeader, header))
}

func (q *queue) write(kind, flags uint16, attrs []byte) error {
	m := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+4+len(attrs)))
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = binary.NativeEndian.AppendUint16(m, flags)
	m = append(m, make([]byte, 8)...)              // sequence, port: one request at a time needs neither
	m = append(m, unix.AF_UNSPEC, 0)               // struct nfgenmsg: family, version
	m = binary.BigEndian.AppendUint16(m, q.number) // resource
	if _, err := q.file.Write(append(m, attrs...)); err != nil {
		return fmt.Errorf("packet queue: %w", err)
	}
	return nil
}

func attribute(m []byte, kind uint16, value []byte) []byte {
	m = binary.NativeEndian.AppendUint16(m, uint16(4+len(value)))
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = append(m, value...)
	return append(m, make([]byte, align(len(value))-len(value))...)
}

func align(n int) int { return (n + 3) &^ 3 }

// status is what the kernel says of a queue.
type status struct {
	waiting int // packets without a verdict
	lost    int // dropped because the queue or the socket was full
}

// queueStatus reads the state of queue number in the thread's namespace; a queue nobody is bound to is all zero.
func queueStatus(number uint16) (status, error) {
	b, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
	if err != nil {
		return status{}, err
	}
	for line := range strings.Lines(string(b)) {
		// number, port, waiting, copy mode, copy range, dropped by the queue, dropped by the socket, last id, 1
		f := strings.Fields(line)
		if len(f) < 7 || f[0] != strconv.Itoa(int(number)) {
			continue
		}
		var v [3]int
		for i, column := range []int{2, 5, 6} {
			if v[i], err = strconv.Atoi(f[column]); err != nil {
				return status{}, fmt.Errorf("nfnetlink_queue column %d: %w", column+1, err)
			}
		}
		return status{waiting: v[0], lost: v[1] + v[2]}, nil
	}
	return status{}, nil
}
