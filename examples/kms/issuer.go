package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"sonic-netservices/examples/kms/keylog"
)

// Issuer makes keys. Two things live in its memory alone, the boot id and the root secret: they tell a service that was
// moved as it ran from one that was stopped and started again.
type Issuer struct {
	boot   keylog.BootID
	root   [32]byte // what keys are derived from; a new life derives other keys
	signer ed25519.PrivateKey
	work   int // SHA-256 rounds a key

	mu     sync.Mutex
	log    *os.File // O_APPEND, open as long as the service lives
	size   int64    // of the log, always at the end of a line
	serial uint64   // of the last key
	broken error    // the log could not be brought back to the end of a line: no more keys
}

// OpenIssuer continues the serials of the log, which it makes if there is none. A line torn by a crash is cut off: its
// key was never answered.
func OpenIssuer(path string, signer ed25519.PrivateKey, work int) (*Issuer, error) {
	log, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open key log: %w", err)
	}
	i := &Issuer{signer: signer, work: work, log: log}
	if i.serial, i.size, err = lastSerial(log); err == nil {
		err = log.Truncate(i.size)
	}
	if err != nil {
		log.Close()
		return nil, fmt.Errorf("read last serial of %s: %w", path, err)
	}
	rand.Read(i.boot[:])
	rand.Read(i.root[:])
	return i, nil
}

// lastSerial reads the end of the log: the serial of the last whole line (0: none) and the offset behind it.
func lastSerial(log *os.File) (serial uint64, size int64, err error) {
	end, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	const tail = 4096 // many times a line
	from := max(0, end-tail)
	b := make([]byte, end-from)
	if _, err := log.ReadAt(b, from); err != nil {
		return 0, 0, err
	}
	text := string(b)
	text = text[:strings.LastIndexByte(text, '\n')+1]
	if text == "" {
		if from > 0 {
			return 0, 0, fmt.Errorf("no line in the last %d bytes", tail)
		}
		return 0, 0, nil
	}
	line := text[:len(text)-1]
	line = line[strings.LastIndexByte(line, '\n')+1:]
	e, err := keylog.ParseLine(line)
	return e.Serial, from + int64(len(text)), err
}

// Boot is the id of this life of the service.
func (i *Issuer) Boot() keylog.BootID { return i.boot }

// Public is the key that verifies this issuer's signatures.
func (i *Issuer) Public() ed25519.PublicKey { return i.signer.Public().(ed25519.PublicKey) }

// Serial of the last key.
func (i *Issuer) Serial() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.serial
}

// Issue derives a key for a client and appends it to the log. When it returns the line is with the kernel, so it
// outlives the process and moves with the volume; it is not synced, so a power cut may take the last seconds.
// After an error no serial was used.
func (i *Issuer) Issue(client string) (keylog.Answer, error) {
	key := i.derive(client)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.broken != nil {
		return keylog.Answer{}, i.broken
	}
	e := keylog.Sign(i.signer, i.serial+1, i.boot, key[:])
	n, err := i.log.Write(e.AppendLine(nil))
	if err != nil {
		err = fmt.Errorf("append to key log: %w", err)
		if n > 0 { // half a line: the next key must not be glued to it
			if cut := i.log.Truncate(i.size); cut != nil {
				i.broken = errors.Join(err, fmt.Errorf("cut half a line off: %w", cut))
			}
		}
		return keylog.Answer{}, err
	}
	i.size += int64(n)
	i.serial++
	return e.Answer(key[:]), nil
}

// derive is where the CPU time of a key goes: rounds of SHA-256 over the root secret, fresh random and the client's name.
func (i *Issuer) derive(client string) [keylog.KeySize]byte {
	seed := make([]byte, 32, 64+8+len(client))
	rand.Read(seed)
	seed = append(seed, i.root[:]...)
	seed = binary.BigEndian.AppendUint64(seed, uint64(len(client)))
	seed = append(seed, client...)
	key := sha256.Sum256(seed)
	for range i.work {
		key = sha256.Sum256(key[:])
	}
	return key
}

// Close syncs the log and closes it.
func (i *Issuer) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return errors.Join(i.log.Sync(), i.log.Close())
}
