package address

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Announce tells the segment once that addrs are at this holder's MAC: for IPv4 a gratuitous ARP in both forms, request and reply, as hosts
// differ in which they believe; for IPv6 an unsolicited neighbour advertisement. The frames pass Yield, Mute and Hold. One frame may get
// lost: the caller repeats it, say three times over 100 ms.
func Announce(ns string, addrs ...netip.Addr) error {
	err := within(ns, func() error {
		eth, err := net.InterfaceByName(holderName)
		if err != nil {
			return err
		}
		var arp, nd [][]byte
		for _, addr := range addrs {
			if addr.Is4() {
				arp = append(arp, gratuitousARP(1, eth.HardwareAddr, addr), gratuitousARP(2, eth.HardwareAddr, addr))
			} else {
				nd = append(nd, advertisement(eth.HardwareAddr, addr))
			}
		}
		everybody, allNodes := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
		return errors.Join(send(eth.Index, unix.ETH_P_ARP, everybody, arp...), send(eth.Index, unix.ETH_P_IPV6, allNodes, nd...))
	})
	if err != nil {
		return fmt.Errorf("announce %v: %w", addrs, err)
	}
	return nil
}

// send puts packets on the wire below IP, so no packet rule sees them.
func send(ifindex int, etherType uint16, to net.HardwareAddr, packets ...[]byte) error {
	if len(packets) == 0 {
		return nil
	}
	proto := etherType<<8 | etherType>>8 // network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	defer func() { go unix.Close(fd) }() // takes 5 to 15 ms, which the freeze need not wait for
	dst := &unix.SockaddrLinklayer{Protocol: proto, Ifindex: ifindex, Halen: uint8(len(to))}
	copy(dst.Addr[:], to)
	for _, p := range packets {
		if err := unix.Sendto(fd, p, 0, dst); err != nil {
			return err
		}
	}
	return nil
}

// gratuitousARP names the holder as sender and target. The target MAC is the sender's too: only then Linux takes a reply for gratuitous, and an entry
// younger than a second is replaced as well.
func gratuitousARP(op uint16, mac net.HardwareAddr, addr netip.Addr) []byte {
	p := binary.BigEndian.AppendUint16(nil, 1) // Ethernet
	p = binary.BigEndian.AppendUint16(p, unix.ETH_P_IP)
	p = append(p, 6, 4)
	p = binary.BigEndian.AppendUint16(p, op)
	p = append(append(p, mac...), addr.AsSlice()...)
	return append(append(p, mac...), addr.AsSlice()...)
}

// advertisement is an IPv6 packet to all nodes with an ICMPv6 neighbour advertisement, override flag set (RFC 4861 4.4).
func advertisement(mac net.HardwareAddr, addr netip.Addr) []byte {
	icmp := []byte{136, 0, 0, 0, 0x20, 0, 0, 0}
	icmp = append(icmp, addr.AsSlice()...)
	icmp = append(append(icmp, 2, 1), mac...) // option: target link-layer address
	return discovery(addr, netip.MustParseAddr("ff02::1"), icmp)
}

// discovery is an IPv6 packet with an ICMPv6 message of neighbour discovery.
func discovery(from, to netip.Addr, icmp []byte) []byte {
	pseudo := append(from.AsSlice(), to.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(icmp)))
	pseudo = append(pseudo, 0, 0, 0, unix.IPPROTO_ICMPV6)
	binary.BigEndian.PutUint16(icmp[2:], checksum(append(pseudo, icmp...)))

	p := []byte{0x60, 0, 0, 0}
	p = binary.BigEndian.AppendUint16(p, uint16(len(icmp)))
	p = append(p, unix.IPPROTO_ICMPV6, 255)
	p = append(append(p, from.AsSlice()...), to.AsSlice()...)
	return append(p, icmp...)
}

// checksum is the Internet checksum (RFC 1071) of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
