#!/usr/bin/env bash
# Unpacks ntop's n2n, which ours has to get along with, into out/ntop: edge, supernode, n2n-keygen. It is installed nowhere:
# Debian has version 3 in sid only, and it wants sid's C library, which comes along. Run by build/setup.sh.
set -euo pipefail
version=3.1.1-3
out=$(cd "$(dirname "$0")/.." && pwd)/out/ntop
[ "$(cat "$out/version" 2>/dev/null || true)" = "$version" ] && exit 0

# The archive is whatever this machine's own apt uses for Debian.
archive() { apt-get indextargets --format '$(SITE) $(LABEL)' 'Created-By: Packages' | awk '$2 == "Debian" && !m {m = $1} END {print m}'; }
mirror=$(archive)
[ -n "$mirror" ] || { apt-get -q update >&2 && mirror=$(archive); }
[ -n "$mirror" ] || { echo "no Debian archive among apt's sources" >&2; exit 1; }

# An apt of its own, so that this machine's knows nothing of sid. A mirror may lag: its signature is checked, its age is not.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root"
echo "deb [check-valid-until=no signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$work/sources.list"
sid() {
	(cd "$work" && apt-get -q -o APT::Sandbox::User=root -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/nonexistent \
		-o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" "$@") >&2
}
sid update
sid download "n2n=$version" libc6
for deb in "$work"/*.deb; do
	dpkg-deb -x "$deb" "$work/root"
done

mkdir -p "$work/ntop/lib"
cp -a "$work"/root/usr/lib/*-linux-gnu*/. "$work/ntop/lib"
loader=$(basename "$(ls "$work"/ntop/lib/ld-linux*.so* | head -1)")
for program in edge supernode n2n-keygen; do
	cp "$work/root/usr/sbin/$program" "$work/ntop/lib/$program"
	cat >"$work/ntop/$program" <<-END
		#!/bin/sh
		lib=\$(dirname "\$(readlink -f "\$0")")/lib
		exec "\$lib/$loader" --library-path "\$lib" "\$lib/$program" "\$@"
	END
	chmod +x "$work/ntop/$program"
done
echo "$version" >"$work/ntop/version"
mkdir -p "$(dirname "$out")"
rm -rf "$out"
mv "$work/ntop" "$out"
