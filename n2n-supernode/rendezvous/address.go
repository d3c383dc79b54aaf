package rendezvous

import (
	"encoding/binary"
	"net/netip"

	"sonic-netservices/internal/n2n"
)

// assign finds an address inside the overlay: the one the edge has, or was promised, or a free one, looked for from where
// its description's hash says. The same edge so mostly gets the same address, whichever supernode it asks. The zero Subnet:
// all are taken.
func (c *community) assign(w *Worker, e *edge, desc n2n.Desc) n2n.Subnet {
	if e != nil && !e.subnet.WantsAddress() {
		return e.subnet
	}
	if !c.subnet.IsValid() {
		c.subnet = w.m.freeSubnet(c)
	}
	base := binary.BigEndian.Uint32(c.subnet.Masked().Addr().AsSlice())
	size := uint32(1) << (32 - c.subnet.Bits())
	first := n2n.Hash32(desc[:]) & (size - 1)
	for i := range size {
		host := (first + i) & (size - 1)
		if host == 0 || host == size-1 {
			continue
		}
		var addr [4]byte
		binary.BigEndian.PutUint32(addr[:], base+host)
		if c.byAddress[addr] != nil {
			continue
		}
		if d, ok := c.drawn[addr]; ok && w.now.Before(d.until) && (d.desc != desc || d.from != w.from.Addr.Addr()) {
			continue
		}
		if e == nil {
			c.drawn[addr] = draw{desc, w.from.Addr.Addr(), w.now.Add(holdDrawn)}
		}
		return n2n.Subnet{Addr: addr, Bits: uint8(c.subnet.Bits())}
	}
	return n2n.Subnet{}
}

// freeSubnet finds a subnet for a community that has none in the list, from where its name's hash says.
func (m *Machine) freeSubnet(c *community) netip.Prefix {
	r := m.config.Subnets.Masked()
	bits := max(r.Bits(), autoBits)
	base, count := binary.BigEndian.Uint32(r.Addr().AsSlice()), uint32(1)<<(bits-r.Bits())
	first := n2n.Hash32(c.name[:]) % count
	at := func(i uint32) netip.Prefix {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], base+(first+i)%count<<(32-bits))
		return netip.PrefixFrom(netip.AddrFrom4(a), bits)
	}
	for i := range count {
		if p := at(i); !m.subnetTaken(p) {
			return p
		}
	}
	return at(0) // communities do not see each other: sharing does no harm
}

func (m *Machine) subnetTaken(p netip.Prefix) bool {
	for _, c := range *m.communities.Load() {
		if c.subnet.IsValid() && c.subnet.Overlaps(p) {
			return true
		}
	}
	return false
}
