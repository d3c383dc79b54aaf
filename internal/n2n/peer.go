package n2n

import (
	"encoding/binary"
	"net/netip"
)

// QueryPeer asks a supernode where an edge is. With a zero Target it is a ping of the supernode itself.
type QueryPeer struct {
	Header
	Src, Target MAC
	AFlags      uint16
	Rest        []byte // what follows; ntop takes no notice
}

// Decode reads a clear QUERY_PEER.
func (m *QueryPeer) Decode(b []byte) error {
	if err := m.expect(b, TypeQueryPeer); err != nil {
		return err
	}
	r := reader{rest: b[HeaderLen:]}
	m.Src, m.Target = r.mac(FieldSrcMAC), r.mac(FieldMAC)
	m.AFlags = r.u16(FieldAFlags)
	m.Rest = r.rest
	return r.err
}

// Append writes the message.
func (m *QueryPeer) Append(b []byte) []byte {
	b = m.append(b, TypeQueryPeer, false)
	b = append(b, m.Src[:]...)
	b = append(b, m.Target[:]...)
	b = binary.BigEndian.AppendUint16(b, m.AFlags)
	return append(b, m.Rest...)
}

// PeerInfo answers a QueryPeer.
//
// To a ping: Src is the supernode, MAC zero, Sock the asker's public address; Load, Uptime and Version are the supernode's.
// To a query: Src is who asked (so that other supernodes can pass the answer on), MAC and Sock are of the edge asked for,
// and the rest means nothing. Of an edge that nobody knows there is no answer.
//
// The load of ntop is 0 whatever it has to do, and its version text ends in what was in memory: mostly a token of an edge.
type PeerInfo struct {
	Header
	AFlags    uint16
	Src, MAC  MAC
	Sock      netip.AddrPort // always there
	Preferred netip.AddrPort // the local address the edge prefers, if any
	Load      uint32
	Uptime    uint32 // seconds
	Version   VersionText
	Rest      []byte
}

// Decode reads a clear PEER_INFO.
func (m *PeerInfo) Decode(b []byte) error {
	if err := m.expect(b, TypePeerInfo); err != nil {
		return err
	}
	r := reader{rest: b[HeaderLen:]}
	m.AFlags = r.u16(FieldAFlags)
	m.Src, m.MAC = r.mac(FieldSrcMAC), r.mac(FieldMAC)
	m.Sock = r.sock(FieldSock)
	m.Preferred = r.sockIf(&m.Header, FieldPreferredSock)
	m.Load, m.Uptime = r.u32(FieldLoad), r.u32(FieldUptime)
	copy(m.Version[:], r.take(len(m.Version), FieldVersionText))
	m.Rest = r.rest
	return r.err
}

// Append writes the message.
func (m *PeerInfo) Append(b []byte) []byte {
	b = m.append(b, TypePeerInfo, m.Preferred.IsValid())
	b = binary.BigEndian.AppendUint16(b, m.AFlags)
	b = append(b, m.Src[:]...)
	b = append(b, m.MAC[:]...)
	b = appendSock(b, m.Sock)
	b = appendSockIf(b, m.Preferred)
	b = binary.BigEndian.AppendUint32(b, m.Load)
	b = binary.BigEndian.AppendUint32(b, m.Uptime)
	b = append(b, m.Version[:]...)
	return append(b, m.Rest...)
}
