package orders

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"sonic-netservices/api"
	"sonic-netservices/internal/chunk"
)

// sentSection is a section as a source sends it.
func sentSection(data []byte, size int) (parts []*api.Part) {
	sum := newSum()
	sum.Write(data)
	for len(data) > 0 {
		n := min(size, len(data))
		parts = append(parts, &api.Part{Data: data[:n]})
		data = data[n:]
	}
	parts = append(parts, &api.Part{End: true, Sum: sum.Sum(nil)})
	parts[0].Section = "checkpoint"
	return parts
}

func takeSection(parts []*api.Part) ([]byte, error) {
	var touched time.Time
	first, rest := parts[0], parts[1:]
	recv := func() (*api.Part, error) {
		if len(rest) == 0 {
			return nil, io.EOF
		}
		p := rest[0]
		rest = rest[1:]
		return p, nil
	}
	return io.ReadAll(chunk.Reader(sectionReader(first, recv, newSum(), &touched)))
}

// Every single flipped bit, a lost part, a part twice and two in the wrong order are damage; a section that is cut
// short has no end.
func TestSumOfSection(t *testing.T) {
	data := []byte("pages of a process that must not be restored wrong")
	sent := func() []*api.Part { return sentSection(data, 7) }
	if got, err := takeSection(sent()); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("as sent: %q, %v", got, err)
	}
	for bit := range 8 * len(data) {
		parts := sentSection(bytes.Clone(data), 7)
		at := bit / 8
		parts[at/7].Data[at%7] ^= 1 << (bit % 8)
		if _, err := takeSection(parts); !errors.Is(err, errDamaged) {
			t.Fatalf("bit %d flipped: %v", bit, err)
		}
	}
	for name, damage := range map[string]func(p []*api.Part) []*api.Part{
		"a part is lost": func(p []*api.Part) []*api.Part { return append(p[:2], p[3:]...) },
		"a part twice":   func(p []*api.Part) []*api.Part { return append(p[:3], p[2:]...) },
		"wrong order":    func(p []*api.Part) []*api.Part { p[2], p[3] = p[3], p[2]; return p },
		"another sum":    func(p []*api.Part) []*api.Part { p[len(p)-1].Sum = []byte{1, 2, 3, 4}; return p },
	} {
		if _, err := takeSection(damage(sent())); !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := takeSection(sent()[:3]); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut short: %v", err)
	}
	parts := sent()
	parts[len(parts)-1].Sum = nil
	if got, err := takeSection(parts); err != nil || !bytes.Equal(got, data) {
		t.Errorf("of an older agent, without a sum: %q, %v", got, err)
	}
}

// FuzzSection: a section is what was sent, or an error, whatever happens to its parts.
func FuzzSection(f *testing.F) {
	whole, err := proto.Marshal(sentSection([]byte("ab"), 1)[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("data of a section"), uint8(3), uint16(5), whole)
	f.Fuzz(func(t *testing.T, data []byte, size uint8, at uint16, other []byte) {
		if len(data) == 0 {
			return
		}
		parts := sentSection(data, int(size)+1)
		foreign := &api.Part{}
		if proto.Unmarshal(other, foreign) != nil {
			return
		}
		i := int(at) % (len(parts) + 1)
		parts = append(parts[:i:i], append([]*api.Part{foreign}, parts[i:]...)...)
		got, err := takeSection(parts)
		if err == nil && len(foreign.Data) > 0 && !foreign.End && !bytes.Equal(got, data) {
			t.Errorf("took %q for %q", got, data)
		}
	})
}
