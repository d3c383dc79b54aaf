package address

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A second instance cannot go on with the connections of the first. When the address comes to its holder, packets of those connections come,
// too; the holder sends them on, frame by frame, to the holder the address came from, which answers the client itself. They are told apart by
// their beginning: a connection whose SYN was seen here is this holder's, every other one is the other's.
//
//	eth0 ingress:  SYN  -> remember the connection, let it pass (to the hold, if there is one)
//	               TCP of a connection that is not remembered, while the time lasts -> out of eth0 again, to the other holder's MAC
const (
	forwardChain = "forward"
	lastingSet   = "lasting" // EtherTypes; when its elements are over, nothing is forwarded
)

// begun bounds the connections that are remembered: 10,000 a second for 25 s.
const begun = 250_000

// Forward sends TCP of connections that did not begin here from one holder to another's MAC, for a time that the kernel keeps: whoever
// ordered it may die. It must be in force before the address is announced. Forward again begins anew, and then knows no connection.
func Forward(ns string, to net.HardwareAddr, lasts time.Duration) error {
	err := within(ns, func() error {
		eth, err := net.InterfaceByName(holderName)
		if err != nil {
			return err
		}
		c := &nftables.Conn{}
		t := &nftables.Table{Family: nftables.TableFamilyNetdev, Name: tableName}
		c.AddTable(t) // so that there is one to delete
		c.DelTable(t)
		c.AddTable(t)
		lasting := &nftables.Set{Table: t, Name: lastingSet, KeyType: nftables.TypeEtherType, HasTimeout: true}
		err = c.AddSet(lasting, []nftables.SetElement{
			{Key: binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP), Timeout: lasts},
			{Key: binary.BigEndian.AppendUint16(nil, unix.ETH_P_IPV6), Timeout: lasts},
		})
		if err != nil {
			return err
		}
		chain := c.AddChain(&nftables.Chain{
			Name: forwardChain, Table: t, Type: nftables.ChainTypeFilter, Device: holderName,
			Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter,
		})
		for _, ip := range []version{
			{"begun4", unix.ETH_P_IP, nftables.TypeIPAddr, 12},
			{"begun6", unix.ETH_P_IPV6, nftables.TypeIP6Addr, 8},
		} {
			key, err := nftables.ConcatSetType(ip.address, nftables.TypeInetService, nftables.TypeInetService)
			if err != nil {
				return err
			}
			known := &nftables.Set{Table: t, Name: ip.set, KeyType: key, Concatenation: true, Dynamic: true, Size: begun,
				HasTimeout: true, Timeout: 2 * lasts} // longer than it is asked for
			if err := c.AddSet(known, nil); err != nil {
				return err
			}
			for _, rule := range [][]expr.Any{
				all(protocol(ip.etherType), tcpBegin(), ip.connection(), []expr.Any{
					&expr.Dynset{SrcRegKey: firstRegister, SetName: known.Name, SetID: known.ID, Operation: uint32(unix.NFT_DYNSET_OP_ADD)},
				}, verdict(expr.VerdictAccept)),
				all(protocol(ip.etherType), []expr.Any{
					&expr.Lookup{SourceRegister: 1, SetName: lasting.Name, SetID: lasting.ID},
				}, tcp(), ip.connection(), []expr.Any{
					&expr.Lookup{SourceRegister: firstRegister, SetName: known.Name, SetID: known.ID, Invert: true},
				}, sendTo(eth, to), verdict(expr.VerdictDrop)),
			} {
				c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: rule})
			}
		}
		return c.Flush()
	})
	if err != nil {
		return fmt.Errorf("forward connections: %w", err)
	}
	return nil
}

// EndForward takes Forward back.
func EndForward(ns string) error {
	return within(ns, func() error {
		if err := removeTables(nftables.TableFamilyNetdev); err != nil {
			return fmt.Errorf("end forwarding: %w", err)
		}
		return nil
	})
}

// version is what differs between IPv4 and IPv6.
type version struct {
	set       string
	etherType uint16
	address   nftables.SetDatatype
	source    uint32 // offset of the source address
}

// firstRegister is the first of 16 registers of 4 bytes: a key of several fields lies in those that follow each other.
const firstRegister = unix.NFT_REG32_00

// connection loads source address and ports.
func (v version) connection() []expr.Any {
	ports := firstRegister + v.address.Bytes/4
	return []expr.Any{
		&expr.Payload{DestRegister: firstRegister, Base: expr.PayloadBaseNetworkHeader, Offset: v.source, Len: v.address.Bytes},
		&expr.Payload{DestRegister: ports, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2},
		&expr.Payload{DestRegister: ports + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
	}
}

// sendTo sends a copy of the frame to another MAC of the segment, in this holder's name: in the sender's name it would teach the bridges
// that the sender is here.
func sendTo(eth *net.Interface, to net.HardwareAddr) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: append(append([]byte{}, to...), eth.HardwareAddr...)},
		&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 0, Len: 12},
		&expr.Immediate{Register: 1, Data: binary.NativeEndian.AppendUint32(nil, uint32(eth.Index))},
		&expr.Dup{RegDev: 1, IsRegDevSet: true},
	}
}
