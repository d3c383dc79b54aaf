package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Periods of a quota, in microseconds. The kernel's default lets services that are at their budget stand still for up to
// a tenth of a second; with a short period they get slower instead. It allows no quota below a millisecond, so a tiny
// budget needs the long one.
const (
	shortPeriod = 10000
	longPeriod  = 100000
	leastQuota  = 1000
)

// quotaOf a budget.
func quotaOf(cores float64) (quota, period int) {
	if cores*shortPeriod >= leastQuota {
		return int(math.Round(cores * shortPeriod)), shortPeriod
	}
	return max(leastQuota, int(math.Round(cores*longPeriod))), longPeriod
}

// SetBudget limits the services of this switch together: cpu in cores, memory in bytes, 0 for no limit. Idempotent; it
// makes the cgroup when Docker has not yet. CRIU and the agents are in other cgroups and keep what they need.
func (h Host) SetBudget(group string, cpu float64, memory int64) error {
	if exists(filepath.Join(h.Cgroups, "cpu")) {
		return h.setBudgetV1(group, cpu, memory)
	}
	return h.setBudgetV2(group, cpu, memory)
}

func (h Host) setBudgetV1(group string, cpu float64, memory int64) error {
	dir := filepath.Join(h.Cgroups, "cpu", group)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("budget: %w", err)
	}
	quota, period := -1, shortPeriod
	if cpu > 0 {
		quota, period = quotaOf(cpu)
	}
	if old, err := readNumber(filepath.Join(dir, "cpu.cfs_period_us")); err == nil && old != int64(period) {
		// The former quota may be too little or too much for the new period.
		if err := write(dir, "cpu.cfs_quota_us", -1); err != nil {
			return fmt.Errorf("budget: %w", err)
		}
		if err := write(dir, "cpu.cfs_period_us", period); err != nil {
			return fmt.Errorf("budget: %w", err)
		}
	}
	err := write(dir, "cpu.cfs_quota_us", quota)
	if errors.Is(err, syscall.EINVAL) { // v1 refuses a quota below that of a child
		if err = lowerChildren(dir, float64(quota)/float64(period)); err == nil {
			err = write(dir, "cpu.cfs_quota_us", quota)
		}
	}
	if err != nil {
		return fmt.Errorf("budget: %w", err)
	}
	dir = filepath.Join(h.Cgroups, "memory", group)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("budget: %w", err)
	}
	limit := memory
	if limit == 0 {
		limit = -1
	}
	if err := write(dir, "memory.limit_in_bytes", limit); err != nil {
		return fmt.Errorf("budget: %w", err)
	}
	return nil
}

// lowerChildren takes what the cgroups of single containers may use down to cores.
func lowerChildren(dir string, cores float64) error {
	all, err := filepath.Glob(filepath.Join(dir, "*", "cpu.cfs_quota_us"))
	if err != nil {
		return err
	}
	for _, file := range all {
		child := filepath.Dir(file)
		quota, err1 := readNumber(file)
		period, err2 := readNumber(filepath.Join(child, "cpu.cfs_period_us"))
		if err := errors.Join(err1, err2); errors.Is(err, fs.ErrNotExist) {
			continue // it ended
		} else if err != nil {
			return err
		}
		if float64(quota) > cores*float64(period) {
			if err := write(child, "cpu.cfs_quota_us", int(cores*float64(period))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h Host) setBudgetV2(group string, cpu float64, memory int64) error {
	dir := filepath.Join(h.Cgroups, group)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("budget: %w", err)
	}
	if !exists(filepath.Join(dir, "cpu.max")) || !exists(filepath.Join(dir, "memory.max")) {
		if err := write(h.Cgroups, "cgroup.subtree_control", "+cpu +memory"); err != nil {
			return fmt.Errorf("budget: %w", err)
		}
	}
	allowed, limit := fmt.Sprintf("max %d", shortPeriod), "max"
	if cpu > 0 {
		quota, period := quotaOf(cpu)
		allowed = fmt.Sprintf("%d %d", quota, period)
	}
	if memory > 0 {
		limit = strconv.FormatInt(memory, 10)
	}
	if err := write(dir, "cpu.max", allowed); err != nil {
		return fmt.Errorf("budget: %w", err)
	}
	if err := write(dir, "memory.max", limit); err != nil {
		return fmt.Errorf("budget: %w", err)
	}
	return nil
}

// write gives a cgroup file a value.
func write(dir, file string, value any) error {
	return os.WriteFile(filepath.Join(dir, file), []byte(fmt.Sprint(value)), 0o644)
}

func readNumber(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}
