#!/usr/bin/env bash
# Installs, from Debian's packages, the real services that `make test` starts as processes:
# PostgreSQL, Redis, Slurm and Chromium. Needs root and an apt mirror. Where either is missing it says
# so and ends with 0: the tests that need them are then skipped and name what was missing.
set -euo pipefail

packages=(postgresql redis-server slurm-wlm munge chromium)

missing=()
for package in "${packages[@]}"; do
  dpkg --status "$package" >/dev/null 2>&1 || missing+=("$package")
done
if [ "${#missing[@]}" -eq 0 ]; then
  exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "install-test-services: ${missing[*]} not installed, and only root can, with apt-get" >&2
  exit 0
fi

# Debian would start each service at once, on its usual port; the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null
then
  echo "install-test-services: apt-get could not install ${missing[*]}" >&2
fi
