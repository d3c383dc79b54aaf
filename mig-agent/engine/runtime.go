package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// RuntimeName is the name dockerd knows our OCI runtime by (daemon.json "runtimes").
const RuntimeName = "mig"

// RuntimeFile is the base name of the runtime's executable: a copy of mig-agent that looks at its own name.
const RuntimeFile = "mig-runc"

// An armed container is a folder <work>/armed/<container id> that turns the container's next `create` into a restore:
//
//	armed        the folder exists: `docker start` blocks inside `create`, polling for a word
//	  word       {"image":..,"work":..}: restore from there, where a gate may be;  {"fresh":true}: an ordinary start;
//	             {"abort":"reason"}: fail the start
//	  restored   exists between a good `create` and the `start` that follows it, which has nothing left to do
//
// and beside it <container id>.result, {"pid":..} or {"error":..}: what became of it.
// Docker's own overhead of 200-350 ms is paid before the freeze this way (facts: migration 3b).
const (
	armedDir     = "armed"
	wordFile     = "word"
	restoredFile = "restored"
	resultSuffix = ".result"
)

// word is what an armed `create` waits for.
type word struct {
	Image string `json:"image,omitempty"` // CRIU image folder
	Work  string `json:"work,omitempty"`  // CRIU work folder (logs, the lazy-pages daemon's socket)
	Lazy  bool   `json:"lazy,omitempty"`  // that daemon fetches the memory that is not in the image
	Fresh bool   `json:"fresh,omitempty"` // start it as if it had not been armed
	Abort string `json:"abort,omitempty"` // give up, with the reason
}

// RestoreResult is what an armed `create` leaves behind.
type RestoreResult struct {
	PID    int     `json:"pid,omitempty"`
	TookMS float64 `json:"-"` // since Restore
	Error  string  `json:"error,omitempty"`
}

// armWait bounds how long `docker start` may block: while it does, inspect and rm of that container block as well.
const armWait = 120 * time.Second

// RunRuntime is mig-runc: it passes everything to runc, except the create and start of an armed container.
// It returns only on failure or after a restore; otherwise the process becomes runc.
func RunRuntime(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("mig-runc: %w", err)
	}
	agent := filepath.Dir(filepath.Dir(self)) // the executable lives in <agent folder>/bin
	if err := LeadToPrograms(agent); err != nil {
		return fmt.Errorf("mig-runc: %w", err)
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return fmt.Errorf("mig-runc: %w", err)
	}
	base := filepath.Join(agent, "work", armedDir)
	call := parseRuntimeArgs(args)
	dir := filepath.Join(base, call.id)
	switch {
	case call.id == "":
	case call.verb == "create" && exists(dir):
		if err := restoreArmed(runc, dir, call); !errors.Is(err, errFresh) {
			return err
		}
	case call.verb == "start" && exists(filepath.Join(dir, restoredFile)):
		// The restore has started the processes already; with the folder gone the next start is an ordinary one.
		return os.RemoveAll(dir)
	}
	return fmt.Errorf("mig-runc: exec %s: %w", runc, syscall.Exec(runc, append([]string{"runc"}, args...), os.Environ()))
}

// errFresh says that an armed start became an ordinary one.
var errFresh = errors.New("start fresh")

// restoreArmed waits for the word and restores the container in place of creating it.
func restoreArmed(runc, dir string, call runtimeCall) error {
	ctx, cancel := context.WithTimeout(context.Background(), armWait)
	defer cancel()
	w, err := awaitWord(ctx, filepath.Join(dir, wordFile))
	if err != nil {
		os.RemoveAll(dir)
		return fmt.Errorf("mig-runc: armed start of %s: %w", call.id, err)
	}
	if w.Abort != "" {
		os.RemoveAll(dir)
		return fmt.Errorf("mig-runc: armed start of %s taken back: %s", call.id, w.Abort)
	}
	if w.Fresh {
		if err := os.RemoveAll(dir); err != nil { // the start that follows is an ordinary one, too
			return fmt.Errorf("mig-runc: %w", err)
		}
		return errFresh
	}
	args := append(append([]string{}, call.globals...), "restore", "--detach", "--tcp-established",
		"--image-path", w.Image, "--work-path", w.Work, "--bundle", call.bundle)
	if w.Lazy {
		args = append(args, "--lazy-pages")
	}
	if call.pidFile != "" {
		args = append(args, "--pid-file", call.pidFile)
	}
	if call.noPivot {
		args = append(args, "--no-pivot")
	}
	cmd := exec.Command(runc, append(args, call.id)...)
	// The restored processes inherit these three, so they must be the shim's own: a pipe of ours would never close.
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	res := RestoreResult{}
	never := time.AfterFunc(armWait, func() { leaveGate(filepath.Join(w.Image, restoreGate)) })
	defer never.Stop()
	if err := runRestore(cmd); err != nil {
		res.Error = fmt.Sprintf("runc restore: %v: %s", err, lastError(call.log))
	} else if pid, err := readPID(call.pidFile); err == nil {
		res.PID = pid
	}
	if res.Error == "" {
		if err := os.WriteFile(filepath.Join(dir, restoredFile), nil, 0o600); err != nil {
			return fmt.Errorf("mig-runc: %w", err)
		}
	}
	if err := writeJSON(dir+resultSuffix, res); err != nil {
		return fmt.Errorf("mig-runc: %w", err)
	}
	if res.Error != "" {
		return errors.New("mig-runc: " + res.Error)
	}
	return nil
}

func runRestore(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go endKilled(ctx, cmd.Process.Pid)
	return cmd.Wait()
}

// awaitWord polls for the word file: a rename makes it appear whole, and 1 ms of polling costs less than a FIFO's
// open order between two processes that may both die.
func awaitWord(ctx context.Context, path string) (word, error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		data, err := os.ReadFile(path)
		if err == nil {
			var w word
			if err := json.Unmarshal(data, &w); err != nil {
				return word{}, fmt.Errorf("word file: %w", err)
			}
			return w, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return word{}, err
		}
		if !exists(filepath.Dir(path)) {
			return word{Abort: "no longer armed"}, nil
		}
		select {
		case <-ctx.Done():
			return word{}, fmt.Errorf("no word within %v", armWait)
		case <-tick.C:
		}
	}
}

// runtimeCall is the part of an OCI runtime's command line that matters here.
type runtimeCall struct {
	globals []string // flags before the verb
	verb    string
	bundle  string
	pidFile string
	log     string
	noPivot bool
	id      string // last argument
}

// parseRuntimeArgs splits `[globals] VERB [flags] ID` as containerd's shim writes it. Flags with a value are known by
// name; any other is taken as a switch, as runc does.
func parseRuntimeArgs(args []string) runtimeCall {
	var call runtimeCall
	valued := map[string]bool{"root": true, "log": true, "log-format": true, "criu": true, "rootless": true,
		"bundle": true, "b": true, "pid-file": true, "console-socket": true, "preserve-fds": true}
	i := 0
	next := func() (name, value string, ok bool) {
		a := args[i]
		if !strings.HasPrefix(a, "-") || a == "-" || a == "--" {
			return "", "", false
		}
		i++
		name, value, hasValue := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if !hasValue && valued[name] && i < len(args) {
			value = args[i]
			i++
		}
		return name, value, true
	}
	for i < len(args) {
		name, value, ok := next()
		if !ok {
			break
		}
		if name == "log" {
			call.log = value
		}
	}
	call.globals = args[:i]
	if i < len(args) {
		call.verb = args[i]
		i++
	}
	for i < len(args) {
		name, value, ok := next()
		if !ok {
			call.id = args[i]
			i++
			continue
		}
		switch name {
		case "bundle", "b":
			call.bundle = value
		case "pid-file":
			call.pidFile = value
		case "no-pivot":
			call.noPivot = true
		}
	}
	return call
}

// lastError is the newest message of a runc log (JSON lines).
func lastError(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "no log"
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	var line struct{ Msg string }
	if json.Unmarshal(lines[len(lines)-1], &line) != nil || line.Msg == "" {
		return tail(data, 400)
	}
	return line.Msg
}

func readPID(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var pid int
	_, err = fmt.Sscan(string(data), &pid)
	return pid, err
}

// writeJSON makes the file appear whole or not at all.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// tail is the end of a program's output, for an error message of one line.
func tail(out []byte, n int) string {
	s := strings.Join(strings.Fields(string(out)), " ")
	if len(s) > n {
		s = "..." + s[len(s)-n:]
	}
	return s
}
