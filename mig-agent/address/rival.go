package address

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Rival claims an address of a holder from another MAC.
type Rival struct {
	Address netip.Addr
	MAC     string
}

// A holder asks at this pace who else has its addresses, for a rival may have become one in silence: two halves of a
// segment that was cut come together. What was heard once is asked about soon, and counts when it is heard again: a
// switch-over that was just taken back leaves late frames behind.
const (
	askRivals     = 2 * time.Second
	confirmRivals = 400 * time.Millisecond
)

// WatchRivals tells of every rival of a holder, again and again while it claims an address, until ctx ends or the
// holder's network does. It hears claims whether the holder has yielded or not: what they mean is the caller's business.
func WatchRivals(ctx context.Context, ns string, addrs []netip.Addr, found func(Rival)) error {
	var eth *net.Interface
	var arp, nd *os.File
	err := within(ns, func() (err error) {
		if eth, err = net.InterfaceByName(holderName); err != nil {
			return err
		}
		if arp, err = listenFrames(eth.Index, unix.ETH_P_ARP, nil); err != nil {
			return err
		}
		if nd, err = listenFrames(eth.Index, unix.ETH_P_IPV6, onlyAdvertisements); err != nil {
			arp.Close()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("watch for rivals: %w", err)
	}
	defer arp.Close()
	defer nd.Close()

	heard, broken := make(chan Rival), make(chan error, 2)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, f := range []*os.File{arp, nd} {
		go func() {
			buf := make([]byte, 256)
			for {
				n, err := f.Read(buf)
				if err != nil {
					broken <- err
					return
				}
				r, ok := claim(buf[:n])
				if !ok || r.MAC == eth.HardwareAddr.String() || !slices.Contains(addrs, r.Address) {
					continue
				}
				select {
				case heard <- r:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	seen := sightings{}
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-broken:
			return fmt.Errorf("watch for rivals: %w", err)
		case <-next.C:
			for _, addr := range addrs {
				f, frame := arp, probe4(eth.HardwareAddr, addr)
				if addr.Is6() {
					f, frame = nd, probe6(eth.HardwareAddr, addr)
				}
				if _, err := f.Write(frame); err != nil {
					return fmt.Errorf("ask for rivals of %s: %w", addr, err)
				}
			}
			next.Reset(askRivals)
		case r := <-heard:
			switch first, confirmed := seen.add(r, time.Now()); {
			case confirmed:
				found(r)
			case first:
				next.Reset(confirmRivals)
			}
		}
	}
}

// sightings of rivals: when each was first and last heard.
type sightings map[Rival][2]time.Time

// add says whether the rival is a new one, or is confirmed: it has been heard before, and not only a moment ago.
func (s sightings) add(r Rival, now time.Time) (first, confirmed bool) {
	at, ok := s[r]
	if !ok || now.Sub(at[1]) > 2*askRivals {
		s[r] = [2]time.Time{now, now}
		return true, false
	}
	s[r] = [2]time.Time{at[0], now}
	return false, now.Sub(at[0]) >= confirmRivals/2
}

// listenFrames opens a packet socket for whole frames of one EtherType that come in; what is written to it goes out.
func listenFrames(ifindex int, etherType uint16, filter []unix.SockFilter) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // nothing comes before bind
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "packets")
	if filter != nil {
		program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
			f.Close()
			return nil, fmt.Errorf("packet filter: %w", err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: etherType<<8 | etherType>>8, Ifindex: ifindex}); err != nil {
		f.Close()
		return nil, fmt.Errorf("bind packet socket: %w", err)
	}
	return f, nil
}

const etherHeader = 14

// onlyAdvertisements keeps the service's own IPv6 traffic from the watch: next header ICMPv6, type neighbour
// advertisement.
var onlyAdvertisements = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: etherHeader + 6},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_ICMPV6, Jf: 3},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: etherHeader + 40},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 136, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 256},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

// claim reads which address a frame claims for which MAC, if it does. An ARP probe names no sender and claims nothing.
func claim(frame []byte) (Rival, bool) {
	if len(frame) < etherHeader+arpTarget+4 {
		return Rival{}, false
	}
	p := frame[etherHeader:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_ARP:
		sender := netip.AddrFrom4([4]byte(p[arpSender:]))
		return Rival{sender, net.HardwareAddr(p[arpSender-6 : arpSender]).String()}, !sender.IsUnspecified()
	case unix.ETH_P_IPV6:
		if len(p) < ndTarget+16 || p[40] != 136 {
			return Rival{}, false
		}
		return Rival{netip.AddrFrom16([16]byte(p[ndTarget:])), net.HardwareAddr(frame[6:12]).String()}, true
	}
	return Rival{}, false
}

// probe4 asks the segment for an address without claiming it (RFC 5227).
func probe4(mac net.HardwareAddr, addr netip.Addr) []byte {
	p := binary.BigEndian.AppendUint16(nil, 1) // Ethernet
	p = binary.BigEndian.AppendUint16(p, unix.ETH_P_IP)
	p = append(p, 6, 4, 0, 1)
	p = append(append(p, mac...), 0, 0, 0, 0)
	p = append(append(p, 0, 0, 0, 0, 0, 0), addr.AsSlice()...)
	return frame(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac, unix.ETH_P_ARP, p)
}

// probe6 is the same in IPv6: a neighbour solicitation without a sender, as for a duplicate address (RFC 4862 5.4.2).
func probe6(mac net.HardwareAddr, addr netip.Addr) []byte {
	a := addr.As16()
	to := netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]})
	icmp := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, a[:]...)
	return frame(net.HardwareAddr{0x33, 0x33, 0xff, a[13], a[14], a[15]}, mac, unix.ETH_P_IPV6, discovery(netip.IPv6Unspecified(), to, icmp))
}

func frame(to, from net.HardwareAddr, etherType uint16, packet []byte) []byte {
	f := append(append([]byte{}, to...), from...)
	return append(binary.BigEndian.AppendUint16(f, etherType), packet...)
}
