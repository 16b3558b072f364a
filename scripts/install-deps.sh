#!/bin/sh
# Installs what Fairlead is built, tested and measured with, from Debian's own packages. Idempotent; needs
# root. `scripts/install-deps.sh --list` prints the names.
set -eu

packages="
  ca-certificates git make g++ cmake ninja-build pkg-config ccache mold python3
  clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev valgrind
  libboost1.81-dev libcli11-dev libcurl4-openssl-dev libfmt-dev
  libipset-dev libnftables-dev libnghttp2-dev libnl-3-dev libnl-genl-3-dev libsimdjson-dev libssl-dev libyaml-dev zlib1g-dev
  prometheus-cpp-dev libgtest-dev libgmock-dev librapidcheck-dev libbenchmark-dev
  librocksdb-dev libgrpc++-dev libprotobuf-dev protobuf-compiler etcd-server
  libbpf-dev bpftool qemu-system-x86 busybox-static
  user-mode-linux kmod ipset ipvsadm
  nftables iptables iproute2 ethtool procps curl
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

# Debian's own kernel, unpacked and not installed: tests load the eBPF programs on it under emulation.
kernel=/var/cache/fairlead/kernel
kernel_package=linux-image-cloud-amd64
[ "$(dpkg --print-architecture)" = amd64 ] || kernel_package=
[ -z "$kernel_package" ] || [ -d "$kernel/lib/modules" ] || missing_kernel=yes

# kubectl, unpacked and not installed: other packages of that name own the path.
kubectl=/var/cache/fairlead/kubectl
[ -x "$kubectl/usr/bin/kubectl" ] || missing_kubectl=yes

[ -z "$missing${missing_kernel:-}${missing_kubectl:-}" ] && exit 0
if [ "$(id -u)" != 0 ]; then
  echo "install-deps: root is needed to install:$missing${missing_kernel:+ $kernel}${missing_kubectl:+ $kubectl}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
if [ -n "$missing" ]; then
  # shellcheck disable=SC2086 # a list of words
  apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
if [ -n "${missing_kernel:-}" ]; then
  rm -rf "$kernel" "$kernel.new"
  mkdir -p "$kernel.new"
  image=$(apt-cache depends "$kernel_package" | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -1)
  (cd "$kernel.new" && apt-get download -qq "$image" && dpkg -x ./*.deb . && rm ./*.deb) 2>/dev/null
  mv "$kernel.new" "$kernel"
fi
if [ -n "${missing_kubectl:-}" ]; then
  rm -rf "$kubectl" "$kubectl.new"
  mkdir -p "$kubectl.new"
  (cd "$kubectl.new" && apt-get download -qq kubernetes-client && dpkg -x ./*.deb . && rm ./*.deb) 2>/dev/null
  mv "$kubectl.new" "$kubectl"
fi
