package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// minCRIU is the oldest CRIU that restores on kernels of 2026.
var minCRIU = [3]int{4, 2, 1}

// Platform is what two hosts must have in common for a live move.
type Platform struct {
	CRIU        string
	Runc        string
	Kernel      string
	CPU         string // digest of the CPU's feature flags
	Propagation string // mount propagation of /: a restore fails where it differs (mnt-v2: copy sharing)
}

// Facts reads the platform and names what `live` lacks here.
func (h Host) Facts() (p Platform, missing []string) {
	lack := func(format string, args ...any) { missing = append(missing, fmt.Sprintf(format, args...)) }
	out, err := exec.Command("criu", "--version").Output()
	if err != nil {
		lack("criu: %v", err)
	} else if p.CRIU = field(out, "Version:"); older(p.CRIU, minCRIU) {
		lack("criu %s is older than %d.%d.%d", p.CRIU, minCRIU[0], minCRIU[1], minCRIU[2])
	} else if out, err := exec.Command("criu", "check").CombinedOutput(); err != nil {
		lack("criu check: %v: %s", err, tail(out, 400))
	}
	if out, err = exec.Command("runc", "--version").Output(); err != nil {
		lack("runc: %v", err)
	} else {
		p.Runc = field(out, "runc version")
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err == nil {
		p.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	if p.CPU, err = cpuFlags(filepath.Join(h.Proc, "cpuinfo")); err != nil {
		lack("%v", err)
	}
	if p.Propagation, err = rootPropagation(filepath.Join(h.Proc, "self/mountinfo")); err != nil {
		lack("%v", err)
	}
	return p, missing
}

// Differ names every difference of two platforms that makes a restore fail.
func (p Platform) Differ(q Platform) []string {
	var list []string
	for _, d := range []struct{ what, here, there string }{
		{"criu", p.CRIU, q.CRIU}, {"runc", p.Runc, q.Runc}, {"CPU features", p.CPU, q.CPU},
		{"mount propagation of /", p.Propagation, q.Propagation},
	} {
		if d.here != d.there {
			list = append(list, fmt.Sprintf("%s: %q here, %q at the source", d.what, d.here, d.there))
		}
	}
	return list
}

// Dockerd is what Install tells dockerd, and where.
type Dockerd struct {
	JSON        string // its configuration
	PID         string // its pid file
	LiveRestore bool   // containers shall outlive it; false leaves it as it was before us
}

// Install makes the host ready: our runtime's executable, the runtime entry of dockerd, the tmpfs for images, CRIU's
// configuration. Idempotent; dockerd is told by SIGHUP and restarts nothing. It says whether anything changed.
func (h Host) Install(d Dockerd) (changed bool, err error) {
	for _, dir := range []string{"bin", "work"} {
		if err := os.MkdirAll(filepath.Join(h.Dir, dir), 0o755); err != nil {
			return false, fmt.Errorf("install: %w", err)
		}
	}
	if err := mountWork(filepath.Join(h.Dir, "work")); err != nil {
		return false, err
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return false, fmt.Errorf("install: %w", err)
	}
	if err := replaceFile(h.runtime(), self, 0o755); err != nil {
		return false, err
	}
	if err := replaceFile(CRIUConfigPath(h.Dir), []byte(criuConfig), 0o644); err != nil {
		return false, err
	}
	return h.ConfigureDockerd(d)
}

func (h Host) runtime() string { return filepath.Join(h.Dir, "bin", RuntimeFile) }

// ConfigureDockerd makes dockerd know our runtime, and live-restore be what d says. What stands in daemon.json beside
// stays.
func (h Host) ConfigureDockerd(d Dockerd) (changed bool, err error) {
	b, err := h.rememberBefore(d.JSON)
	if err != nil {
		return false, fmt.Errorf("configure dockerd: %w", err)
	}
	old, err := os.ReadFile(d.JSON)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("configure dockerd: %w", err)
	}
	text, changed, err := b.want(old, h.runtime(), d.LiveRestore)
	if err != nil {
		return false, fmt.Errorf("configure dockerd: %s: %w", d.JSON, err)
	}
	if !changed {
		return false, nil
	}
	if string(old) == b.Ours || b.Ours == "" { // else somebody has changed it, which must not be undone with ours
		b.Ours = string(text)
	}
	if err := writeJSON(h.beforeFile(), b); err != nil {
		return false, fmt.Errorf("configure dockerd: %w", err)
	}
	return true, d.reload(text)
}

// reload gives dockerd a new configuration without a restart.
func (d Dockerd) reload(text []byte) error {
	if err := os.MkdirAll(filepath.Dir(d.JSON), 0o755); err != nil {
		return fmt.Errorf("configure dockerd: %w", err)
	}
	if err := replaceFile(d.JSON, text, 0o644); err != nil {
		return err
	}
	pid, err := readPID(d.PID)
	if err != nil {
		return fmt.Errorf("configure dockerd: its pid: %w", err)
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("configure dockerd: reload: %w", err)
	}
	return nil
}

// withRuntime adds our runtime to the text of daemon.json and leaves everything else as it is.
func withRuntime(text []byte, path string) (out []byte, changed bool, err error) {
	conf, err := parseDaemonJSON(text)
	if err != nil {
		return nil, false, err
	}
	runtimes, err := conf.runtimes()
	if err != nil {
		return nil, false, err
	}
	var entry struct {
		Path string `json:"path"`
	}
	if raw, ok := runtimes[RuntimeName]; ok && json.Unmarshal(raw, &entry) == nil && entry.Path == path {
		return text, false, nil
	}
	entry.Path = path
	if runtimes[RuntimeName], err = json.Marshal(entry); err != nil {
		return nil, false, err
	}
	conf.setRuntimes(runtimes)
	return conf.text(), true, nil
}

// mountWork puts a tmpfs on the work folder, once: a CRIU image is written inside the freeze and is worthless after it.
func mountWork(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if st.Type == unix.TMPFS_MAGIC {
		return nil
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
		return fmt.Errorf("install: mount tmpfs on %s: %w", dir, err)
	}
	return nil
}

// replaceFile makes the file appear whole, and leaves an equal one alone.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// field is the word behind a key, at the beginning of a line.
func field(out []byte, key string) string {
	for _, line := range strings.Split(string(out), "\n") {
		if rest, ok := strings.CutPrefix(line, key); ok {
			if words := strings.Fields(rest); len(words) > 0 {
				return words[0]
			}
		}
	}
	return ""
}

// older compares a dotted version; what is no number counts as 0.
func older(version string, least [3]int) bool {
	parts := strings.SplitN(version, ".", 3)
	for i := range least {
		n := 0
		if i < len(parts) {
			n, _ = strconv.Atoi(parts[i])
		}
		if n != least[i] {
			return n < least[i]
		}
	}
	return false
}

func cpuFlags(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("CPU features: %w", err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		name, value, _ := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); name == "flags" || name == "Features" { // amd64, arm64
			sum := sha256.Sum256([]byte(strings.TrimSpace(value)))
			return hex.EncodeToString(sum[:8]), nil
		}
	}
	return "", fmt.Errorf("CPU features: no flags in %s", path)
}

func rootPropagation(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("mount propagation: %w", err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) > 6 && f[4] == "/" {
			for _, opt := range f[6:] {
				if opt == "-" {
					break
				}
				if strings.HasPrefix(opt, "shared:") {
					return "shared", nil
				}
			}
			return "private", nil
		}
	}
	return "", fmt.Errorf("mount propagation: no / in %s", path)
}
