// Package proof is what ballast answers: a count, and the sum of one page of its memory.
//
// It reads and writes nothing. The service makes proofs of the memory it holds; whoever asked computes what that page
// must hold and compares, so a page that a move lost or mixed up is seen from outside.
package proof

import (
	"encoding/binary"
	"fmt"
	"hash/crc64"
	"math/rand/v2"
)

// PageSize is the kernel's, in bytes.
const PageSize = 4096

// Proof is one answer.
type Proof struct {
	Boot       uint64 // of the process: another one has lost the count
	Serial     uint64 // 1, 2, ... over all answers
	Page       uint32 // number of the page summed
	Generation uint32 // how often it was rewritten
	Sum        uint64 // of the page as it stands in memory
}

// Fill writes what a page holds in a generation: random bytes that no other page or generation has.
func Fill(page []byte, boot uint64, number, generation uint32) {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[0:], boot)
	binary.LittleEndian.PutUint32(seed[8:], number)
	binary.LittleEndian.PutUint32(seed[12:], generation)
	var chance rand.ChaCha8 // not a new one: ballast's memory is to be its pages, not what is left of making them
	chance.Seed(seed)
	chance.Read(page)
}

var table = crc64.MakeTable(crc64.ECMA)

// Sum of a page.
func Sum(page []byte) uint64 { return crc64.Checksum(page, table) }

// Holds says whether the page held what it must.
func (p Proof) Holds() bool {
	var page [PageSize]byte
	Fill(page[:], p.Boot, p.Page, p.Generation)
	return Sum(page[:]) == p.Sum
}

// Append writes the proof as one line.
func (p Proof) Append(b []byte) []byte {
	return fmt.Appendf(b, "%016x %d %d %d %016x\n", p.Boot, p.Serial, p.Page, p.Generation, p.Sum)
}

// Parse reads such a line, with or without its end.
func Parse(line string) (Proof, error) {
	var p Proof
	var end string
	n, _ := fmt.Sscanf(line+" ", "%x %d %d %d %x%1s", &p.Boot, &p.Serial, &p.Page, &p.Generation, &p.Sum, &end)
	if n != 5 {
		return Proof{}, fmt.Errorf("proof %.60q: want boot, serial, page, generation, sum", line)
	}
	return p, nil
}
