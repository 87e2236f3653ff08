#!/usr/bin/env bash
# Passes all tests on a fresh machine: installs the servers they start where these are missing,
# with the system's package manager, then runs everything on all features.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v memcached >/dev/null || missing+=(memcached)
if [ ${#missing[@]} -gt 0 ]; then
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    if command -v apt-get >/dev/null; then
        "${as_root[@]}" apt-get update -qq
        # The packages would start servers of their own; the tests start theirs.
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq "${missing[@]}"
    elif command -v dnf >/dev/null; then
        "${as_root[@]}" dnf install -y -q "${missing[@]/redis-server/redis}"
    elif command -v brew >/dev/null; then
        brew install "${missing[@]/redis-server/redis}"
    else
        echo "please install: ${missing[*]}" >&2
        exit 1
    fi
fi

exec cargo test --all-features "$@"
