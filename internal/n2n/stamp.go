package n2n

import "time"

// Stamp is the time inside an encrypted header: seconds (32 bits), microseconds (20), a counter (8) and flags (4). The
// first flag says that the sender's clock is too coarse and the lower half is a counter.
type Stamp uint64

const (
	stampSecond  Stamp = 1 << 32
	stampStep    Stamp = 1 << 4
	stampCounter Stamp = 1

	// stampWindow is how far clocks may be apart.
	stampWindow = 16 * stampSecond
	// stampJitter is how far packets may overtake each other: 160 ms.
	stampJitter Stamp = 160_000 << 12
)

// StampAt is the stamp of a moment.
func StampAt(t time.Time) Stamp {
	return Stamp(t.Unix())<<32 | Stamp(t.Nanosecond()/1000)<<12
}

// Stamper gives stamps that increase. A sender has one for all it sends, or at least one for each receiver.
type Stamper struct{ last Stamp }

// Next gives the stamp of a packet that leaves now. A clock that was set back by more than receivers allow is followed:
// they would not take the old time either.
func (s *Stamper) Next(now time.Time) Stamp {
	at := StampAt(now)
	if at <= s.last && s.last-at < stampWindow {
		at = s.last + stampStep
	}
	s.last = at
	return at
}

// Order says how strictly the packets of a sender have to follow each other.
type Order uint8

const (
	// Ordered is for what changes a table: later than all that came before.
	Ordered Order = iota
	// Jittered is for what the network may mix up by 160 ms.
	Jittered
)

// OrderOf gives the order of a message. (A REGISTER by multicast is Jittered; only who receives it knows that it was.)
func OrderOf(t Type) Order {
	switch t {
	case TypePacket, TypeQueryPeer, TypePeerInfo:
		return Jittered
	}
	return Ordered
}

// Fresh refuses a stamp that is 16 s or more from now: all that can be said of a sender nobody knows.
func Fresh(stamp, now Stamp) error {
	if max(stamp, now)-min(stamp, now) >= stampWindow {
		return refuse(ReasonClock, FieldStamp)
	}
	return nil
}

// Replay remembers the latest stamp of one sender, which is a source MAC or, for FROM_SUPERNODE, a supernode. The zero
// value takes whatever is fresh.
type Replay struct{ last Stamp }

// Accept takes a stamp or refuses it. Only what HeaderKey.Open has opened may be shown to it: an accepted stamp shuts out
// older ones.
func (r *Replay) Accept(stamp, now Stamp, order Order) error {
	if err := r.Check(stamp, now, order); err != nil {
		return err
	}
	r.last = max(r.last, stamp)
	return nil
}

// Check says what Accept would, and remembers nothing: for who may be somebody else than it says.
func (r *Replay) Check(stamp, now Stamp, order Order) error {
	if err := Fresh(stamp, now); err != nil {
		return err
	}
	late := Stamp(0)
	if order == Jittered {
		late = stampJitter
		if stamp&stampCounter != 0 {
			late <<= 8
		}
	}
	if stamp+late <= r.last {
		return refuse(ReasonReplay, FieldStamp)
	}
	return nil
}
