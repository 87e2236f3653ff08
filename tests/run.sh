#!/usr/bin/env bash
# Passes all tests on a fresh machine: installs the servers they start where these are missing,
# with the system's package manager, then runs everything on all features.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v memcached >/dev/null || missing+=(memcached)
# Another client of Memcached, to share keys with.
has_pylibmc() {
    for python in target/python/bin/python3 /usr/bin/python3 python3; do
        "$python" -c "import _pylibmc" 2>/dev/null && return
    done
    false
}
has_pylibmc || missing+=(python3-pylibmc)
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
        # Of pylibmc there is only what it stands on; the rest follows below.
        missing=("${missing[@]/python3-pylibmc/libmemcached}")
        brew install "${missing[@]/redis-server/redis}"
        LIBMEMCACHED=$(brew --prefix libmemcached)
        export LIBMEMCACHED
    else
        echo "please install: ${missing[*]}" >&2
        exit 1
    fi
fi
if ! has_pylibmc; then
    python3 -m venv target/python
    target/python/bin/pip install --quiet pylibmc
fi

# Most tests wait for servers and clocks: more of them than there are processors run at a time.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-8}
exec cargo test --all-features "$@"
