package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
)

// An entry of the log is a JSON value:
//
//	{"format":1,"sum":"a1b2c3d4","term":7,"records":[{...},{...}]}
//
// sum is the CRC-32C of the records' bytes, which stand as they were given. term is that of the leader that decided the
// records: an entry that got into the log under another one was decided on what is not true any more, and counts for
// nobody. A snapshot is an entry as well, with the sum of a machine as its only record.
const format = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type envelope struct {
	Format  int             `json:"format"`
	Sum     string          `json:"sum"`
	Term    uint64          `json:"term"`
	Records json.RawMessage `json:"records"`
}

// seal writes an entry.
func seal(term uint64, records ...[]byte) ([]byte, error) {
	list := []byte{'['}
	for i, r := range records {
		if !json.Valid(r) {
			return nil, fmt.Errorf("record %d is no JSON value", i)
		}
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, r...)
	}
	list = append(list, ']')
	return fmt.Appendf(nil, `{"format":%d,"sum":"%s","term":%d,"records":%s}`, format, sumOf(list), term, list), nil
}

func sumOf(records []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(records, castagnoli)) }

// open reads what seal wrote.
func open(entry []byte) (term uint64, records [][]byte, err error) {
	var e envelope
	if err := json.Unmarshal(entry, &e); err != nil {
		return 0, nil, fmt.Errorf("damaged: %w", err)
	}
	if e.Format != format {
		return 0, nil, fmt.Errorf("format %d, this version reads %d", e.Format, format)
	}
	if sum := sumOf(e.Records); sum != e.Sum {
		return 0, nil, fmt.Errorf("damaged: sum is %s, the records' is %s", e.Sum, sum)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(e.Records, &list); err != nil {
		return 0, nil, fmt.Errorf("damaged: %w", err)
	}
	for _, r := range list {
		records = append(records, r)
	}
	return e.Term, records, nil
}

// openSum reads the entry of a snapshot.
func openSum(entry []byte) ([]byte, error) {
	_, records, err := open(bytes.TrimSpace(entry))
	if err == nil && len(records) != 1 {
		err = errors.New("damaged: want one record")
	}
	if err != nil {
		return nil, err
	}
	return records[0], nil
}
