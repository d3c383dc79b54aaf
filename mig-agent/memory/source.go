package memory

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
)

// Words of the stream of a round. Numbers are unsigned varints.
//
//	new                       the target is to forget what it has: the first word of the first round
//	pool   NUMBER GAP PAGES   what follows belongs to this pool, which has this many pages now
//	pages  POSITION COUNT     and COUNT*PageSize bytes
//	end
const (
	wordNew   = 'N'
	wordPool  = 'P'
	wordPages = 'W'
	wordEnd   = 'E'
)

// Source is what the target has of the memory of one container's processes. It is for one goroutine.
type Source struct {
	proc  string
	seed  uint64
	pools []*sentPool
	byPID map[int]*sentPool
}

// sentPool is the pool of one process: what was sent last of each page.
type sentPool struct {
	pool
	number int
	pid    int
	sums   []sum    // by pool page
	addrs  []uint64 // of all pages ever sent, ascending
	places []uint32 // pool page of each of them
}

// NewSource begins with a target that has nothing; proc is where the processes are found, /proc.
func NewSource(proc string, r *rand.Rand) *Source {
	return &Source{proc: proc, seed: r.Uint64(), byPID: map[int]*sentPool{}}
}

// Stats of one round.
type Stats struct {
	Pages int // that the processes have
	Sent  int // of them
}

// Round sends every page that is not what the target has. The processes go on meanwhile: a page that changes after it
// was read is for the next round, or for the freeze.
func (s *Source) Round(ctx context.Context, w *bufio.Writer, pids []int) (Stats, error) {
	var all Stats
	if len(s.pools) == 0 {
		w.WriteByte(wordNew)
	}
	for _, pid := range pids {
		list, err := extents(s.proc, pid)
		if err != nil {
			continue // it has ended: a service may
		}
		p := s.byPID[pid]
		if p == nil {
			if len(s.pools) == maxPools {
				continue
			}
			p = &sentPool{number: len(s.pools), pid: pid}
			for _, e := range list {
				p.pages += e.pages
			}
			p.gap, p.pages = gapOf(p.pages), 0
			s.pools, s.byPID[pid] = append(s.pools, p), p
		}
		stats, err := p.round(ctx, w, s.seed, list)
		if err != nil {
			return all, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		all.Pages += stats.Pages
		all.Sent += stats.Sent
	}
	w.WriteByte(wordEnd)
	return all, w.Flush()
}

// round compares the pages of list, which are in the order of their addresses, as those of the pool are.
func (p *sentPool) round(ctx context.Context, w *bufio.Writer, seed uint64, list []extent) (Stats, error) {
	var stats Stats
	places := p.place(list)
	putWord(w, wordPool, p.number, p.gap, p.pages)
	buf := make([]byte, maxRun*PageSize)
	var out run
	for _, e := range list {
		for done := 0; done < e.pages; {
			if err := ctx.Err(); err != nil {
				return stats, err
			}
			n := min(maxRun, e.pages-done)
			got, err := readMemory(p.pid, e.start+uint64(done)*PageSize, buf[:n*PageSize])
			if err != nil {
				return stats, err
			}
			for i := range got / PageSize {
				page := buf[i*PageSize:][:PageSize]
				place := places[i]
				h := sumOf(page, seed)
				stats.Pages++
				if int(place) < len(p.sums) && p.sums[place] == h {
					continue
				}
				for int(place) >= len(p.sums) {
					p.sums = append(p.sums, sum{})
				}
				p.sums[place] = h
				stats.Sent++
				if err := out.put(w, int(place), page); err != nil {
					return stats, err
				}
			}
			if err := out.flush(w); err != nil { // buf is read into again
				return stats, err
			}
			done, places = done+n, places[n:]
		}
	}
	for len(p.sums) < p.pages { // what could not be read is like nothing that comes
		p.sums = append(p.sums, sum{})
	}
	return stats, nil
}

// place gives the pool page of each page of list, and new ones where there was none.
func (p *sentPool) place(list []extent) []uint32 {
	var places, newPlaces []uint32
	var addrs []uint64
	old := 0
	keep := func(limit uint64) {
		for ; old < len(p.addrs) && p.addrs[old] < limit; old++ {
			addrs, newPlaces = append(addrs, p.addrs[old]), append(newPlaces, p.places[old])
		}
	}
	for _, e := range list {
		for i := range e.pages {
			addr := e.start + uint64(i)*PageSize
			keep(addr)
			place := uint32(p.pages)
			if old < len(p.addrs) && p.addrs[old] == addr {
				place = p.places[old]
				old++
			} else {
				p.pages++
			}
			places = append(places, place)
			addrs, newPlaces = append(addrs, addr), append(newPlaces, place)
		}
	}
	keep(^uint64(0))
	p.addrs, p.places = addrs, newPlaces
	return places
}

// run collects pages that follow each other in a pool.
type run struct {
	at    int
	pages [][]byte
}

func (r *run) put(w *bufio.Writer, at int, page []byte) error {
	if len(r.pages) > 0 && (at != r.at+len(r.pages) || len(r.pages) == maxRun) {
		if err := r.flush(w); err != nil {
			return err
		}
	}
	if len(r.pages) == 0 {
		r.at = at
	}
	r.pages = append(r.pages, page)
	return nil
}

func (r *run) flush(w *bufio.Writer) error {
	if len(r.pages) == 0 {
		return nil
	}
	putWord(w, wordPages, r.at, len(r.pages))
	for _, page := range r.pages {
		if _, err := w.Write(page); err != nil {
			return err
		}
	}
	r.pages = r.pages[:0]
	return nil
}

// putWord leaves errors to the next Write or Flush: a bufio.Writer keeps its first.
func putWord(w *bufio.Writer, word byte, numbers ...int) {
	w.WriteByte(word)
	for _, n := range numbers {
		var b [binary.MaxVarintLen64]byte
		w.Write(b[:binary.PutUvarint(b[:], uint64(n))])
	}
}

// number reads one that must be at most so large.
func number(r io.ByteReader, what string, most int) (int, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, noEOF(err))
	}
	if n > uint64(most) {
		return 0, malformed("%s is %d, want %d at most", what, n, most)
	}
	return int(n), nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
