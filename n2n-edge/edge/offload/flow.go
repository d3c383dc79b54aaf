package offload

import "encoding/binary"

const (
	ethernetLen = 14
	etherIPv4   = 0x0800
	etherIPv6   = 0x86dd
	ipv4Len     = 20
	ipv6Len     = 40
	protoTCP    = 6
	tcpLen      = 20

	tcpFIN = 0x01
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpURG = 0x20
	tcpCWR = 0x80
)

// tcpFrame says where the parts of a frame with TCP in it are.
type tcpFrame struct {
	v6      bool
	ip, tcp int // where the headers begin
	payload int
	end     int // of the IP packet; a short frame is padded behind it
}

// parseTCP finds TCP in a whole, unfragmented frame without IP options or extension headers.
func parseTCP(b []byte) (f tcpFrame, ok bool) {
	if len(b) < ethernetLen+ipv4Len {
		return f, false
	}
	f.ip = ethernetLen
	ip := b[ethernetLen:]
	switch binary.BigEndian.Uint16(b[12:]) {
	case etherIPv4:
		if ip[0] != 0x45 || ip[9] != protoTCP || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			return f, false
		}
		f.tcp = f.ip + ipv4Len
		f.end = f.ip + int(binary.BigEndian.Uint16(ip[2:]))
	case etherIPv6:
		if len(ip) < ipv6Len || ip[0]>>4 != 6 || ip[6] != protoTCP {
			return f, false
		}
		f.v6 = true
		f.tcp = f.ip + ipv6Len
		f.end = f.tcp + int(binary.BigEndian.Uint16(ip[4:]))
	default:
		return f, false
	}
	if f.end > len(b) || f.tcp+tcpLen > f.end {
		return f, false
	}
	f.payload = f.tcp + int(b[f.tcp+12]>>4)*4
	if f.payload < f.tcp+tcpLen || f.payload > f.end {
		return f, false
	}
	return f, true
}
