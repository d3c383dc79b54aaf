package memory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// extent is a run of pages of one process.
type extent struct {
	start uint64 // address
	pages int
}

// Bits of an entry of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst).
const (
	present = 1 << 63
	swapped = 1 << 62
	shared  = 1 << 61 // a page of a file, or shared memory
	frame   = 1<<55 - 1
)

// zeroFrame is the page frame that all memory shares that was read before it was written; 0: not to be found. CRIU
// leaves such pages out.
var zeroFrame = sync.OnceValue(func() uint64 {
	page, err := unix.Mmap(-1, 0, PageSize, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return 0
	}
	defer unix.Munmap(page)
	if page[0] != 0 { // the read maps it
		return 0
	}
	pagemap, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return 0
	}
	defer pagemap.Close()
	var e [8]byte
	if _, err := pagemap.ReadAt(e[:], int64(uintptr(unsafe.Pointer(&page[0]))/PageSize*8)); err != nil {
		return 0
	}
	return binary.LittleEndian.Uint64(e[:]) & frame // 0 also for whoever may not see frames
})

// extents are the pages of a process that CRIU would write, by address: private ones that have content of their own. It
// need not be exact: what is missed is sent inside the freeze, what is too much was sent for nothing.
func extents(proc string, pid int) ([]extent, error) {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	maps, err := os.ReadFile(filepath.Join(dir, "maps"))
	if err != nil {
		return nil, err
	}
	pagemap, err := os.Open(filepath.Join(dir, "pagemap"))
	if err != nil {
		return nil, err
	}
	defer pagemap.Close()
	var list []extent
	for line := range strings.Lines(string(maps)) {
		start, end, ok := private(line)
		if !ok {
			continue
		}
		if list, err = appendPresent(list, pagemap, start, end); err != nil {
			return nil, fmt.Errorf("pagemap of %d: %w", pid, err)
		}
	}
	return list, nil
}

// private reads a line of /proc/PID/maps; ok: the mapping is private and can be read.
func private(line string) (start, end uint64, ok bool) {
	f := strings.Fields(line)
	if len(f) < 5 || len(f[1]) != 4 || f[1][0] != 'r' || f[1][3] != 'p' {
		return 0, 0, false
	}
	if len(f) > 5 && (f[5] == "[vdso]" || f[5] == "[vsyscall]" || strings.HasPrefix(f[5], "[vvar")) {
		return 0, 0, false
	}
	from, to, _ := strings.Cut(f[0], "-")
	start, err1 := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	return start, end, err1 == nil && err2 == nil && start < end
}

func appendPresent(list []extent, pagemap io.ReaderAt, start, end uint64) ([]extent, error) {
	entries := make([]byte, 64<<10)
	for at := start; at < end; {
		want := min(len(entries), int((end-at)/PageSize)*8)
		n, err := pagemap.ReadAt(entries[:want], int64(at/PageSize*8))
		if n < 8 {
			if err == nil || errors.Is(err, io.EOF) { // it ended, or the mapping is gone
				return list, nil
			}
			return list, err
		}
		for i := 0; i+8 <= n; i += 8 {
			e := binary.LittleEndian.Uint64(entries[i:])
			zero := e&present != 0 && e&frame != 0 && e&frame == zeroFrame()
			if e&(present|swapped) != 0 && e&shared == 0 && !zero {
				list = add(list, at)
			}
			at += PageSize
		}
	}
	return list, nil
}

func add(list []extent, at uint64) []extent {
	if n := len(list); n > 0 && list[n-1].start+uint64(list[n-1].pages)*PageSize == at {
		list[n-1].pages++
		return list
	}
	return append(list, extent{at, 1})
}

// readMemory fills b from an address of a process and gives how much was there.
func readMemory(pid int, addr uint64, b []byte) (int, error) {
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	n, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
	if errors.Is(err, unix.EFAULT) || errors.Is(err, unix.ESRCH) { // unmapped since, or the process has ended
		return max(n, 0), nil
	}
	if err != nil {
		return 0, fmt.Errorf("read memory of %d: %w", pid, err)
	}
	return n, nil
}

// Size of the pages of some processes in bytes, without reading one.
func Size(proc string, pids []int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		list, err := extents(proc, pid)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return 0, err
		}
		for _, e := range list {
			sum += int64(e.pages) * PageSize
		}
	}
	return sum, nil
}
