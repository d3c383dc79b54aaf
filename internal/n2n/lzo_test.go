package n2n

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
)

// lzoVectors gives what liblzo2 has compressed.
func lzoVectors(t testing.TB) (list [][]byte, sums []string) {
	t.Helper()
	b, err := os.ReadFile("testdata/lzo.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		c, err := hex.DecodeString(f[1])
		if err != nil {
			t.Fatal(err)
		}
		list, sums = append(list, c), append(sums, f[2]+" "+f[3])
	}
	return list, sums
}

func TestLZOVectors(t *testing.T) {
	list, sums := lzoVectors(t)
	for i, c := range list {
		front := []byte("front")
		got, err := Decompress(front, CompressionLZO, c)
		if err != nil || !bytes.HasPrefix(got, front) {
			t.Errorf("vector %d: %v", i, err)
			continue
		}
		got = got[len(front):]
		if sum := fmt.Sprintf("%x %d", sha256.Sum256(got), len(got)); sum != sums[i] {
			t.Errorf("vector %d: became %d bytes, want %s", i, len(got), sums[i])
		}
		// Cut anywhere it is refused, and so is anything behind it.
		for n := range c {
			if _, err := Decompress(nil, CompressionLZO, c[:n]); ReasonOf(err) != ReasonCorrupt {
				t.Fatalf("vector %d, %d of %d bytes: %v", i, n, len(c), err)
			}
		}
		if _, err := Decompress(nil, CompressionLZO, append(c, 0)); ReasonOf(err) != ReasonCorrupt {
			t.Errorf("vector %d with a byte more: %v", i, err)
		}
	}
}

// Two ntop edges that compress: the frames come out as they would have come without.
func TestLZOAsCaptured(t *testing.T) {
	compressed := 0
	for i, d := range capture(t, "lzo") {
		var p Packet
		if err := p.Decode(d.data); err != nil {
			continue
		}
		frame, err := Decompress(nil, p.Compression, p.Payload)
		if err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
		checkFrame(t, &p, frame)
		if p.Compression == CompressionLZO {
			compressed++
			// What it carries is what the test bed sent: bytes that count to 16.
			for j, b := range frame[42:] {
				if frame[12] == 8 && frame[13] == 0 && b != byte(j%16) {
					t.Fatalf("packet %d: byte %d of the datagram is %d: %x", i, j, b, frame)
				}
			}
		}
	}
	if compressed < 10 {
		t.Errorf("%d packets were compressed", compressed)
	}
}

func TestDecompressRefusals(t *testing.T) {
	for _, c := range []struct {
		what    string
		kind    Compression
		payload []byte
		want    Error
	}{
		{"zstd", CompressionZstd, nil, Error{ReasonCompression, FieldCompression}},
		{"0", 0, nil, Error{ReasonCompression, FieldCompression}},
		{"nothing", CompressionLZO, nil, Error{ReasonCorrupt, FieldEnd}},
		{"a match of what is not there", CompressionLZO, []byte{18, 'x', 0x40, 1, 0x11, 0, 0}, Error{ReasonCorrupt, FieldMatch}},
		{"a bomb", CompressionLZO, append([]byte{21, 1, 2, 3, 4, 0x20}, make([]byte, 100000)...), Error{ReasonCorrupt, FieldMatch}},
		{"a run that is longer than its input", CompressionLZO, []byte{0, 0, 0, 0, 0, 1, 2, 3}, Error{ReasonCorrupt, FieldLiteral}},
	} {
		got, err := Decompress([]byte("front"), c.kind, c.payload)
		if fmt.Sprint(err) != c.want.Error() || string(got) != "front" {
			t.Errorf("%s: %v, %q, want %v", c.what, err, got, &c.want)
		}
	}
}

// 2048 bytes are what ntop decompresses at most.
func TestLZOLimit(t *testing.T) {
	for n, want := range map[int]Reason{MaxPacket: ReasonNone, MaxPacket + 1: ReasonCorrupt} {
		// One literal, repeated: 33 + 255 k + rest.
		rest := n - 1 - 33
		c := []byte{18, 'x', 0x20}
		for ; rest > 255; rest -= 255 {
			c = append(c, 0)
		}
		c = append(c, byte(rest), 0, 0, 0x11, 0, 0)
		got, err := Decompress(nil, CompressionLZO, c)
		if ReasonOf(err) != want || err == nil && !bytes.Equal(got, bytes.Repeat([]byte{'x'}, n)) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestDecompressDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, MaxPacket)
	list, _ := lzoVectors(t)
	for _, c := range list {
		noAllocs(t, "LZO", func() {
			if _, err := Decompress(buf, CompressionLZO, c); err != nil {
				t.Error(err)
			}
		})
	}
}
