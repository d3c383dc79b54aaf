package testbed

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestHierarchies: the three ways a machine lays out its cgroups, and how a node sees them.
func TestHierarchies(t *testing.T) {
	controllers := []string{"cpuset", "cpu", "cpuacct", "freezer", "memory"}
	for _, c := range []struct {
		name, mountinfo string
		want            []hierarchy
		mounts          []mount // flags left out
	}{
		{"v2", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n" +
			"31 23 0:27 / /sys/fs/pstore rw - pstore pstore rw\n",
			[]hierarchy{{Mount: "/sys/fs/cgroup"}},
			[]mount{{target: "/sys/fs/cgroup", fstype: "cgroup2", source: "cgroup2"}},
		},
		{"hybrid", "1 2 0:1 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n" +
			"2 1 0:2 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 master:2 - cgroup cgroup rw,cpu,cpuacct\n" +
			"3 1 0:3 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n" +
			"4 1 0:4 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n" +
			"5 1 0:2 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" + // mounted over
			"6 1 0:5 /x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", // a part, bound there: not a hierarchy's root
			[]hierarchy{
				{Mount: "/sys/fs/cgroup/systemd", Controllers: []string{"name=systemd"}},
				{Mount: "/sys/fs/cgroup/unified"},
				{Mount: "/sys/fs/cgroup/cpu,cpuacct", Controllers: []string{"cpu", "cpuacct"}},
			},
			[]mount{
				{target: "/sys/fs/cgroup", fstype: "tmpfs", source: "cgroup", data: "mode=755"},
				{target: "/sys/fs/cgroup/systemd", fstype: "cgroup", source: "cgroup", data: "none,name=systemd"},
				{target: "/sys/fs/cgroup/unified", fstype: "cgroup2", source: "cgroup2"},
				{target: "/sys/fs/cgroup/cpu,cpuacct", fstype: "cgroup", source: "cgroup", data: "cpu,cpuacct"},
			},
		},
		{"none", "30 23 0:26 / / rw - ext4 /dev/vda rw\nnonsense\n", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := parseHierarchies(c.mountinfo, controllers)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("hierarchies (-want +got):\n%s", diff)
			}
			if len(got) == 0 {
				return
			}
			mounts := cgroupMounts(got)
			for i := range mounts {
				mounts[i].flags = 0
			}
			if diff := cmp.Diff(c.mounts, mounts, cmp.AllowUnexported(mount{})); diff != "" {
				t.Errorf("mounts (-want +got):\n%s", diff)
			}
		})
	}
}
