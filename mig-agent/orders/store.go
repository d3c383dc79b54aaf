package orders

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"sonic-netservices/api"
	"sonic-netservices/netmap"
)

// What must outlast the agent, each file whole and on disk before the step that needs it:
//
//	replicas/<replica>.json   what runs on this node, as ordered (with secrets: mode 0600)
//	members.json              the newest members and managers of the AS, for a start without the manager
//	obeys.json                the cluster of managers this node obeys, and the newest epoch seen of it

func replicaFile(dir string, id netmap.ReplicaID) string {
	return filepath.Join(dir, "replicas", id.String()+".json")
}

func writeReplicaFile(dir string, id netmap.ReplicaID, r *api.Replica) error {
	return writeMessage(replicaFile(dir, id), r)
}

func removeReplicaFile(dir string, id netmap.ReplicaID) error {
	if err := os.Remove(replicaFile(dir, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func readReplicaFiles(dir string) ([]*api.Replica, error) {
	names, err := filepath.Glob(filepath.Join(dir, "replicas", "*.json"))
	if err != nil {
		return nil, err
	}
	var list []*api.Replica
	for _, name := range names {
		r := &api.Replica{}
		if err := readMessage(name, r); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

func writeMessage(path string, m proto.Message) error {
	data, err := protojson.Marshal(m)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writeDurable(path, data)
}

// readMessage tolerates fields of a newer version.
func readMessage(path string, m proto.Message) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, m); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// writeDurable makes a file appear whole, or not at all, also over a power cycle.
func writeDurable(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer d.Close()
	return d.Sync()
}
