package scenario

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"sonic-netservices/sonic-vs/overlay"
)

// overlayBed is where the scenarios of overlays play. Its logs are records.
func (s *stage) overlayBed() (*overlay.Bed, error) {
	return overlay.New(s.bed, s.Repo, filepath.Join(s.dir, "logs"))
}

// overlayNet is the net of the n-th community of a scenario.
func overlayNet(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, byte(n), 0}), 24)
}

// together does n things, some at a time.
func together(n, atATime int, do func(i int)) {
	var all sync.WaitGroup
	slots := make(chan struct{}, atATime)
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			do(i)
		})
	}
	all.Wait()
}

// writeLines writes records, a JSON object a line.
func writeLines[T any](path string, records []T) error {
	var text strings.Builder
	enc := json.NewEncoder(&text)
	for _, r := range records {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}

// chosen says whether a case is to be played.
func (s *stage) chosen(name string) bool {
	return len(s.Cases) == 0 || slices.Contains(s.Cases, name)
}
