package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sonic-netservices/sonic-vs/load"
)

// What else runs on this machine slows down every switch at once, which no switch of a real network does to another.
const (
	busy     = 0.25 // share of all cores that others use: too much to measure beside
	calmTime = 2 * time.Minute
	looking  = 2 * time.Second
)

// calm waits until others leave the machine alone, for a while: who cannot have it quiet gets what it shows.
func (d *demo) calm(ctx context.Context) error {
	begun := time.Now()
	var said time.Time
	for {
		from, err := d.others(nil)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(looking):
		}
		to, err := d.others(nil)
		if err != nil {
			return err
		}
		use := share(from, to)
		switch {
		case use < busy:
			return nil
		case time.Since(begun) > calmTime:
			step("  ! the machine is still busy with something else, %.0f %% of its cores: go on, what is measured now may be off", 100*use)
			return nil
		case time.Since(said) > 10*time.Second:
			said = time.Now()
			step("  the machine is busy with something else, %.0f %% of its cores: wait", 100*use)
		}
	}
}

// others is what neither the switches nor the demo nor its clients used since the machine was started.
func (d *demo) others(clients *clients) (load.Usage, error) {
	u := load.Usage{Node: load.Others, Budget: cores()}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u, err
	}
	if u.CPU, err = parseBusy(string(text)); err != nil {
		return u, fmt.Errorf("/proc/stat: %w", err)
	}
	u.At = time.Now().UTC()
	for _, n := range d.bed.Nodes {
		used, err := nodeUse(n.Cgroups)
		if err != nil {
			return u, fmt.Errorf("what %s uses: %w", n.Name, err)
		}
		u.CPU -= used
	}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var r syscall.Rusage
		if err := syscall.Getrusage(who, &r); err != nil {
			return u, err
		}
		u.CPU -= time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	if clients != nil { // not a child that has ended yet
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", clients.cmd.Process.Pid))
		if err != nil {
			return u, err
		}
		used, err := parseProcess(string(text))
		if err != nil {
			return u, fmt.Errorf("/proc/PID/stat: %w", err)
		}
		u.CPU -= used
	}
	u.CPU = max(u.CPU, 0)
	return u, nil
}

// nodeUse is the CPU time of everything in a switch.
func nodeUse(cgroups map[string]string) (time.Duration, error) {
	if dir, ok := cgroups["cpuacct"]; ok {
		used, err := readNumber(dir, "cpuacct.usage")
		return time.Duration(used), err
	}
	stat, err := readStat(filepath.Clean(cgroups[""]))
	return time.Duration(stat["usage_usec"]) * time.Microsecond, err
}

// tick is the unit of /proc, USER_HZ: 100 on every architecture.
const tick = 10 * time.Millisecond

// parseBusy adds what all cores did but for idle and waiting for disks; stolen time is busy, too.
func parseBusy(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, fmt.Errorf("no line of all cores: %q", line)
	}
	var sum time.Duration
	for _, i := range []int{1, 2, 3, 6, 7, 8} { // user, nice, system, irq, softirq, steal
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// parseProcess reads utime and stime. The name of the program may hold spaces and brackets.
func parseProcess(stat string) (time.Duration, error) {
	f := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	if len(f) < 13 {
		return 0, fmt.Errorf("too few fields: %q", stat)
	}
	user, err := strconv.ParseInt(f[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * tick, err
}
