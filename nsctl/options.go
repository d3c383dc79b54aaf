package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sonic-netservices/api"
)

// moveFlags say how one move is done.
type moveFlags struct {
	lazy      bool
	precopy   string
	bandwidth string
}

func (f *moveFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.lazy, "lazy", false, "live: memory follows after the switch. Until the last page is there, the loss of either node or of the link loses the service")
	cmd.Flags().StringVar(&f.precopy, "precopy", "auto", "live: how memory is sent ahead of the freeze: auto, off, content or tracked")
	cmd.Flags().StringVar(&f.bandwidth, "bandwidth", "", "bulk data before the freeze at most, in bit/s: 200M, 1G (default: as the node is configured)")
}

// options of a move; nil leaves everything to the agents.
func (f *moveFlags) options() (*api.MoveOptions, error) {
	o := &api.MoveOptions{Lazy: f.lazy}
	switch f.precopy {
	case "auto":
	case "off":
		o.Precopy = api.Precopy_PRECOPY_OFF
	case "content":
		o.Precopy = api.Precopy_PRECOPY_CONTENT
	case "tracked":
		o.Precopy = api.Precopy_PRECOPY_TRACKED
	default:
		return nil, fmt.Errorf("--precopy %q: want auto, off, content or tracked", f.precopy)
	}
	if f.bandwidth != "" {
		rate, err := parseRate(f.bandwidth)
		if err != nil {
			return nil, fmt.Errorf("--bandwidth %q: want bit/s, as 200M or 1G", f.bandwidth)
		}
		o.BandwidthBps = rate
	}
	if !o.Lazy && o.Precopy == api.Precopy_PRECOPY_AUTO && o.BandwidthBps == 0 {
		return nil, nil
	}
	return o, nil
}

// parseRate reads bits a second, with K, M or G for powers of 1,000.
func parseRate(text string) (int64, error) {
	unit := 1.0
	for suffix, of := range map[string]float64{"K": 1e3, "M": 1e6, "G": 1e9} {
		if rest, ok := strings.CutSuffix(strings.ToUpper(text), suffix); ok {
			text, unit = rest, of
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, err
	}
	if rate := n * unit; rate >= 1 && rate <= 1e15 {
		return int64(rate), nil
	}
	return 0, strconv.ErrRange
}
