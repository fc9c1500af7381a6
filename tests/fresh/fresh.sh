#!/usr/bin/env bash
# README's two commands as somebody meets them whose machine has nothing yet: in a bare tree of each supported Debian,
# from a clone, up to the first trained run of the demo and the quick tests. Then the tree is thrown away.
#   tests/fresh/fresh.sh [SUITE ...]      default: bookworm (Python 3.11) and trixie (Python 3.13)
#   TARGET=test      instead of `make quick`
#   MIRROR=URL       of Debian's packages; default: the one that this machine uses
#   KEEP=1           leaves the trees where they are
# Needs root, debootstrap, some 20 GB below $TMPDIR (/var/tmp) and a package index; what is committed is what is tried.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

skip() { printf 'fresh: skipped: %s\n' "$*" >&2; exit 0; }
say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

[ "$(id -u)" = 0 ] || skip "needs root (debootstrap, chroot)"
for command in debootstrap unshare git; do
  command -v "$command" >/dev/null || skip "needs $command"
done
unshare --mount --pid --fork true 2>/dev/null || skip "this machine lets nobody make namespaces"

mirror=${MIRROR:-$(sed -nE 's/^URIs: *([^ ]+).*/\1/p; s/^deb +(\[[^]]*\] +)?([^ ]+).*/\2/p' \
  /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
  grep -E '/debian/?$' | head -n 1 || true)}
suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(bookworm trixie)

# A command in the tree, which ends with all that it has started. The tree has what this machine needs to reach a
# package index (name server, proxy, certificates, a mirror), and no wheel that lies about here.
inside() {
  local tree=$1 setting
  local given=(PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8)
  for setting in http_proxy https_proxy no_proxy PIP_INDEX_URL PIP_DEFAULT_TIMEOUT TORCH_INDEX; do
    [ -z "${!setting:-}" ] || given+=("$setting=${!setting}")
  done
  [ -z "${PIP_CERT:-}" ] || given+=(PIP_CERT=/etc/ssl/certs/of-the-host.crt)
  unshare --mount --pid --fork --kill-child sh -euc '
    mount --make-rprivate /
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    mount --rbind /sys "$1/sys"
    tree=$1; command=$2; shift 2
    exec env -i "$@" chroot "$tree" bash -euo pipefail -c "cd /root/blurtrain; $command"
  ' inside "$tree" "$2" "${given[@]}" </dev/null
}

# MiB that this machine has received over its network devices since it was started.
received() {
  local device
  for device in /sys/class/net/*/device; do cat "${device%/device}/statistics/rx_bytes"; done |
    awk '{n += $1} END {printf "%d", n / 1048576}'
}

first_run='
make demo & demo=$!
until ls demo/runs/*/result.json >/dev/null 2>&1; do
  kill -0 $demo 2>/dev/null || { wait $demo; exit 1; }
  sleep 1
done
echo "first trained run: $(ls demo/runs/*/result.json | head -n 1)"'

for suite in "${suites[@]}"; do
  tree=$(mktemp -d "${TMPDIR:-/var/tmp}/blurtrain-fresh-$suite.XXXX")
  chmod 755 "$tree" # apt fetches as a user of its own
  [ -n "${KEEP:-}" ] || trap 'rm -rf --one-file-system "$tree"' EXIT
  say "$suite in $tree"
  began=$SECONDS
  debootstrap --variant=minbase --include=make,git,ca-certificates "$suite" "$tree" ${mirror:+"$mirror"} >"$tree.log" ||
    { tail "$tree.log" >&2; exit 1; }
  rm "$tree.log"
  cp /etc/resolv.conf "$tree/etc/resolv.conf"
  printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$(hostname)" >"$tree/etc/hosts" # as Debian's installer leaves it
  [ -z "${PIP_CERT:-}" ] || cp "$PIP_CERT" "$tree/etc/ssl/certs/of-the-host.crt"
  git clone --quiet --no-hardlinks . "$tree/root/blurtrain"
  say "$suite: ready after $((SECONDS - began)) s; make demo, up to the first trained run"
  began=$SECONDS fetched=$(received)
  inside "$tree" "$first_run"
  demo=$((SECONDS - began))
  python=$(inside "$tree" '.venv/bin/python -V')
  size=$(du -s --block-size=1M "$tree/root/blurtrain/.venv" | cut -f1)
  fetched=$(($(received) - fetched))
  say "$suite: make ${TARGET:-quick}"
  began=$SECONDS
  inside "$tree" "make ${TARGET:-quick}"
  say "$suite, $python: first trained run $demo s from nothing, ${TARGET:-quick} $((SECONDS - began)) s;" \
    "received $fetched MiB until then, .venv $size MiB"
  inside "$tree" '.venv/bin/python tests/fresh/wheels.py'
  [ -n "${KEEP:-}" ] || rm -rf --one-file-system "$tree"
done
