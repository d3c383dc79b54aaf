package n2n

import "errors"

// Reason says why a packet was refused. It is small and dense so that programs count by it: [Reasons]atomic.Uint64.
type Reason uint8

// The reasons. Their names are those of metrics.
const (
	ReasonNone        Reason = iota
	ReasonShort              // the packet ends inside a field
	ReasonVersion            // not version 3
	ReasonType               // no message of this protocol, or not the one asked for
	ReasonFlags              // a flag that no version sets
	ReasonCommunity          // a name that does not end
	ReasonValue              // a number outside what the field can mean
	ReasonTooLong            // a length beyond what the field may have
	ReasonKey                // encrypted with another key
	ReasonChecksum           // the right key, but bytes have changed
	ReasonClock              // stamped 16 s or more from now
	ReasonReplay             // stamped no later than what came before
	ReasonTTL                // may not travel on
	ReasonTransform          // encrypted in another way than agreed
	ReasonCompression        // compressed in a way that we do not read
	ReasonCorrupt            // compressed data that no compressor writes
	ReasonLogin              // a user or password that does not match
	Reasons                  // how many there are
)

var reasonNames = [Reasons]string{"none", "short", "version", "type", "flags", "community", "value", "too_long", "key",
	"checksum", "clock", "replay", "ttl", "transform", "compression", "corrupt", "login"}

func (r Reason) String() string {
	if r < Reasons {
		return reasonNames[r]
	}
	return "unknown"
}

// Field is where in a packet a reason was found.
type Field uint8

// The fields of all messages.
const (
	FieldNone Field = iota
	FieldHeader
	FieldVersion
	FieldTTL
	FieldFlags
	FieldCommunity
	FieldCookie
	FieldSrcMAC
	FieldDstMAC
	FieldMAC
	FieldSock
	FieldSockFamily
	FieldPreferredSock
	FieldSubnet
	FieldDesc
	FieldAuthScheme
	FieldAuthSize
	FieldAuthToken
	FieldKeyTime
	FieldLifetime
	FieldSupernodes
	FieldSupernodeFamily
	FieldCompression
	FieldTransform
	FieldAFlags
	FieldLoad
	FieldUptime
	FieldVersionText
	FieldLength
	FieldHeaderLength
	FieldStamp
	FieldPayload
	FieldIV
	FieldLiteral
	FieldMatch
	FieldEnd
	FieldTrailer
	FieldUser
	FieldChallenge
	FieldOurs
	fields
)

var fieldNames = [fields]string{"packet", "header", "version", "ttl", "flags", "community", "cookie", "source MAC",
	"destination MAC", "MAC", "sock", "family of sock", "preferred sock", "subnet", "description", "auth scheme", "auth size",
	"auth token", "key time", "lifetime", "supernodes", "family of a supernode", "compression", "transform", "aflags", "load",
	"uptime", "version text", "length", "header length", "stamp", "payload", "IV", "literal", "match", "end", "trailer", "user",
	"challenge", "what our programs add"}

func (f Field) String() string {
	if f < fields {
		return fieldNames[f]
	}
	return "unknown field"
}

// Error is a refusal. There is one value for every reason and field, made before the first packet comes.
type Error struct {
	Reason Reason
	Field  Field
}

func (e *Error) Error() string { return "n2n: " + e.Field.String() + ": " + e.Reason.String() }

var refusals = func() (t [Reasons][fields]Error) {
	for r := range t {
		for f := range t[r] {
			t[r][f] = Error{Reason(r), Field(f)}
		}
	}
	return
}()

func refuse(r Reason, f Field) error { return &refusals[r][f] }

// ReasonOf gives the reason inside err, ReasonNone when it has none.
func ReasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ReasonNone
}
