package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// before is what stood outside our folder when we came; Uninstall puts it back. It lies in <dir>/before.json.
type before struct {
	Format     int               `json:"format"`
	DaemonJSON *string           `json:"daemon_json"` // nil: there was no file
	Folder     bool              `json:"folder"`      // there was its folder
	Ours       string            `json:"ours"`        // what we have made of it; anything else is somebody's later change
	Restoring  bool              `json:"restoring"`   // live-restore is on because of us
	Sysctl     map[string]string `json:"sysctl"`
}

// changedSysctls are those of the switch, below /proc/sys, that the service segment changes for all.
var changedSysctls = []string{
	"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables", "net/bridge/bridge-nf-call-arptables",
}

func (h Host) beforeFile() string { return filepath.Join(h.Dir, "before.json") }

// readBefore is fs.ErrNotExist where we were never installed.
func (h Host) readBefore() (b before, err error) {
	return b, readJSON(h.beforeFile(), &b)
}

// rememberBefore notes the machine's state, once. An entry of ours in daemon.json, of a version that noted nothing, is
// taken for ours.
func (h Host) rememberBefore(daemonJSON string) (b before, err error) {
	if b, err = h.readBefore(); !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	b = before{Format: 1, Folder: exists(filepath.Dir(daemonJSON)), Sysctl: map[string]string{}}
	text, err := os.ReadFile(daemonJSON)
	switch {
	case err == nil:
		conf, err := parseDaemonJSON(text)
		if err != nil {
			return b, fmt.Errorf("%s: %w", daemonJSON, err)
		}
		was := string(text)
		if conf.dropRuntime() {
			was = string(conf.text())
		}
		if len(conf) > 0 || was == string(text) { // else there was nothing before us
			b.DaemonJSON = &was
		}
	case !errors.Is(err, fs.ErrNotExist):
		return b, err
	}
	for _, key := range changedSysctls {
		if value, err := os.ReadFile(filepath.Join(h.Proc, "sys", key)); err == nil {
			b.Sysctl[key] = string(bytes.TrimSpace(value))
		}
	}
	return b, writeJSON(h.beforeFile(), b)
}

// daemonJSON is dockerd's configuration: ours are runtimes.mig and, where an operator asks for it, live-restore.
type daemonJSON map[string]json.RawMessage

const liveRestoreKey = "live-restore"

func parseDaemonJSON(text []byte) (daemonJSON, error) {
	conf := daemonJSON{}
	if len(bytes.TrimSpace(text)) == 0 {
		return conf, nil
	}
	return conf, json.Unmarshal(text, &conf)
}

func (c daemonJSON) runtimes() (map[string]json.RawMessage, error) {
	all := map[string]json.RawMessage{}
	if raw, ok := c["runtimes"]; ok {
		if err := json.Unmarshal(raw, &all); err != nil {
			return nil, fmt.Errorf("runtimes: %w", err)
		}
	}
	return all, nil
}

// setRuntimes cannot fail: the values were JSON when they were read.
func (c daemonJSON) setRuntimes(all map[string]json.RawMessage) {
	c["runtimes"], _ = json.Marshal(all)
}

// dropRuntime takes our runtime out, and with it a list that has no other.
func (c daemonJSON) dropRuntime() bool {
	all, err := c.runtimes()
	if _, ours := all[RuntimeName]; err != nil || !ours {
		return false
	}
	if delete(all, RuntimeName); len(all) > 0 {
		c.setRuntimes(all)
	} else {
		delete(c, "runtimes")
	}
	return true
}

func (c daemonJSON) liveRestore() (on, set bool) {
	raw, set := c[liveRestoreKey]
	return string(raw) == "true", set
}

func (c daemonJSON) text() []byte {
	out, _ := json.MarshalIndent(c, "", "  ")
	return append(out, '\n')
}

// want is daemon.json with our runtime and, if asked for, live-restore; one that somebody else has set is left alone. A
// key that is missing means to dockerd's reload that it stays as it is: what shall end is said.
func (b *before) want(now []byte, runtime string, liveRestore bool) (out []byte, changed bool, err error) {
	if out, changed, err = withRuntime(now, runtime); err != nil {
		return nil, false, err
	}
	if liveRestore == b.Restoring {
		return out, changed, nil
	}
	conf, err := parseDaemonJSON(out)
	if err != nil {
		return nil, false, err
	}
	if on, _ := conf.liveRestore(); on && liveRestore {
		return out, changed, nil
	}
	b.Restoring = liveRestore
	conf[liveRestoreKey] = json.RawMessage(fmt.Sprint(liveRestore || b.liveRestore()))
	return conf.text(), true, nil
}

// liveRestore as it was before us.
func (b before) liveRestore() bool {
	if b.DaemonJSON == nil {
		return false
	}
	conf, err := parseDaemonJSON([]byte(*b.DaemonJSON))
	if err != nil {
		return false
	}
	on, _ := conf.liveRestore()
	return on
}

// ending is daemon.json that makes dockerd's reload forget us.
func (b before) ending(now []byte) ([]byte, error) {
	conf, err := parseDaemonJSON(now)
	if err != nil {
		return nil, err
	}
	conf.dropRuntime()
	all, err := conf.runtimes()
	if err != nil {
		return nil, err
	}
	conf.setRuntimes(all)
	if b.Restoring {
		conf[liveRestoreKey] = json.RawMessage(fmt.Sprint(b.liveRestore()))
	}
	return conf.text(), nil
}

// restored is daemon.json as it shall stay: as it was, or, when somebody else has changed it since, without what is ours.
// nil means no file.
func (b before) restored(now []byte) ([]byte, error) {
	if string(now) == b.Ours {
		if b.DaemonJSON == nil {
			return nil, nil
		}
		return []byte(*b.DaemonJSON), nil
	}
	conf, err := parseDaemonJSON(now)
	if err != nil {
		return nil, err
	}
	conf.dropRuntime()
	was := daemonJSON{}
	if b.DaemonJSON != nil {
		if was, err = parseDaemonJSON([]byte(*b.DaemonJSON)); err != nil {
			return nil, err
		}
	}
	on, _ := conf.liveRestore()
	if raw, set := was[liveRestoreKey]; b.Restoring && set {
		conf[liveRestoreKey] = raw
	} else if !set && (b.Restoring || !on) { // false is what says nothing, and may be ours
		delete(conf, liveRestoreKey)
	}
	if len(conf) == 0 && b.DaemonJSON == nil {
		return nil, nil
	}
	return conf.text(), nil
}
