package sonicdb

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// ConfigFile lists databases and redis instances, on the switch and, through the redis mount, in every feature container.
const ConfigFile = "/var/run/redis/sonic-db/database_config.json"

// ResourDB is the suite's own database. A switch that does not list it has it all the same: number resourID on the
// instance of STATE_DB (SNMP_OVERLAY_DB shares the number and stays in its own keys).
const (
	ResourDB = "RESOUR_DB"
	resourID = 7
)

// ErrNoDatabase says that database_config.json does not know a database of this name.
var ErrNoDatabase = errors.New("no such database")

// Layout is database_config.json: which database lies where. Keys it does not know are ignored, the file belongs to SONiC.
type Layout struct {
	Instances map[string]Instance `json:"INSTANCES"`
	Databases map[string]Database `json:"DATABASES"`
}

// Instance is one redis server.
type Instance struct {
	Hostname string `json:"hostname"`
	Port     int    `json:"port"`
	Socket   string `json:"unix_socket_path"`
}

// Database is one numbered database of an instance.
type Database struct {
	ID        int    `json:"id"`
	Separator string `json:"separator"`
	Instance  string `json:"instance"`
}

// ParseLayout reads the text of database_config.json.
func ParseLayout(text []byte) (Layout, error) {
	var l Layout
	if err := json.Unmarshal(text, &l); err != nil {
		return Layout{}, err
	}
	for name, d := range l.Databases {
		if _, ok := l.Instances[d.Instance]; !ok {
			return Layout{}, fmt.Errorf("DATABASES %s: instance %q is not in INSTANCES", name, d.Instance)
		}
		if d.ID < 0 {
			return Layout{}, fmt.Errorf("DATABASES %s: id %d is negative", name, d.ID)
		}
	}
	return l, nil
}

// Find gives the place of a database.
func (l Layout) Find(name string) (Database, Instance, error) {
	d, ok := l.Databases[name]
	if !ok && name == ResourDB {
		d, ok = l.Databases["STATE_DB"]
		d.ID, d.Separator = resourID, "|"
	}
	if !ok {
		return Database{}, Instance{}, fmt.Errorf("%w: %s", ErrNoDatabase, name)
	}
	return d, l.Instances[d.Instance], nil
}

// within places an absolute path of a switch below root, the folder where the switch's files are seen from here.
// Below a foreign root /var/run is taken as /run: it is a symlink, and an absolute one would lead out of the root.
func within(root, path string) string {
	if root == "" || root == "/" {
		return path
	}
	if rest, ok := strings.CutPrefix(path, "/var/run/"); ok {
		path = "/run/" + rest
	}
	return filepath.Join(root, path)
}
