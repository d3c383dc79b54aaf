package n2n

import "encoding/binary"

// Over TCP each message has its length before it, in two bytes.

// AppendTCP writes a message as it goes over TCP.
func AppendTCP(b, message []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(message))), message...)
}

// NextTCP gives the first message of what has come over TCP, and what comes behind it. A nil message means that not all of
// it has come yet. After an error the connection is to be closed: there is no way to find the next message.
func NextTCP(b []byte) (message, rest []byte, err error) {
	if len(b) < 2 {
		return nil, b, nil
	}
	n := int(binary.BigEndian.Uint16(b))
	switch {
	case n > MaxPacket:
		return nil, b, refuse(ReasonTooLong, FieldLength)
	case n < HeaderLen:
		return nil, b, refuse(ReasonShort, FieldLength)
	case len(b) < 2+n:
		return nil, b, nil
	}
	return b[2 : 2+n : 2+n], b[2+n:], nil
}
