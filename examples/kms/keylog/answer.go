package keylog

import (
	"crypto/sha256"
	"fmt"
)

// Answer is the JSON body of GET and POST /key.
type Answer struct {
	Serial    uint64 `json:"serial"`
	BootID    string `json:"boot_id"`   // hex
	Key       string `json:"key"`       // 32 bytes, base64url without padding
	Signature string `json:"signature"` // of Entry, base64url without padding
}

// KeySize in bytes.
const KeySize = sha256.Size

// Answer is what the client is told about the key of this entry.
func (e Entry) Answer(key []byte) Answer {
	return Answer{e.Serial, e.Boot.String(), b64.EncodeToString(key), b64.EncodeToString(e.Signature[:])}
}

// Entry is the line that must stand in the log for this answer. Its signature is not verified yet.
func (a Answer) Entry() (Entry, error) {
	e := Entry{Serial: a.Serial}
	var err error
	if e.Boot, err = ParseBootID(a.BootID); err != nil {
		return e, err
	}
	var key [KeySize]byte
	if err := decode(key[:], a.Key); err != nil {
		return e, fmt.Errorf("key: %w", err)
	}
	if err := decode(e.Signature[:], a.Signature); err != nil {
		return e, fmt.Errorf("signature: %w", err)
	}
	e.Digest = sha256.Sum256(key[:])
	return e, nil
}
