# Makes the base root of the virtual switches in $1 from the Debian packages in the list $2.
# Runs as PID 1 of its own PID and mount namespace (rootfs.go), so that a kill leaves no process and no mount.
set -euo pipefail
root=$1
packages=$(paste -sd, "$2")
suite=trixie
criu=4.2.1 # the first release that does what mig-agent asks of it; trixie has an older one

mount -t proc proc /proc # debootstrap looks at it, and the host's shows another PID namespace
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
eval "$(apt-config shell proxy Acquire::http::Proxy)"
[ -z "${proxy:-}" ] || export http_proxy=$proxy

# The archive is whatever this machine's own apt uses for Debian.
archive() { apt-get indextargets --format '$(SITE) $(LABEL)' 'Created-By: Packages' | awk '$2 == "Debian" && !m {m = $1} END {print m}'; }
mirror=$(archive)
if [ -z "$mirror" ]; then # apt knows labels only after its first update
	apt-get -q update
	mirror=$(archive)
fi
[ -n "$mirror" ] || { echo "no Debian archive among apt's sources" >&2; exit 1; }

debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror"

# criu comes from sid; everything else stays where it is: the priority is below that of installed packages.
# The archive may be a mirror that lags by weeks: its signature is checked, its age is not.
echo "deb [check-valid-until=no] $mirror sid main" >"$root/etc/apt/sources.list.d/sid.list"
printf 'Package: *\nPin: release n=sid\nPin-Priority: 40\n' >"$root/etc/apt/preferences.d/sid"
cp --dereference /etc/resolv.conf "$root/etc/resolv.conf"
chroot "$root" apt-get -q update
chroot "$root" apt-get -q -y install -t sid --no-install-recommends criu
version=$(chroot "$root" dpkg-query -W -f '${Version}' criu)
dpkg --compare-versions "$version" ge "$criu" || { echo "criu $version: want $criu or newer" >&2; exit 1; }

# Trim what a switch never reads.
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/* \
	"$root"/usr/share/{doc,man,info,locale,lintian,bug}/* "$root"/etc/apt/{sources.list,sources.list.d/*,preferences.d/sid}
: >"$root/etc/resolv.conf"
