package orders

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
)

// nameRule is what may become part of a path and of a container's name.
var nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// checkReplica refuses what would be misunderstood later, or be read as a path. Whoever sends it has checked it before:
// this is for the one who did not.
func checkReplica(r *api.Replica) error {
	bad := func(field, format string, args ...any) error {
		return status.Errorf(codes.InvalidArgument, "replica.%s: %s", field, fmt.Sprintf(format, args...))
	}
	if r == nil {
		return status.Error(codes.InvalidArgument, "replica: missing")
	}
	if !nameRule.MatchString(r.Service) {
		return bad("service", "%q is not a name", r.Service)
	}
	if r.Replica < 0 {
		return bad("replica", "%d is negative", r.Replica)
	}
	if !strings.HasPrefix(r.ImageId, "sha256:") {
		return bad("image_id", "%q is not sha256:...", r.ImageId)
	}
	if _, err := netip.ParsePrefix(r.Address); err != nil {
		return bad("address", "%v", err)
	}
	for i, prefix := range r.MoreAddresses {
		if _, err := netip.ParsePrefix(prefix); err != nil {
			return bad(fmt.Sprintf("more_addresses[%d]", i), "%v", err)
		}
	}
	for i, p := range r.Ports {
		if p.Protocol != "tcp" && p.Protocol != "udp" {
			return bad(fmt.Sprintf("ports[%d].protocol", i), "%q is not tcp or udp", p.Protocol)
		}
		for field, port := range map[string]int32{"node": p.Node, "container": p.Container} {
			if port < 1 || port > 65535 {
				return bad(fmt.Sprintf("ports[%d].%s", i, field), "%d is not a port", port)
			}
		}
	}
	for i, v := range r.Volumes {
		if !nameRule.MatchString(v.Name) {
			return bad(fmt.Sprintf("volumes[%d].name", i), "%q is not a name", v.Name)
		}
		if !path.IsAbs(v.Target) || path.Clean(v.Target) != v.Target || strings.Contains(v.Target, ":") {
			return bad(fmt.Sprintf("volumes[%d].target", i), "%q is not a clean absolute path", v.Target)
		}
	}
	for _, limit := range []struct {
		field string
		value float64
	}{{"cpu_limit", r.CpuLimit}, {"memory_limit", float64(r.MemoryLimit)}, {"pids_limit", float64(r.PidsLimit)}} {
		if limit.value < 0 {
			return bad(limit.field, "%v is negative", limit.value)
		}
	}
	return nil
}
