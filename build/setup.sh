#!/usr/bin/env bash
# Installs what a fresh Debian 12 with Go lacks. Run by make; quick and quiet when nothing is missing.
set -euo pipefail
packages=(ca-certificates coinor-cbc debian-archive-keyring debootstrap iperf3 iproute2 iptables iputils-ping libyang2-tools nftables procps protobuf-compiler python3-zmq redis-server redis-tools util-linux)

missing=()
for p in "${packages[@]}"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)" = installed ] || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
	[ "$(id -u)" = 0 ] || { echo "missing, and only root may install: ${missing[*]}" >&2; exit 1; }
	export DEBIAN_FRONTEND=noninteractive
	apt-get -q update >&2
	apt-get -q -y install --no-install-recommends "${missing[@]}" >&2
fi

want=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' "$(dirname "$0")/../go.mod")
have=$(go env GOVERSION 2>/dev/null | sed 's/^go//') || true
[ -n "$have" ] || { echo "no Go on the PATH: install Go $want or newer" >&2; exit 1; }
[ "$(printf '%s\n' "$want" "$have" | sort -V | head -1)" = "$want" ] || { echo "Go $have: want $want or newer" >&2; exit 1; }

# Only interoperability tests and measurements need it, so that its absence stops nothing else.
"$(dirname "$0")/ntop.sh" || echo "ntop's n2n could not be fetched: what compares with it will not run" >&2
