package overlay

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
)

// Network is what a site's kernel has of addresses and routes, as ip prints it.
func (b *Bed) Network(site string) (string, error) {
	var all strings.Builder
	for _, args := range [][]string{{"-br", "addr"}, {"route"}, {"-6", "route"}} {
		var out, said bytes.Buffer
		ip := exec.Command("ip", args...)
		ip.Stdout, ip.Stderr = &out, &said
		if err := b.InNetns(site, ip.Run); err != nil {
			return "", fmt.Errorf("ip at %s: %w: %s", site, err, strings.TrimSpace(said.String()))
		}
		all.Write(out.Bytes())
	}
	return all.String(), nil
}
