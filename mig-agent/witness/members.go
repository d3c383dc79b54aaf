package witness

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"

	"sonic-netservices/api"
	"sonic-netservices/internal/managers"
)

// MembersFile has the newest members and managers of the AS, as the agent heard of them: for a start without a manager,
// and for its helper.
func MembersFile(dir string) string { return filepath.Join(dir, "members.json") }

// ReadMembers reads it, and tolerates fields of a newer version.
func ReadMembers(dir string) (*api.Members, error) {
	text, err := os.ReadFile(MembersFile(dir))
	if err != nil {
		return nil, err
	}
	members := &api.Members{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, members); err != nil {
		return nil, fmt.Errorf("read %s: %w", MembersFile(dir), err)
	}
	return members, nil
}

// Managers gives those in the agent's folder and those of the configuration, whenever it is called.
func Managers(dir string, configured []managers.At) func() []managers.At {
	return func() []managers.At {
		var all []managers.At
		if members, err := ReadMembers(dir); err == nil {
			all = managers.Listed(members.Managers)
		}
		for _, at := range configured {
			if !slices.Contains(all, at) {
				all = append(all, at)
			}
		}
		return all
	}
}
