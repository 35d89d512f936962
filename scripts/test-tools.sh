#!/usr/bin/env bash
# Installs the container tools that tests call (skopeo, podman, containerd, runc, and for a real node the
# CNI programs), on Debian as root.
# Says what it does; where it cannot, it says so, and the tests that need them are skipped.
set -euo pipefail

programs=(skopeo podman containerd runc)
missing=()
for program in "${programs[@]}"; do
  command -v "$program" >/dev/null || missing+=("$program")
done
# They are not on PATH: a runtime is told where they are.
[[ -x /opt/cni/bin/loopback || -x /usr/lib/cni/loopback || -x /usr/libexec/cni/loopback ]] ||
  missing+=(containernetworking-plugins)
if [[ ${#missing[@]} -eq 0 ]]; then
  echo "test tools: ${programs[*]} and the CNI programs are there"
  exit 0
fi
if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
  echo "test tools: ${missing[*]} missing; install them (as root on Debian this does: make test-tools)"
  exit 0
fi

echo "test tools: installing ${missing[*]} with apt-get"
# Nothing but what is named and what it cannot do without; no service is started.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
for program in "${programs[@]}"; do
  "$program" --version
done
