// Package keylog is what the key service and its checkers agree on: what a key's signature covers and how a line of
// keys.log is written.
//
// It reads log lines and PEM keys from the reader it is given, writes nothing, and is told by examples/kms (which
// writes the log) and sonic-vs/load (which checks it).
package keylog

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// BootID tells one life of the service from the next. It is random and lives in memory only, so a service that was
// moved with its memory keeps it and one that was started anew cannot.
type BootID [16]byte

func (b BootID) String() string { return hex.EncodeToString(b[:]) }

// ParseBootID reads what String wrote.
func ParseBootID(s string) (BootID, error) {
	var b BootID
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(b) || s != strings.ToLower(s) {
		return b, fmt.Errorf("boot id %q: want %d lower-case hex digits", s, 2*len(b))
	}
	copy(b[:], raw)
	return b, nil
}

// Entry is one line of the log. It carries a digest of the key and never the key, so whoever reads the volume cannot
// use what was handed out.
type Entry struct {
	Serial    uint64
	Boot      BootID
	Digest    [sha256.Size]byte
	Signature [ed25519.SignatureSize]byte
}

// Sign makes the entry of a key. Ed25519 is deterministic: the same key, serial and boot give the same entry.
func Sign(signer ed25519.PrivateKey, serial uint64, boot BootID, key []byte) Entry {
	e := Entry{Serial: serial, Boot: boot, Digest: sha256.Sum256(key)}
	copy(e.Signature[:], ed25519.Sign(signer, e.message()))
	return e
}

// Verify reports whether the holder of the signing key made this entry.
func (e Entry) Verify(public ed25519.PublicKey) bool {
	return ed25519.Verify(public, e.message(), e.Signature[:])
}

// domain keeps a signature from meaning anything in another protocol that uses the same signing key.
const domain = "sonic-netservices kms key 1\n"

// message has fixed widths, so no two entries share one.
func (e Entry) message() []byte {
	m := make([]byte, 0, len(domain)+8+len(e.Boot)+len(e.Digest))
	m = append(m, domain...)
	m = binary.BigEndian.AppendUint64(m, e.Serial)
	m = append(m, e.Boot[:]...)
	return append(m, e.Digest[:]...)
}

// format is the first field of each line.
const format = "1"

var b64 = base64.RawURLEncoding.Strict()

// AppendLine appends the entry as one line with its newline:
//
//	FORMAT SERIAL BOOT-ID DIGEST SIGNATURE
func (e Entry) AppendLine(b []byte) []byte {
	b = append(b, format+" "...)
	b = strconv.AppendUint(b, e.Serial, 10)
	b = append(b, ' ')
	b = hex.AppendEncode(b, e.Boot[:])
	b = append(b, ' ')
	b = b64.AppendEncode(b, e.Digest[:])
	b = append(b, ' ')
	b = b64.AppendEncode(b, e.Signature[:])
	return append(b, '\n')
}

// ParseLine reads a line without its newline. It accepts exactly what AppendLine writes.
func ParseLine(line string) (Entry, error) {
	var e Entry
	f := strings.Split(line, " ")
	if len(f) != 5 {
		return e, fmt.Errorf("%d fields, want 5", len(f))
	}
	if f[0] != format {
		return e, fmt.Errorf("format %q, want %s", f[0], format)
	}
	serial, err := strconv.ParseUint(f[1], 10, 64)
	if err != nil || strconv.FormatUint(serial, 10) != f[1] {
		return e, fmt.Errorf("serial %q is not a number", f[1])
	}
	e.Serial = serial
	if e.Boot, err = ParseBootID(f[2]); err != nil {
		return e, err
	}
	if err := decode(e.Digest[:], f[3]); err != nil {
		return e, fmt.Errorf("digest: %w", err)
	}
	if err := decode(e.Signature[:], f[4]); err != nil {
		return e, fmt.Errorf("signature: %w", err)
	}
	return e, nil
}

func decode(dst []byte, s string) error {
	if n := b64.EncodedLen(len(dst)); len(s) != n {
		return fmt.Errorf("%d characters, want %d", len(s), n)
	}
	if strings.ContainsAny(s, "\r\n") { // the decoder would skip them
		return errors.New("newline inside")
	}
	_, err := b64.Decode(dst, []byte(s))
	return err
}

// Read reads a whole log. Torn says that the last line has no newline: the service was killed within a write, and
// that key was never answered. Every other unreadable line is an error with its number.
func Read(r io.Reader) (entries []Entry, torn bool, err error) {
	in := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := in.ReadString('\n')
		if err == io.EOF {
			return entries, line != "", nil
		}
		if err != nil {
			return entries, false, fmt.Errorf("line %d: %w", n, err)
		}
		e, err := ParseLine(line[:len(line)-1])
		if err != nil {
			return entries, false, fmt.Errorf("line %d: %w", n, err)
		}
		entries = append(entries, e)
	}
}
