package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sonic-netservices/sonic-vs/load"
)

// readUsageV1 reads cpuacct.usage (ns), cpu.cfs_* (µs, quota -1: none) and cpu.stat (throttled_time, ns).
func readUsageV1(node, account, cpu string) (load.Usage, error) {
	u := load.Usage{At: time.Now().UTC(), Node: node}
	quota, err := readNumber(cpu, "cpu.cfs_quota_us")
	if errors.Is(err, fs.ErrNotExist) {
		return u, nil
	}
	if err != nil {
		return u, err
	}
	period, err := readNumber(cpu, "cpu.cfs_period_us")
	if err != nil {
		return u, err
	}
	stat, err := readStat(cpu)
	if err != nil {
		return u, err
	}
	used, err := readNumber(account, "cpuacct.usage")
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // Docker makes it with the first service
		return u, err
	}
	u.CPU, u.Throttled = time.Duration(used), time.Duration(stat["throttled_time"])
	if quota > 0 && period > 0 {
		u.Budget = float64(quota) / float64(period)
	}
	return u, nil
}

// readUsageV2 reads cpu.stat (usage_usec, throttled_usec) and cpu.max ("QUOTA PERIOD" in µs, or "max PERIOD").
func readUsageV2(node, dir string) (load.Usage, error) {
	u := load.Usage{At: time.Now().UTC(), Node: node}
	stat, err := readStat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return u, nil
	}
	if err != nil {
		return u, err
	}
	u.CPU = time.Duration(stat["usage_usec"]) * time.Microsecond
	u.Throttled = time.Duration(stat["throttled_usec"]) * time.Microsecond
	text, err := os.ReadFile(filepath.Join(dir, "cpu.max"))
	if err != nil {
		return u, err
	}
	var quota, period float64
	if _, err := fmt.Sscan(string(text), &quota, &period); err == nil && period > 0 { // max is no number
		u.Budget = quota / period
	}
	return u, nil
}

func readNumber(dir, name string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

// readStat reads cpu.stat, a line for each value.
func readStat(dir string) (map[string]int64, error) {
	text, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return nil, err
	}
	stat := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if stat[name], err = strconv.ParseInt(value, 10, 64); err != nil {
			return nil, fmt.Errorf("%s/cpu.stat: %q is not a number", dir, line)
		}
	}
	return stat, nil
}
