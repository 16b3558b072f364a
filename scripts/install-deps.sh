#!/bin/sh
# Installs what Fairlead is built, tested and measured with, from Debian's own packages. Idempotent; needs
# root. `scripts/install-deps.sh --list` prints the names.
set -eu

packages="
  ca-certificates git make g++ cmake ninja-build pkg-config ccache mold
  clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev
  libboost1.81-dev libcli11-dev libcurl4-openssl-dev libfmt-dev
  libnftables-dev libnghttp2-dev libsimdjson-dev libssl-dev libyaml-dev zlib1g-dev
  prometheus-cpp-dev libgtest-dev libgmock-dev librapidcheck-dev libbenchmark-dev
  libbpf-dev bpftool
  nftables iproute2 ethtool procps curl
"

if [ "${1:-}" = --list ]; then
  printf '%s\n' $packages
  exit 0
fi

missing=""
for package in $packages; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" != 0 ]; then
  echo "install-deps: root is needed to install:$missing" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing >/dev/null
